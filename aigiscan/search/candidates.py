"""All removals of one step: where each fit would go, and how wrong that can be at most.

With the current fit ``w``, its curvature ``H`` (:mod:`aigiscan.search.geometry`) and column j to be removed, the fit
without j starts at ``w − H⁻¹e_j w_j / h_j`` (h = diag H⁻¹), the optimum of the quadratic model where w_j = 0. The
gradient there, on the remaining columns, is ``Xᵀr`` with one number per training row,

    r = r_w + C (p(m + u) − p(m) − S u),    m = Xw,  u = −X H⁻¹e_j w_j / h_j,  Xᵀr_w = gradient at w

so that no product over candidates is needed to bound it: as C XᵀSX ⪯ H,

    λ² = ‖Xᵀr‖² in H⁻¹ on the remaining columns ≤ Σ r_i² / (C s_i) − (e_jᵀH⁻¹Xᵀr)² / h_j.

The logistic loss is self-concordant: its curvature changes at most by e^|Δm| while a margin moves by Δm. Hence, if the
curvature at the approximate fit is at least κ H and ρ is the largest ‖x_i‖ in H⁻¹ of a training row, the optimum is no
farther (in the norm of H) than

    t = −log(1 − ρ λ / κ) / ρ        (infinite where ρ λ ≥ κ),

because along every ray from there the slope of the objective at distance t is at least −λ + κ (1 − e^{−ρt}) / ρ ≥ 0. A
test row's margin is then known up to ‖x‖·t in the same norms, and a candidate whose best possible score is below
another one's worst is out. What is left takes one or two chord steps ``w − H⁻¹g + H⁻¹e_j (H⁻¹g)_j / h_j`` in float32,
all candidates in one matrix product, and is judged again; what is left then takes conjugate-gradient steps with H⁻¹ as
preconditioner, in float64, until one is left or all are known to the last digits. What float32 may lose is added to
the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigiscan.search.bounds import kept_curvature, line_search, reach_of, sigmoid
from aigiscan.search.geometry import Geometry
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES, loss_interval, score_interval

#: A candidate whose test margins are known this well is as good as solved: log losses are compared at 1e-8.
MARGIN_TOLERANCE = 2e-10
#: Conjugate-gradient steps after which a candidate is handed over to a proper solve.
MAX_ROUNDS = 40
#: Numbers per block of (candidates × rows): small blocks stay in the cache, large ones make better products.
SCREEN_BLOCK = 1 << 16
REFINE_BLOCK = 1 << 22
#: What one elementwise pass over (candidates × rows) costs, in multiplications of a matrix product: the logistic
#: function of a candidate's rows takes as long as some hundred columns of a product. Used to weigh refreshes.
ELEMENTWISE = 600.0


@dataclass(slots=True)
class Refined:
    """One candidate on its way. Vectors of the weight space are kept as what they are made of in sample space.

    margins (n,), test (n_test,); residual (n,): r with gradient Xᵀr; moved (n,): the sum of all steps is the projected
    H⁻¹Xᵀ moved. The last step p: along (n,) = Xp, test_along (n_test,), image (n,) with Hp = Xᵀ image. steepest (n,):
    −Xv, v the preconditioned gradient; decrement2 = gᵀv, both before that step.
    """

    margins: np.ndarray
    residual: np.ndarray
    test: np.ndarray
    moved: np.ndarray | None = None
    along: np.ndarray | None = None
    test_along: np.ndarray | None = None
    image: np.ndarray | None = None
    steepest: np.ndarray | None = None
    decrement2: float = np.inf
    rounds: int = 0
    #: lines of A and B in float64
    a: np.ndarray | None = None
    b: np.ndarray | None = None


class Candidates:
    """Scores and their intervals for every active line of the geometry.

    margins (n,; signed), test_margins (n_test,), weights (lines,) and residual (n,) describe the current fit; fake
    (n_test,) the test labels. Arrays by line: value, low, high (score), loss_low, loss_high, reach (t above), exact
    (nothing more can be gained). work: multiplications done beyond the screening.
    """

    def __init__(
        self,
        geometry: Geometry,
        margins: np.ndarray,
        test_margins: np.ndarray,
        weights: np.ndarray,
        residual: np.ndarray,
        fake: np.ndarray,
        score: str,
    ):
        self.geometry, self.C = geometry, geometry.C
        self.margins, self.test_margins, self.weights, self.residual = margins, test_margins, weights, residual
        self.fake, self.score = fake, score
        lines = geometry.active
        self.value, self.low, self.high = np.zeros(lines), np.zeros(lines), np.ones(lines)
        self.loss_low, self.loss_high = np.full(lines, -np.inf), np.full(lines, np.inf)
        self.reach = np.full(lines, np.inf)
        self.exact = np.zeros(lines, bool)
        self.refined: dict[int, Refined] = {}
        self.solved: dict[int, np.ndarray] = {}
        self.work = 0.0
        self.sifted = 0

        g = geometry
        self.p = sigmoid(margins.copy())
        self.leverage = np.minimum(self.C * g.s * g.norm2, 1.0)
        drift = self.p * (1 - self.p) / g.s  # true over kept curvature at w
        self.root = np.sqrt(g.test_norm2)
        self.radius = float(np.sqrt(g.norm2.max())) + 1e-300
        self.largest = float(self.root.max())
        # Rows whose curvature has fallen far below the kept one are charged by their leverage, the others by ratio.
        fallen = drift < 0.5
        self.drift_low = float(drift[~fallen].min()) if not fallen.all() else 0.0
        self.drift_lost = float(self.leverage[fallen].sum())
        # Starts: margins move by A[j] · scale[j]. In the norm of H the move is |w_j| / √h_j long.
        self.scale = -weights / g.h
        self.moves = np.abs(weights) / np.sqrt(g.h)
        #: what rounding of the sigmoids in float32 can add to a decrement; that of A goes with the length of the move
        self.blur = float(np.sqrt(self.C * np.sum((6e-6 * g.s + 4e-7 * self.p) ** 2 / g.s)))
        self._test_size = float(np.abs(test_margins).max(initial=0.0))
        self._sifted: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._pad = np.zeros(lines)
        self._single = {
            name: array.astype(np.float32)
            for name, array in {
                "margins": margins, "test": test_margins, "p": self.p, "s": g.s, "residual": residual,
                "inverse": 1.0 / (self.C * g.s), "root": self.root, "scale": self.scale, "leverage": self.leverage,
            }.items()
        }  # fmt: skip
        self._side = np.where(fake, 1.0, -1.0).astype(np.float32)

    def screen(self) -> None:
        """Start and bound for all candidates; O(lines · (n + n_test)), float32."""
        g, f32 = self.geometry, self._single
        block = max(1, SCREEN_BLOCK // len(self.margins))
        for first in range(g.fixed, g.active, block):
            part = slice(first, min(first + block, g.active))
            u = g.A[part] * f32["scale"][part, None]
            r = sigmoid(u + f32["margins"])
            r -= f32["p"]
            moved = np.maximum(u.max(axis=1), -u.min(axis=1))
            u *= f32["s"]
            r -= u
            r *= np.float32(self.C)
            r += f32["residual"]
            pull = np.einsum("ij,ij->i", g.A[part], r)
            r *= r
            decrement = np.sqrt(np.maximum(r @ f32["inverse"] - pull.astype(float) ** 2 / g.h[part], 0.0))
            decrement += g.rounding * self.moves[part] + self.blur
            self.reach[part] = reach_of(decrement, self.drift_low * np.exp(-moved) - self.drift_lost, self.radius)
        block = max(1, SCREEN_BLOCK // len(self.fake))
        for first in range(g.fixed, g.active, block):
            lines = np.arange(first, min(first + block, g.active))
            step = g.B[lines] * f32["scale"][lines, None]
            self._judge(lines, step + f32["test"], g.rounding * np.abs(step).max(axis=1) + 1e-6 * self._test_size)

    def alive(self) -> np.ndarray:
        """Lines that can still be the best: highest score, then smallest log loss."""
        f = self.geometry.fixed
        best = self.low[f:].max()
        lines = f + np.flatnonzero(self.high[f:] >= best - SCORE_TIE)
        if len(lines) == 1:
            return lines
        level = lines[self.high[lines] <= best + SCORE_TIE]
        sure = lines[self.low[lines] >= best - SCORE_TIE]
        self._judge_loss(np.union1d(level, sure))
        limit = self.loss_high[sure].min() + 2 * LOSS_TIE
        beaten = (self.high[lines] <= best + SCORE_TIE) & (self.loss_low[lines] > limit)
        return lines[~beaten]

    def sift(self, lines: np.ndarray) -> None:
        """A chord step in float32 for each of these lines, to judge them more closely."""
        block = max(1, REFINE_BLOCK // (len(self.margins) + len(self.fake)))
        for start in range(0, len(lines), block):
            self._sift_block(lines[start : start + block])
        self.sifted += len(lines)

    def _sift_block(self, lines: np.ndarray) -> None:
        g, f32 = self.geometry, self._single
        C = np.float32(self.C)
        a, b = g.A[lines], g.B[lines]
        M, R, test = self._sift_state(lines, a, b)
        p0 = sigmoid(M.copy())
        gradient = R @ g.X32.T
        shift = (np.einsum("ij,ij->i", a, R) / g.h[lines]).astype(np.float32)[:, None]
        step = a * shift - gradient @ g.A
        length = np.sqrt(np.maximum(-np.einsum("ij,ij->i", R, step), 0.0))
        test += b * shift - gradient @ g.B
        M += step
        p = sigmoid(M.copy())
        step *= f32["s"]
        R = C * (p - p0 - step)
        pull = np.einsum("ij,ij->i", a, R)
        decrement = np.sqrt(np.maximum(R**2 @ f32["inverse"] - pull.astype(float) ** 2 / g.h[lines], 0.0))
        # What earlier steps lost is contained in what the start may lose: they are much shorter.
        decrement += g.rounding * (self.moves[lines] + 4 * length) + 2 * self.blur
        reach = reach_of(decrement, kept_curvature(p, f32["s"], f32["leverage"]), self.radius)
        # A step that made it worse is forgotten; what was known before still holds.
        better = reach < self.reach[lines]
        for i in np.flatnonzero(better):
            self._sifted[int(lines[i])] = (M[i], R[i], test[i])
        kept = lines[better]
        self.reach[kept] = reach[better]
        moved = np.abs(test[better] - f32["test"]).max(axis=1, initial=0.0)
        self._judge(kept, test[better], 2 * g.rounding * moved + 1e-6 * self._test_size)
        self.work += len(lines) * (g.active * (M.shape[1] + len(self.fake) / 2) + ELEMENTWISE * M.shape[1])

    def _sift_state(self, lines: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Margins, residuals and test margins in float32: the start, or where the last sifting left them."""
        f32 = self._single
        scale = f32["scale"][lines, None]
        M = a * scale
        R = -f32["s"] * M
        M += f32["margins"]
        R += sigmoid(M.copy())
        R -= f32["p"]
        R *= np.float32(self.C)
        R += f32["residual"]
        test = b * scale
        test += f32["test"]
        for i, line in enumerate(lines):
            if int(line) in self._sifted:
                M[i], R[i], test[i] = self._sifted[int(line)]
        return M, R, test

    def refine(self, lines: np.ndarray) -> None:
        """A conjugate-gradient step in float64 for each of these lines."""
        block = max(1, REFINE_BLOCK // (len(self.margins) + len(self.fake)))
        for start in range(0, len(lines), block):
            self._refine_block(lines[start : start + block])

    def settle(self, line: int, weights: np.ndarray) -> None:
        """Enter the weights (lines,) of a candidate that was solved properly."""
        g = self.geometry
        self.solved[line] = weights
        margins, test = weights @ g.X, weights @ g.T
        self.refined[line] = Refined(margins, np.zeros_like(margins), test)
        self.reach[line], self.exact[line] = 0.0, True
        self._judge(np.array([line]), test[None], np.zeros(1))

    def weights_without(self, line: int) -> np.ndarray:
        """Weights (lines,) of a candidate at its last step; 0 at the line removed."""
        if line in self.solved:
            return self.solved[line].copy()
        g = self.geometry
        column = g.column(line)
        weights = self.weights - column * (self.weights[line] / column[line])
        moved = self.refined[line].moved
        if moved is not None:
            step = g.solve((g.X @ moved)[None])[0]
            weights += step - column * (step[line] / column[line])
        weights[line] = 0.0
        return weights

    def begin(self, lines: np.ndarray) -> None:
        """Put these lines at the optimum of the quadratic model without them, in float64."""
        g = self.geometry
        lines = np.array([line for line in lines if int(line) not in self.refined], dtype=int)
        if not len(lines):
            return
        a, b = g.exact_lines(lines)
        scale = self.scale[lines, None]
        u = a * scale
        margins = self.margins + u
        residual = self.residual + self.C * (sigmoid(margins.copy()) - self.p - g.s * u)
        test = self.test_margins + b * scale
        for i, line in enumerate(lines):
            self.refined[int(line)] = Refined(margins[i], residual[i], test[i], a=a[i], b=b[i])

    def _refine_block(self, lines: np.ndarray) -> None:
        g = self.geometry
        self.begin(lines)
        states = [self.refined[int(line)] for line in lines]
        R = np.stack([state.residual for state in states])  # [c, n]
        M = np.stack([state.margins for state in states])
        a = np.array([state.a for state in states])
        b = np.array([state.b for state in states])
        newton = g.solve(R @ g.X.T)  # [c, lines]
        shift = np.einsum("ij,ij->i", a, R) / g.h[lines]
        steepest = a * shift[:, None] - newton @ g.X
        test_steepest = b * shift[:, None] - newton @ g.T
        decrement2 = np.maximum(-np.einsum("ij,ij->i", R, steepest), 0.0)
        self.work += len(lines) * (g.active * (2.0 * M.shape[1] + g.active) + 2 * ELEMENTWISE * M.shape[1])

        along, test_along, image = steepest.copy(), test_steepest, -R
        for i, state in enumerate(states):  # Polak–Ribière
            if state.along is not None and state.decrement2 > 0:
                beta = max(0.0, (decrement2[i] + float(R[i] @ state.steepest)) / state.decrement2)
                along[i] += beta * state.along
                test_along[i] += beta * state.test_along
                image[i] += beta * state.image
        length = line_search(M, R, along, image, g.s, self.C)[:, None]
        before = sigmoid(M.copy())
        M += length * along
        p = sigmoid(M.copy())
        R += length * image + self.C * (p - before - g.s * (length * along))
        pull = np.einsum("ij,ij->i", a, R)
        decrement = np.sqrt(np.maximum(R**2 @ (1.0 / (self.C * g.s)) - pull**2 / g.h[lines], 0.0))
        reach = reach_of(decrement, kept_curvature(p, g.s, self.leverage), self.radius)
        test = np.stack([state.test for state in states]) + length * test_along
        for i, state in enumerate(states):
            moved = length[i] * image[i]
            state.margins, state.residual, state.test = M[i], R[i], test[i]
            state.moved = moved if state.moved is None else state.moved + moved
            state.along, state.test_along, state.image = along[i], test_along[i], image[i]
            state.steepest, state.decrement2 = steepest[i], float(decrement2[i])
            state.rounds += 1
        self.reach[lines] = reach
        self.exact[lines] = reach * self.largest < MARGIN_TOLERANCE
        self._judge(lines, test, np.zeros(len(lines)))

    def _judge(self, lines: np.ndarray, test: np.ndarray, pad: np.ndarray) -> None:
        """Score intervals from test margins known up to reach · ‖x‖ + pad."""
        if not len(lines):
            return
        self._pad[lines] = pad
        self.loss_low[lines], self.loss_high[lines] = -np.inf, np.inf
        known = np.isfinite(self.reach[lines])
        if self.score == "accuracy":
            self._judge_accuracy(lines, test)
        elif known.any():
            error = self.reach[lines[known], None] * self.root + pad[known, None]
            self.value[lines[known]], self.low[lines[known]], self.high[lines[known]] = score_interval(
                self.score, test[known].astype(np.float64), error, self.fake
            )
        self.low[lines[~known]], self.high[lines[~known]] = 0.0, 1.0
        settled = lines[self.exact[lines]]
        if len(settled):
            values = SCORES[self.score](test[self.exact[lines]], self.fake)
            self.value[settled] = self.low[settled] = self.high[settled] = values

    def _judge_accuracy(self, lines: np.ndarray, test: np.ndarray) -> None:
        """As :func:`score_interval` does, in as few passes as possible: this runs for every candidate of every step."""
        n = len(self.fake)
        right = test * self._side
        self.value[lines] = np.count_nonzero(right > 0, axis=1) / n
        error = np.multiply.outer(self.reach[lines].astype(np.float32) * np.float32(1.0001), self._single["root"])
        error += self._pad[lines].astype(np.float32)[:, None] + np.float32(1e-12)
        self.low[lines] = np.count_nonzero(right > error, axis=1) / n
        self.high[lines] = np.count_nonzero(right >= -error, axis=1) / n

    def _judge_loss(self, lines: np.ndarray) -> None:
        """Loss intervals of lines that have none yet and whose test margins are known well enough to have one."""
        lines = lines[np.isinf(self.loss_high[lines]) & np.isfinite(self.reach[lines])]
        if not len(lines):
            return
        exact = np.array([int(line) in self.refined for line in lines], dtype=bool)
        for part, tests in ((lines[~exact], self._single_tests), (lines[exact], self._exact_tests)):
            if len(part):
                test = tests(part)
                error = (self.reach[part, None] * self.root + self._pad[part, None]).astype(test.dtype)
                self.loss_low[part], self.loss_high[part] = loss_interval(test, error, self.fake)

    def _exact_tests(self, lines: np.ndarray) -> np.ndarray:
        return np.stack([self.refined[int(line)].test for line in lines])

    def _single_tests(self, lines: np.ndarray) -> np.ndarray:
        test = self.geometry.B[lines] * self._single["scale"][lines, None]
        test += self._single["test"]
        for i, line in enumerate(lines):
            if int(line) in self._sifted:
                test[i] = self._sifted[int(line)][2]
        return test
