"""Greedy removal of components: at every step the one whose removal is best for transfer (paper, section 4 and A.4).

The order and the scores are those of one converged logistic regression per candidate; see
:mod:`aigiscan.search.sieve` for why not every candidate has to be fitted to know that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aigiscan.errors import FitError
from aigiscan.search.adjoint import TestSpread
from aigiscan.search.bounds import sigmoid
from aigiscan.search.candidates import MAX_ROUNDS, Candidates
from aigiscan.search.geometry import Geometry
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import Problem
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES

#: Steps in float32, unless they stop gaining before.
SIFTINGS = 6
#: The winner is refined until its training margins are known this well; what is left counts against all candidates of
#: the next step, whose own gradients are some ten times that.
POLISHED = 1e-3
#: And until its log loss on the test rows is known this well.
LOSS_POLISHED = 2e-7
#: Steps after which the curvature is refreshed in any case.
LONGEST_USE = 48


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """C: inverse L2 penalty. score: accuracy (at 0), auc or ap. max_steps: 0 until one column is left."""

    C: float = 1.0
    score: str = "accuracy"
    intercept: bool = False
    max_steps: int = 0

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise FitError(f"unknown score {self.score!r}; choose one of {', '.join(SCORES)}")
        if not self.C > 0:
            raise FitError(f"C must be positive, not {self.C}")


@dataclass(frozen=True, slots=True)
class Removal:
    """One step: the column removed, the score (exact) and log loss (to about 1e-6) on the test side without it."""

    column: int
    score: float
    log_loss: float


@dataclass(slots=True)
class Counters:
    """What the search had to do: candidates seen, judged again after a step in float32, refined in
    float64, solved properly; refreshes of H⁻¹."""

    steps: int = 0
    candidates: int = 0
    sifted: int = 0
    refined: int = 0
    proper_solves: int = 0
    refreshes: int = 0
    #: largest gradient (in H⁻¹) found at a refresh: what rounding and early stopping had left
    drift: float = 0.0


class GreedySearch:
    """Iterate to get one :class:`Removal` after the other; ``baseline`` is the score with all columns.

    removed: columns that an earlier, interrupted search has removed already, in order; it goes on after them.
    """

    def __init__(self, problem: Problem, options: SearchOptions, *, removed: Sequence[int] = ()):
        self.problem, self.options = problem, options
        self.fake = np.asarray(problem.z, dtype=bool)
        self.y = np.asarray(problem.y, dtype=bool)
        self.counters = Counters()
        X, T = np.asarray(problem.X, np.float64), np.asarray(problem.T, np.float64)
        if not removed:
            fit = fit_logistic(X, self.y, options.C, intercept=options.intercept)
            self.baseline = float(SCORES[options.score]((T @ fit.weights + fit.intercept)[None], self.fake)[0])
        kept = np.setdiff1d(np.arange(X.shape[1]), np.asarray(removed, dtype=int))
        if removed:
            X, T = X[:, kept], T[:, kept]
            fit = fit_logistic(X, self.y, options.C, intercept=options.intercept)
        self.original, self.already = kept, len(removed)
        self.geometry = Geometry(X, self.y, T, options.C, intercept=options.intercept)
        self.weights = np.concatenate([[fit.intercept] if options.intercept else [], fit.weights])
        self.margins = self.residual = self.test_margins = np.zeros(0)
        self.spread = TestSpread()
        self._before: list[float] = []
        self._refresh()

    def __iter__(self) -> Iterator[Removal]:
        """Removals until one column is left or ``max_steps`` are done, those of an earlier run included."""
        limit = len(self.original) - 1
        if self.options.max_steps:
            limit = min(limit, self.options.max_steps - self.already)
        for _ in range(limit):
            yield self.step()

    def step(self) -> Removal:
        """Find the best candidate, remove it, return what was removed."""
        g = self.geometry
        found = Candidates(
            g, self.margins, self.test_margins, self.weights, self.residual, self.fake, self.options.score, self.spread
        )
        found.screen()
        winner = self._winner(found)
        self.counters.steps += 1
        self.counters.candidates += g.active - g.fixed
        self.counters.sifted += found.siftings
        self.counters.refined += len(found.refined)
        self._polish(found, winner)
        weights = found.weights_without(winner)
        state = found.refined[winner]
        removal = Removal(
            int(self.original[g.index[winner]]),
            float(SCORES[self.options.score](state.test[None], self.fake)[0]),
            found.log_loss(winner)[0],
        )
        self.margins, self.test_margins, self.residual = state.margins, state.test, state.residual
        g.remove(winner)
        weights[winner] = weights[-1]
        self.weights = weights[:-1]
        if self._refresh_pays(found.work):
            self._refresh()
        return removal

    def _refresh(self) -> None:
        """New curvature, and one Newton step with the gradient taken afresh, so that no rounding adds up over steps."""
        g = self.geometry
        self.margins = self.weights @ g.X
        p = sigmoid(self.margins.copy())
        g.refresh(p * (1 - p))
        gradient = g.X @ (self.options.C * p)
        gradient[g.fixed :] += self.weights[g.fixed :]
        step = g.solve(gradient[None])[0]
        self.counters.drift = max(self.counters.drift, float(np.sqrt(max(float(gradient @ step), 0.0))))
        self.weights = self.weights - step
        before = self.margins
        self.margins = self.weights @ g.X
        self.test_margins = self.weights @ g.T
        self.residual = self.options.C * (sigmoid(self.margins.copy()) - p - g.s * (self.margins - before))
        self.spread.update(g, self.test_margins)
        self.counters.refreshes += 1
        self._spent = [g.refresh_cost]

    def _refresh_pays(self, work: float) -> bool:
        """Old curvature makes work. Refresh where the next step would cost more than the mean since the last refresh.

        What it would cost is taken from the same place after the refresh before; every sixteenth time it is found out
        anew. Costs are counted in multiplications, not in seconds: the same search takes the same path everywhere.
        """
        self._spent.append(work)
        steps = len(self._spent) - 1
        expected = work
        if steps + 1 < len(self._before) and self.counters.refreshes % 16:
            expected = max(work, self._before[steps + 1])
        pays = steps >= LONGEST_USE or expected > sum(self._spent) / steps
        if pays and steps + 1 >= len(self._before):
            self._before = self._spent
        return pays

    def _winner(self, found: Candidates) -> int:
        g = self.geometry
        alive = found.alive()
        for _ in range(SIFTINGS):
            lot = alive[~found.stuck[alive]]
            if len(alive) == 1 or not len(lot):
                break
            alive = found.sift(lot)
        while len(alive) > 1:
            lot = alive[~found.exact[alive]]
            if not len(lot):
                break
            found.refine(lot)
            for line in lot:
                if not found.exact[line] and found.refined[int(line)].rounds >= MAX_ROUNDS:
                    self._solve_properly(found, int(line))
            alive = found.alive()
        best = found.value[alive].max()
        top = alive[found.value[alive] >= best - SCORE_TIE]
        if len(top) == 1:
            return int(top[0])
        loss = found.loss_low[top]
        top = top[loss <= loss.min() + LOSS_TIE]
        return int(top[np.argmin(g.index[top])])

    def _polish(self, found: Candidates, winner: int) -> None:
        """Take the winner so far that its remaining gradient does not blur the bounds of the next step."""
        if winner not in found.refined:
            found.refine(np.array([winner]))
        for _ in range(MAX_ROUNDS):
            if found.exact[winner]:
                return
            # The score must be beyond doubt as well: no test row within its error of the other side.
            certain = found.low[winner] == found.high[winner]
            if certain and found.reach[winner] * found.radius < POLISHED and found.log_loss(winner)[1] < LOSS_POLISHED:
                return
            found.refine(np.array([winner]))
        self._solve_properly(found, winner)

    def _solve_properly(self, found: Candidates, line: int) -> None:
        """A converged fit of its own for a candidate that the shared curvature does not lead to its optimum."""
        g = self.geometry
        others = np.delete(np.arange(g.fixed, g.active), line - g.fixed)
        fit = fit_logistic(
            np.ascontiguousarray((g.X[others] * g.sign).T), self.y, self.options.C, intercept=self.options.intercept
        )
        weights = np.zeros(g.active)
        weights[others] = fit.weights
        weights[: g.fixed] = fit.intercept
        found.settle(line, weights)
        self.counters.proper_solves += 1
