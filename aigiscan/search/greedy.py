"""Greedy removal of components: at every step the one whose removal is best for transfer.

Gaintseva et al., section 4 ("Removing features") and A.4, fit one regression per remaining column and step. The answer
here is exactly that of these fits, from a few chord steps in float64 that all candidates share. With the current fit
``w``, the curvature ``H`` there (:mod:`aigiscan.search.curvature`) and column j to be removed:

**Start.** ``w − H⁻¹e_j w_j / h_j`` (h = diag H⁻¹), the optimum without j of the quadratic model.

**Chord step.** ``w − v + H⁻¹e_j v_j / h_j`` with ``v = H⁻¹g``, g the gradient: Newton's step, but with the curvature of
the current fit instead of the candidate's own, kept where w_j = 0. Both steps leave a gradient ``X r`` with

    r = C (p(m + u) − p(m) − S u)        m: margins of the training images before, u: how the step moved them,

to which a start adds the r of the fit that it began from. (The penalty's gradient changes by Dδ = Hδ − C X S u, and of
Hδ nothing is left but the old gradient, which it cancels, and a multiple of e_j, which does not count.) None of this
asks that H is the curvature at w itself: while S changes little, a step keeps that of the one before, less the column
removed.

From r alone follows how far the optimum can be, hence an interval for each candidate's score and log loss
(:mod:`aigiscan.search.bounds`). Whoever cannot be the best any more is out; the others take chord steps until one is
left, or all are known to the last digits. A candidate that does not get there within a few steps gets a converged fit
of its own. Ties go to the smaller log loss, then the lower column: neither blocks nor threads change the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import ThreadpoolController

from aigiscan.errors import FitError
from aigiscan.search.bounds import LossBound, Reach, distance, kept_curvature, lost_curvature, sigmoid
from aigiscan.search.curvature import Curvature
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import Problem
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES, score_interval

#: Test margins known this well are known to the last digits: log losses are told apart at 1e-8.
EXACT = 2e-10
#: The log loss of the last one left is known this well.
LOSS_KNOWN = 1e-7
#: Chord steps after which a candidate gets a fit of its own.
CHORDS = 12
#: A curvature is shared by so many steps at most, so that no rounding adds up, and while S has changed by less than
#: CHANGED (:meth:`Curvature.changed`): beyond, more chord steps cost what this saves.
SHARED, CHANGED = 8, 0.08
#: So many of the likely best take their chord step first: the better the best is known, the more others drop out.
FIRST = 16
#: Numbers per block of (candidates × images): small blocks stay in the cache, large ones make better products.
START_BLOCK, CHORD_BLOCK = 1 << 16, 1 << 22


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """C: inverse L2 penalty. score: accuracy (balanced, at 0), auc or ap. max_steps: 0 until one column is left."""

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
    """What the search had to do: candidates seen, chord steps taken by them, converged fits of their own."""

    steps: int = 0
    candidates: int = 0
    chords: int = 0
    proper_solves: int = 0


@dataclass(slots=True)
class Fits:
    """Candidates on their way, one per row: weights (c, k), training margins, their probabilities of being wrong and
    the r of the gradient X r, (c, n) each, and test margins (c, n_test)."""

    weights: np.ndarray
    margins: np.ndarray
    p: np.ndarray
    residual: np.ndarray
    test: np.ndarray

    def __getitem__(self, rows: slice) -> Fits:
        return Fits(self.weights[rows], self.margins[rows], self.p[rows], self.residual[rows], self.test[rows])

    @staticmethod
    def stack(states: dict[int, Fits], lines: np.ndarray) -> Fits:
        """The states of these lines as one."""
        parts = [states[int(line)] for line in lines]
        names = ("weights", "margins", "p", "residual", "test")
        return Fits(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Standing:
    """What is known of each line: value and loss where its fit has got to; low ≤ score ≤ high and loss_low ≤ log loss ≤
    loss_high of its optimum; error, how far a test margin can be from there. Each (k,). out: who cannot be the best."""

    def __init__(self, lines: int, fixed: int) -> None:
        self.value, self.low, self.high = np.zeros(lines), np.full(lines, -np.inf), np.full(lines, np.inf)
        self.loss, self.loss_low, self.loss_high = np.zeros(lines), np.full(lines, -np.inf), np.full(lines, np.inf)
        self.error = np.full(lines, np.inf)
        self.out = np.arange(lines) < fixed

    def alive(self) -> np.ndarray:
        """Lines that can still be the best, the likely ones first; all others are out for good."""
        inside = np.flatnonzero(~self.out)
        best = inside[np.lexsort((self.loss_high[inside], -self.low[inside]))[0]]
        self.out |= self.high < self.low[best] - SCORE_TIE
        self.out |= (self.high <= self.low[best] + SCORE_TIE) & (self.loss_low > self.loss_high[best] + LOSS_TIE)
        inside = np.flatnonzero(~self.out)
        return inside[np.lexsort((self.loss[inside], -self.value[inside]))]

    def unsure(self, lines: np.ndarray) -> np.ndarray:
        """Those that another step would tell more about; the last one left need not be known to the last digits."""
        if len(lines) > 1:
            return lines[self.error[lines] > EXACT]
        known = (self.low[lines] == self.high[lines]) & (self.loss_high[lines] - self.loss_low[lines] < LOSS_KNOWN)
        return lines[~known & (self.error[lines] > EXACT)]

    def best(self, lines: np.ndarray, column: np.ndarray) -> int:
        """Of lines known to the last digits: best score, of equals the smallest log loss, then the lowest column."""
        lines = lines[self.value[lines] >= self.value[lines].max() - SCORE_TIE]
        lines = lines[self.loss[lines] <= self.loss[lines].min() + LOSS_TIE]
        return int(lines[np.argmin(column[lines])])


class GreedySearch:
    """Iterate to get one :class:`Removal` after the other; ``baseline`` is the score with all columns.

    removed: columns that an earlier, interrupted search has removed already, in order; it goes on after them. threads:
    of BLAS, which wait for each other wherever a core is busy; 0 for what BLAS takes by itself.

    X (k, n), T (k, n_test) as in :class:`Curvature`; column (k,): the number of each line, −1 for the intercept, which
    is line 0 where there is one; weights (k,) of the current fit.
    """

    X: np.ndarray
    T: np.ndarray
    column: np.ndarray
    weights: np.ndarray
    curvature: Curvature
    fit: Fits
    loss_bound: LossBound
    _removed: int
    _fresh = -SHARED  # the step of the last curvature

    def __init__(self, problem: Problem, options: SearchOptions, *, removed: Sequence[int] = (), threads: int = 1):
        self.options, self.threads, self.counters = options, threads, Counters()
        self.fake, self.y = np.asarray(problem.z, dtype=bool), np.asarray(problem.y, dtype=bool)
        self.fixed, self.already = int(options.intercept), len(removed)
        self._blas, self._reach = ThreadpoolController(), Reach()
        with self._limited():
            self._begin(np.asarray(problem.X, np.float64), np.asarray(problem.T, np.float64), removed)

    def __iter__(self) -> Iterator[Removal]:
        """Removals until one column is left or ``max_steps`` are done, those of an earlier run included."""
        limit = len(self.weights) - self.fixed - 1
        if self.options.max_steps:
            limit = min(limit, self.options.max_steps - self.already)
        for _ in range(limit):
            yield self.step()

    def step(self) -> Removal:
        """Find the best candidate, remove it, return what was removed."""
        with self._limited():
            self._refresh()
            standing = Standing(len(self.weights), self.fixed)
            self._screen(standing)
            line, weights = self._winner(standing)
            removal = Removal(int(self.column[line]), float(standing.value[line]), float(standing.loss[line]))
            self.counters.steps += 1
            self.counters.candidates += len(self.weights) - self.fixed
            self._removed = line
            for array in (self.X, self.T, self.column, weights):  # the last line moves into its place
                array[line] = array[-1]
            self.X, self.T, self.column, self.weights = self.X[:-1], self.T[:-1], self.column[:-1], weights[:-1]
        return removal

    def _begin(self, X: np.ndarray, T: np.ndarray, removed: Sequence[int]) -> None:
        options, f = self.options, self.fixed
        if not removed:
            fit = fit_logistic(X, self.y, options.C, intercept=options.intercept)
            self.baseline = float(SCORES[options.score]((T @ fit.weights + fit.intercept)[None], self.fake)[0])
        kept = np.setdiff1d(np.arange(X.shape[1]), np.asarray(removed, dtype=int))
        if removed:
            fit = fit_logistic(np.ascontiguousarray(X[:, kept]), self.y, options.C, intercept=options.intercept)
        self.X, self.T = np.ones((len(kept) + f, len(X))), np.ones((len(kept) + f, len(T)))
        self.X[f:], self.T[f:] = X[:, kept].T, T[:, kept].T
        self.X *= np.where(self.y, -1.0, 1.0)
        self.column = np.concatenate([np.full(f, -1), kept])
        self.weights = np.concatenate([np.full(f, fit.intercept), fit.weights])

    def _limited(self) -> AbstractContextManager:
        return self._blas.limit(limits=self.threads or None, user_api="blas")

    def _refresh(self) -> None:
        """The curvature near the current fit, and one Newton step with it: no rounding adds up over the steps."""
        penalty = (self.column >= 0).astype(float)
        margins = self.weights @ self.X
        p = sigmoid(margins)
        if self.counters.steps < self._fresh + SHARED and self.curvature.changed(p) < CHANGED:
            self.curvature.remove(self._removed, self.X, self.T)
        else:
            self.curvature, self._fresh = Curvature(self.X, self.T, penalty, self.options.C, p), self.counters.steps
        step = self.curvature.inverse @ (self.X @ (self.options.C * p) + self.weights * penalty)
        self.weights = self.weights - step
        self.fit = Fits(self.weights, *self._moved(margins, p, -step @ self.X), self.weights @ self.T)
        self.loss_bound = LossBound(self.curvature, self.fit.test, self.fake, self._reach.at(self.curvature))

    def _moved(self, margins: np.ndarray, p: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(margins, p, r) after a step that moves the margins by ``move``."""
        after = margins + move
        new = sigmoid(after)
        return after, new, self.options.C * (new - p - self.curvature.s * move)

    def _start(self, lines: np.ndarray) -> Fits:
        """These candidates at the optimum of the quadratic model without them."""
        g, fit = self.curvature, self.fit
        step = (-self.weights[lines] / g.h[lines])[:, None]
        margins, p, residual = self._moved(fit.margins, fit.p, g.A[lines] * step)
        residual += fit.residual
        return Fits(fit.weights + g.inverse[lines] * step, margins, p, residual, fit.test + g.B[lines] * step)

    def _chord(self, lines: np.ndarray, fits: Fits) -> Fits:
        """These candidates one chord step on."""
        g = self.curvature
        v = g.without(fits.residual @ g.A.T, lines)
        self.counters.chords += len(lines)
        return Fits(fits.weights - v, *self._moved(fits.margins, fits.p, -v @ g.X), fits.test - v @ g.T)

    def _judge(self, standing: Standing, lines: np.ndarray, fits: Fits) -> None:
        """Enter what is known of these candidates where they are now."""
        g = self.curvature
        pull = np.einsum("ij,ij->i", g.A[lines], fits.residual)
        decrement = np.sqrt(np.maximum(fits.residual**2 @ (1 / (g.C * g.s)) - pull**2 / g.h[lines], 0.0))
        lost = lost_curvature(g, fits.p)
        t = distance(decrement, kept_curvature(g.share, lost), g.rho)
        standing.error[lines] = t * g.test_norm.max()
        standing.value[lines], low, high = score_interval(
            self.options.score, fits.test, t[:, None] * g.test_norm, self.fake
        )
        standing.loss[lines], loss_low, loss_high = self.loss_bound.interval(lines, lost, fits.residual, fits.test, t)
        for known, found, narrower in (
            (standing.low, low, np.maximum),
            (standing.high, high, np.minimum),
            (standing.loss_low, loss_low, np.maximum),
            (standing.loss_high, loss_high, np.minimum),
        ):
            known[lines] = narrower(known[lines], found)

    def _screen(self, standing: Standing) -> None:
        """All candidates at their start."""
        for lines in _blocks(np.arange(self.fixed, len(self.weights)), START_BLOCK // len(self.y)):
            self._judge(standing, lines, self._start(lines))

    def _winner(self, standing: Standing) -> tuple[int, np.ndarray]:
        """The line that is best removed, and the weights (k,) without it, 0 where it was."""
        states: dict[int, Fits] = {}
        rounds = np.zeros(len(self.weights), dtype=int)
        lot = alive = standing.alive()
        lot = lot[:FIRST]
        while len(lot):
            self._advance(standing, states, lot[rounds[lot] < CHORDS])
            for line in lot[rounds[lot] == CHORDS]:
                self._solve(standing, states, int(line))
            rounds[lot] += 1
            alive = standing.alive()
            lot = standing.unsure(alive)
        line = standing.best(alive, self.column)
        return line, states[line].weights[0] if line in states else self._start(np.array([line])).weights[0]

    def _advance(self, standing: Standing, states: dict[int, Fits], lines: np.ndarray) -> None:
        """A chord step for each of these candidates."""
        new = np.array([int(line) not in states for line in lines], dtype=bool)
        for part, begin in ((lines[new], self._start), (lines[~new], lambda block: Fits.stack(states, block))):
            for block in _blocks(part, CHORD_BLOCK // len(self.y)):
                fits = self._chord(block, begin(block))
                self._judge(standing, block, fits)
                states.update({int(line): fits[i : i + 1] for i, line in enumerate(block)})

    def _solve(self, standing: Standing, states: dict[int, Fits], line: int) -> None:
        """A converged fit of its own for a candidate that the shared curvature does not lead to its optimum."""
        f = self.fixed
        others = np.delete(np.arange(f, len(self.weights)), line - f)
        rows = np.ascontiguousarray((self.X[others] * np.where(self.y, -1.0, 1.0)).T)
        start = np.concatenate([self.weights[others], self.weights[:f]])
        fit = fit_logistic(rows, self.y, self.options.C, intercept=self.options.intercept, start=start)
        weights = np.zeros((1, len(self.weights)))
        weights[0, others], weights[0, :f] = fit.weights, fit.intercept
        margins = weights @ self.X
        states[line] = Fits(weights, margins, sigmoid(margins), np.zeros_like(margins), weights @ self.T)
        self._judge(standing, np.array([line]), states[line])
        self.counters.proper_solves += 1


def _blocks(lines: np.ndarray, size: int) -> Iterator[np.ndarray]:
    size = max(1, size)
    for start in range(0, len(lines), size):
        yield lines[start : start + size]
