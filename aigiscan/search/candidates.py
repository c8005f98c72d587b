"""Candidates of one step to the last digits: what the sieve leaves, in float64, until one is left or all are known.

A candidate begins where the sieve has led it, recomputed in float64, and takes conjugate-gradient steps with H⁻¹ as
preconditioner. The bounds are those of :mod:`aigiscan.search.sieve`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aigiscan.search.adjoint import TestSpread
from aigiscan.search.bounds import kept_curvature, line_search, reach_of, sigmoid
from aigiscan.search.geometry import Geometry
from aigiscan.search.scores import log_loss
from aigiscan.search.sieve import ELEMENTWISE, Sieve

#: A candidate whose test margins are known this well is as good as solved: log losses are compared at 1e-8.
MARGIN_TOLERANCE = 2e-10
#: Conjugate-gradient steps after which a candidate is handed over to a proper solve.
MAX_ROUNDS = 40
#: Numbers per block of (candidates × rows).
REFINE_BLOCK = 1 << 22


@dataclass(slots=True)
class Refined:
    """One candidate on its way. Vectors of the weight space are kept as what they are made of in sample space.

    margins (n,), test (n_test,); residual (n,): r with gradient Xᵀr; moved (n,): the sum of all steps is the projected
    H⁻¹Xᵀ moved; a (n,), b (n_test,): lines of A and B. The last step p: along (n,) = Xp, test_along (n_test,), image
    (n,) with Hp = Xᵀ image. steepest (n,): −Xv, v the preconditioned gradient; decrement2 = gᵀv, both before that step.
    """

    margins: np.ndarray
    residual: np.ndarray
    test: np.ndarray
    a: np.ndarray
    b: np.ndarray
    moved: np.ndarray | None = None
    along: np.ndarray | None = None
    test_along: np.ndarray | None = None
    image: np.ndarray | None = None
    steepest: np.ndarray | None = None
    decrement2: float = np.inf
    rounds: int = 0


class Candidates(Sieve):
    """The sieve, and what is left of it in float64. refined: what is known of each such line."""

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
        super().__init__(geometry, margins, test_margins, weights, residual, fake, score, spread)
        self.refined: dict[int, Refined] = {}
        self.solved: dict[int, np.ndarray] = {}

    def refine(self, lines: np.ndarray) -> None:
        """Bring these lines to float64; those that are there already take a conjugate-gradient step."""
        block = max(1, REFINE_BLOCK // (len(self.margins) + len(self.fake)))
        new = np.array([int(line) not in self.refined for line in lines], dtype=bool)
        for work, part in ((self._begin_block, lines[new]), (self._refine_block, lines[~new])):
            for start in range(0, len(part), block):
                work(part[start : start + block])

    def settle(self, line: int, weights: np.ndarray) -> None:
        """Enter the weights (lines,) of a candidate that was solved properly."""
        g = self.geometry
        self.solved[line] = weights
        margins, test = weights @ g.X, weights @ g.T
        nothing = np.zeros(0)
        self.refined[line] = Refined(margins, np.zeros_like(margins), test, nothing, nothing)
        self.reach[line], self.exact[line] = 0.0, True
        self._judge(np.array([line]), test[None], np.zeros(1))
        self.loss_low[line] = self.loss_high[line] = log_loss(test[None], self.fake)[0]
        self._unjudged[line] = False

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

    def _begin_block(self, lines: np.ndarray) -> None:
        """Put these lines at the optimum of the quadratic model without them, or where sifting has led, in float64."""
        g, C = self.geometry, self.C
        a, b = g.exact_lines(lines)
        scale = self.scale[lines, None]
        u = a * scale
        test = self.test_margins + b * scale
        residual = self.residual - C * self.p
        moved: list[np.ndarray | None] = [None] * len(lines)
        sifted = [i for i, line in enumerate(lines) if int(line) in self.sifted]
        far = np.zeros_like(u)
        if sifted:
            y = np.stack([self.sifted[int(lines[i])].moved for i in sifted]).astype(np.float64)
            newton = g.solve(y @ g.X.T)
            shift = (np.einsum("ij,ij->i", a[sifted], y) / g.h[lines[sifted]])[:, None]
            u[sifted] += a[sifted] * shift - newton @ g.X
            test[sifted] += b[sifted] * shift - newton @ g.T
            far[sifted] = -y
            for i, row in zip(sifted, y, strict=True):
                moved[i] = -row
            self.work += len(sifted) * g.active * (2.0 * u.shape[1] + g.active)
        margins = self.margins + u
        p = sigmoid(margins.copy())
        residual = residual + C * (p - g.s * u) + far
        for i, line in enumerate(lines):
            self.refined[int(line)] = Refined(margins[i], residual[i], test[i], a[i], b[i], moved[i])
        self._measure(lines, p, residual, a, test)

    def _refine_block(self, lines: np.ndarray) -> None:
        g = self.geometry
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
        test = np.stack([state.test for state in states]) + length * test_along
        for i, state in enumerate(states):
            moved = length[i] * image[i]
            state.margins, state.residual, state.test = M[i], R[i], test[i]
            state.moved = moved if state.moved is None else state.moved + moved
            state.along, state.test_along, state.image = along[i], test_along[i], image[i]
            state.steepest, state.decrement2 = steepest[i], float(decrement2[i])
            state.rounds += 1
        self._measure(lines, p, R, a, test)

    def _measure(self, lines: np.ndarray, p: np.ndarray, R: np.ndarray, a: np.ndarray, test: np.ndarray) -> None:
        """Enter how far these lines can be from their optimum, and what that means for their scores."""
        g = self.geometry
        pull = np.einsum("ij,ij->i", a, R)
        decrement = np.sqrt(np.maximum(R**2 @ (1.0 / (self.C * g.s)) - pull**2 / g.h[lines], 0.0))
        reach = reach_of(decrement, kept_curvature(p, g.s, self.leverage), self.radius)
        self.reach[lines], self._blurred[lines] = reach, 0.0
        self.exact[lines] = reach * self.largest < MARGIN_TOLERANCE
        self._judge(lines, test, np.zeros(len(lines)))

    def _bound_loss(self, lines: np.ndarray) -> None:
        exact = np.array([int(line) in self.refined for line in lines], dtype=bool)
        if not exact.all():
            super()._bound_loss(lines[~exact])
        lines = lines[exact]
        if not len(lines):
            return
        states = [self.refined[int(line)] for line in lines]
        p = sigmoid(np.stack([state.margins for state in states]))
        R, test, a = (np.stack([getattr(state, name) for state in states]) for name in ("residual", "test", "a"))
        goal, nothing = self.goal(), np.zeros(len(lines))
        low, high = goal.interval(
            goal.training_side(lines, p, R, a), goal.test_side(test), self.reach[lines], nothing, nothing, single=False
        )
        self._enter_losses(lines, low, high)
