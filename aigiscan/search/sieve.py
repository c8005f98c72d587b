"""All removals of one step in float32: where each fit would go, and how wrong that can be at most.

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
test row's margin is then known up to ‖x‖·t in the same norms, and the mean loss of all test rows much better than that
(:mod:`aigiscan.search.adjoint`). A candidate whose best possible score is below another one's worst is out. What is
left takes a few chord steps ``w − H⁻¹g + H⁻¹e_j (H⁻¹g)_j / h_j`` in float32, all candidates in one matrix product, and
is judged again after each. What float32 may lose is added to the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigiscan.search.adjoint import LossGoal, TestSpread
from aigiscan.search.bounds import kept_curvature, line_search, reach_of, sigmoid
from aigiscan.search.geometry import Geometry
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES, score_interval

#: Numbers per block of (candidates × rows): small blocks stay in the cache, large ones make better products.
SCREEN_BLOCK = 1 << 16
SIFT_BLOCK = 1 << 22
#: So many of the likely best are sifted first: the better the best is known, the more of the others drop out.
FEW = 12
#: What one elementwise pass over (candidates × rows) costs, in multiplications of a matrix product: the logistic
#: function of a candidate's rows takes as long as some hundred columns of a product. Used to weigh refreshes.
ELEMENTWISE = 600.0
#: ρt above which the length of a step is searched for.
FAR = 0.1


@dataclass(frozen=True, slots=True)
class Sifted:
    """Where chord steps have led a candidate. margins, residual (n,): r with gradient Xᵀr; test (n_test,) margins;
    moved (n,): all steps together are −H_j⁻¹Xᵀ moved. float32."""

    margins: np.ndarray
    residual: np.ndarray
    test: np.ndarray
    moved: np.ndarray


class Sieve:
    """Scores and their intervals for every active line of the geometry.

    margins (n,; signed), test_margins (n_test,), weights (lines,) and residual (n,) describe the current fit; fake
    (n_test,) the test labels; spread of the test rows. Arrays by line: value, low, high (score), loss_low, loss_high,
    decrement (λ above), reach (t), exact (nothing more can be gained), stuck (nothing more in float32), out (cannot be
    the best). Intervals only ever shrink. work: multiplications done beyond the screening.
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
        spread: TestSpread,
    ):
        self.geometry, self.C = geometry, geometry.C
        self.margins, self.test_margins, self.weights, self.residual = margins, test_margins, weights, residual
        self.fake, self.score, self.spread = fake, score, spread
        lines = geometry.active
        self.value, self.low, self.high = np.zeros(lines), np.zeros(lines), np.ones(lines)
        self.loss_low, self.loss_high = np.full(lines, -np.inf), np.full(lines, np.inf)
        self.reach, self.decrement = np.full(lines, np.inf), np.full(lines, np.inf)
        self.exact, self.stuck, self.out = np.zeros(lines, bool), np.zeros(lines, bool), np.zeros(lines, bool)
        self._unjudged = np.ones(lines, bool)  # no loss interval yet for where they have got to
        self.work = 0.0
        self.sifted: dict[int, Sifted] = {}
        self.siftings = 0

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
        # What rounding did to the decrement of a line, and to each of its test margins.
        self._blurred, self._pad = np.zeros(lines), np.zeros(lines)
        self._goal: LossGoal | None = None
        self._single = {
            name: array.astype(np.float32)
            for name, array in {
                "margins": margins, "test": test_margins, "p": self.p, "s": g.s, "residual": residual,
                "inverse": 1.0 / (self.C * g.s), "root": self.root, "scale": self.scale, "leverage": self.leverage,
            }.items()
        }  # fmt: skip
        self._side = np.where(fake, 1.0, -1.0).astype(np.float32)

    def screen(self) -> None:
        """Start and bound for all candidates; O(lines · (n + n_test))."""
        g, f32 = self.geometry, self._single
        self._blurred[:] = g.rounding * self.moves + self.blur
        goal = self.goal()
        training, test_side = np.empty((4, g.active)), np.empty((4, g.active))
        block = max(1, SCREEN_BLOCK // len(self.margins))
        for first in range(g.fixed, g.active, block):
            part = slice(first, min(first + block, g.active))
            u = g.A[part] * f32["scale"][part, None]
            p = sigmoid(u + f32["margins"])
            moved = np.maximum(u.max(axis=1), -u.min(axis=1))
            u *= -f32["s"]
            u += p
            r = u
            r -= f32["p"]
            r *= np.float32(self.C)
            r += f32["residual"]
            pull = np.einsum("ij,ij->i", g.A[part], r)
            training[:, part] = goal.training_side(part, p, r, g.A[part])
            r *= r
            decrement = np.sqrt(np.maximum(r @ f32["inverse"] - pull.astype(float) ** 2 / g.h[part], 0.0))
            decrement += self._blurred[part]
            kappa = self.drift_low * np.exp(-moved) - self.drift_lost
            loose = np.flatnonzero(self.radius * decrement > 0.1 * kappa)
            if len(loose):  # worth a closer look at what curvature is left
                closer = kept_curvature(p[loose], f32["s"], f32["leverage"])
                kappa[loose] = np.maximum(kappa[loose], closer)
            self.decrement[part] = decrement
            self.reach[part] = reach_of(decrement, kappa, self.radius)
        block = max(1, SCREEN_BLOCK // len(self.fake))
        for first in range(g.fixed, g.active, block):
            lines = np.arange(first, min(first + block, g.active))
            step = g.B[lines] * f32["scale"][lines, None]
            pad = g.rounding * np.maximum(step.max(axis=1), -step.min(axis=1)) + 1e-6 * self._test_size
            step += f32["test"]
            test_side[:, lines] = goal.test_side(step)
            self._judge(lines, step, pad)
        near = g.fixed + np.flatnonzero(np.isfinite(self.reach[g.fixed :]))
        low, high = goal.interval(
            training[:, near], test_side[:, near], self.reach[near], self._pad[near], self._blurred[near], single=True
        )
        self._enter_losses(near, low, high)

    def alive(self) -> np.ndarray:
        """Lines that can still be the best: highest score, then smallest log loss."""
        f = self.geometry.fixed
        best = self.low[f:].max()
        lines = f + np.flatnonzero((self.high[f:] >= best - SCORE_TIE) & ~self.out[f:])
        if len(lines) == 1:
            return lines
        level = lines[self.high[lines] <= best + SCORE_TIE]
        sure = lines[self.low[lines] >= best - SCORE_TIE]
        self._judge_loss(np.union1d(level, sure))
        limit = self.loss_high[sure].min() + 2 * LOSS_TIE
        beaten = (self.high[lines] <= best + SCORE_TIE) & (self.loss_low[lines] > limit)
        return lines[~beaten]

    def log_loss(self, line: int) -> tuple[float, float]:
        """Middle and half-width of the loss interval of one line."""
        self._judge_loss(np.array([line]))
        low, high = float(self.loss_low[line]), float(self.loss_high[line])
        return (low + high) / 2, (high - low) / 2

    def sift(self, lines: np.ndarray) -> np.ndarray:
        """A chord step in float32 for each of these lines, likely ones first, to judge them more closely.

        Returns the lines that can still be the best. Lines that cannot any more by the time it is their turn take no
        step, and nothing is kept of lines that are out.
        """
        order = np.lexsort((self.geometry.index[lines], self.loss_high[lines], -self.value[lines]))
        waiting = lines[order]
        block, few = max(1, SIFT_BLOCK // (len(self.margins) + len(self.fake))), FEW
        while len(waiting):
            count = min(block, few)
            self._sift_block(np.sort(waiting[:count]))
            self.siftings += len(waiting[:count])
            alive = self.alive()
            self._forget(alive)
            waiting = waiting[count:]
            waiting = waiting[np.isin(waiting, alive)]
            few = len(waiting)
        return alive

    def _forget(self, alive: np.ndarray) -> None:
        """Lines that are out stay out, whatever the others turn out to be; their intervals stay, their state goes."""
        self.out[:] = True
        self.out[alive] = False
        for line in self.sifted.keys() - set(alive.tolist()):
            del self.sifted[line]
            self.reach[line] = np.inf

    def _sift_block(self, lines: np.ndarray) -> None:
        g, f32 = self.geometry, self._single
        C = np.float32(self.C)
        a, b = g.A[lines], g.B[lines]
        M, before, R, test = self._state(lines, a, b)
        gradient = R @ g.X32.T
        shift = (np.einsum("ij,ij->i", a, R) / g.h[lines]).astype(np.float32)[:, None]
        step = a * shift - gradient @ g.A
        moved = R
        along = b * shift - gradient @ g.B
        after = 0.0
        far = np.flatnonzero(self.radius * self.reach[lines] > FAR)
        if len(far):  # the curvature differs so much on the way that a full step may go too far, or not far enough
            length = line_search(M[far], R[far], step[far], -R[far], f32["s"], self.C).astype(np.float32)[:, None]
            step[far] *= length
            along[far] *= length
            moved = R.copy()
            moved[far] *= length
            after = R - moved
        length = np.sqrt(np.maximum(-np.einsum("ij,ij->i", moved, step), 0.0))
        test += along
        M += step
        p = sigmoid(M.copy())
        step *= f32["s"]
        after = after + C * (p - before - step)
        pull = np.einsum("ij,ij->i", a, after)
        decrement = np.sqrt(np.maximum(after**2 @ f32["inverse"] - pull.astype(float) ** 2 / g.h[lines], 0.0))
        # What earlier steps lost is contained in what the start may lose: they are much shorter.
        blurred = g.rounding * (self.moves[lines] + 4 * length) + 2 * self.blur
        decrement += blurred
        reach = reach_of(decrement, kept_curvature(p, f32["s"], f32["leverage"]), self.radius)
        # A step that made it worse is forgotten; what was known before still holds.
        lost = np.isinf(reach) & np.isinf(self.reach[lines])
        better = np.where(lost, decrement < self.decrement[lines], reach < self.reach[lines])
        for i in np.flatnonzero(better):
            line = int(lines[i])
            total = moved[i] + self.sifted[line].moved if line in self.sifted else moved[i].copy()
            self.sifted[line] = Sifted(M[i].copy(), after[i].copy(), test[i].copy(), total)
        self.stuck[lines] = np.where(lost, decrement > self.decrement[lines] / 1.1, reach > self.reach[lines] / 2)
        kept = lines[better]
        self.reach[kept], self.decrement[kept], self._blurred[kept] = reach[better], decrement[better], blurred[better]
        change = np.abs(test[better] - f32["test"]).max(axis=1, initial=0.0)
        self._judge(kept, test[better], 2 * g.rounding * change + 1e-6 * self._test_size)
        self.work += len(lines) * (g.active * (M.shape[1] + len(self.fake) / 2) + ELEMENTWISE * M.shape[1])

    def _state(self, lines: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """Margins, their sigmoids, residuals, test margins in float32: the start, or where sifting has led."""
        f32 = self._single
        scale = f32["scale"][lines, None]
        M = a * scale
        R = -f32["s"] * M
        M += f32["margins"]
        p = sigmoid(M.copy())
        R += p
        R -= f32["p"]
        R *= np.float32(self.C)
        R += f32["residual"]
        test = b * scale
        test += f32["test"]
        for i, line in enumerate(lines):
            if (state := self.sifted.get(int(line))) is not None:
                M[i], R[i], test[i] = state.margins, state.residual, state.test
                p[i] = sigmoid(state.margins.copy())
        return M, p, R, test

    def _judge(self, lines: np.ndarray, test: np.ndarray, pad: np.ndarray) -> None:
        """Score intervals from test margins known up to reach · ‖x‖ + pad."""
        if not len(lines):
            return
        self._pad[lines], self._unjudged[lines] = pad, True
        known = np.isfinite(self.reach[lines])
        low, high = np.zeros(len(lines)), np.ones(len(lines))
        if self.score == "accuracy":
            self.value[lines], low, high = self._accuracy(lines, test)
            low[~known], high[~known] = 0.0, 1.0
        elif known.any():
            error = self.reach[lines[known], None] * self.root + pad[known, None]
            self.value[lines[known]], low[known], high[known] = score_interval(
                self.score, test[known].astype(np.float64), error, self.fake
            )
        self.low[lines] = np.maximum(self.low[lines], low)
        self.high[lines] = np.minimum(self.high[lines], high)
        settled = lines[self.exact[lines]]
        if len(settled):
            values = SCORES[self.score](test[self.exact[lines]], self.fake)
            self.value[settled] = self.low[settled] = self.high[settled] = values

    def _accuracy(self, lines: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As :func:`score_interval` does, in as few passes as possible: this runs for every candidate of every step."""
        n = len(self.fake)
        right = test * self._side
        value = np.count_nonzero(right > 0, axis=1) / n
        reach = np.minimum(self.reach[lines], 1e30).astype(np.float32) * np.float32(1.0001)
        error = np.multiply.outer(reach, self._single["root"])
        error += self._pad[lines].astype(np.float32)[:, None] + np.float32(1e-12)
        return value, np.count_nonzero(right > error, axis=1) / n, np.count_nonzero(right >= -error, axis=1) / n

    def goal(self) -> LossGoal:
        """Bounds on log losses, made when they are first needed."""
        if self._goal is None:
            self._goal = LossGoal(self.geometry, self.test_margins, self.fake, self.spread)
        return self._goal

    def _judge_loss(self, lines: np.ndarray) -> None:
        """Loss intervals of lines that have none yet and whose optimum is not arbitrarily far."""
        lines = lines[self._unjudged[lines] & np.isfinite(self.reach[lines])]
        block = max(1, SCREEN_BLOCK // len(self.margins))
        for start in range(0, len(lines), block):
            self._bound_loss(lines[start : start + block])

    def _bound_loss(self, lines: np.ndarray) -> None:
        a, goal = self.geometry.A[lines], self.goal()
        _, p, R, test = self._state(lines, a, self.geometry.B[lines])
        low, high = goal.interval(
            goal.training_side(lines, p, R, a), goal.test_side(test),
            self.reach[lines], self._pad[lines], self._blurred[lines], single=True,
        )  # fmt: skip
        self._enter_losses(lines, low, high)

    def _enter_losses(self, lines: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        self.loss_low[lines] = np.maximum(self.loss_low[lines], low)
        self.loss_high[lines] = np.minimum(self.loss_high[lines], high)
        self._unjudged[lines] = False
