"""The bounds by which candidates are ruled out contain what a converged fit gives."""

from __future__ import annotations

import numpy as np
import pytest
from search_planted import random_problem

from aigiscan.search.adjoint import TestSpread, largest_eigenvalue
from aigiscan.search.bounds import line_search, sigmoid
from aigiscan.search.candidates import Candidates
from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.scores import SCORES, log_loss


def converged(search: GreedySearch) -> tuple[np.ndarray, np.ndarray]:
    """Test margins (c, n_test) of one converged fit per candidate, and the lines (c,) they belong to."""
    g, options = search.geometry, search.options
    lines = np.arange(g.fixed, g.active)
    rows = []
    for line in lines:
        others = np.delete(lines, line - g.fixed)
        fit = fit_logistic(
            np.ascontiguousarray((g.X[others] * g.sign).T), search.y, options.C, intercept=options.intercept
        )
        rows.append(fit.weights @ g.T[others] + fit.intercept)
    return np.array(rows), lines


def candidates(search: GreedySearch) -> Candidates:
    return Candidates(
        search.geometry, search.margins, search.test_margins, search.weights, search.residual, search.fake,
        search.options.score, search.spread,
    )  # fmt: skip


def assert_contained(found: Candidates, truth: np.ndarray, lines: np.ndarray) -> None:
    loss, score = log_loss(truth, found.fake), SCORES[found.score](truth, found.fake)
    found._judge_loss(lines)
    assert (found.loss_low[lines] <= loss).all()
    assert (loss <= found.loss_high[lines]).all()
    assert (found.low[lines] <= score).all()
    assert (score <= found.high[lines]).all()


@pytest.mark.parametrize("C", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("shape", [{}, {"n": 14, "d": 22, "n_test": 40}, {"mixing": 1.0}, {"fakes": 0.1, "n": 200}])
@pytest.mark.parametrize("age", [0, 3])
def test_intervals_contain_the_converged_fits(C, shape, age, monkeypatch):
    """At the start, after each step in float32 and in float64; with fresh curvature and with one three removals old."""
    monkeypatch.setattr(GreedySearch, "_refresh_pays", lambda self, work: False)
    for score in ("accuracy", "auc"):
        search = GreedySearch(random_problem(3, **shape), SearchOptions(C=C, intercept=True, score=score))
        for _ in range(age):
            search.step()
        truth, lines = converged(search)
        found = candidates(search)
        found.screen()
        assert_contained(found, truth, lines)
        for _ in range(3):
            found.sift(lines)
            assert_contained(found, truth, lines)
        for _ in range(9):
            found.refine(lines)
            assert_contained(found, truth, lines)
        # A bound that is always infinite would contain everything; with old curvature and a large C, it may be.
        assert age or np.isfinite((found.loss_high - found.loss_low)[lines]).any()


def test_loss_is_known_much_better_than_margins():
    """What the adjoint is for: its interval is narrower by far than what the margins' own errors allow."""
    search = GreedySearch(random_problem(5, d=40, n=400, n_test=200, shift=0.3), SearchOptions(C=0.01))
    truth, lines = converged(search)
    found = candidates(search)
    found.screen()
    middle = (found.loss_low + found.loss_high)[lines] / 2
    half = (found.loss_high - found.loss_low)[lines] / 2
    by_margins = found.reach[lines] * found.root.mean() * sigmoid(-np.abs(search.test_margins)).mean()
    assert np.median(half / by_margins) < 0.2
    assert np.abs(middle - log_loss(truth, search.fake)).max() < half.max()


def test_spread_bounds_every_quadratic_form_through_removals_and_refreshes():
    search = GreedySearch(random_problem(2, d=12, n=100, n_test=60), SearchOptions(C=5.0))

    def truth(D: np.ndarray) -> float:
        g = search.geometry
        H = np.eye(g.active) + g.C * (g.X * g.s) @ g.X.T
        return float(np.linalg.eigvals(np.linalg.solve(H, (g.T * D) @ g.T.T)).real.max())

    for _ in range(6):
        assert truth(search.spread.D) <= search.spread.mu
        search.step()
    fresh = TestSpread()
    fresh.update(search.geometry, search.test_margins)
    assert truth(fresh.D) <= fresh.mu <= 1.6 * truth(fresh.D)


def test_largest_eigenvalue_in_blocks_is_still_a_bound(monkeypatch):
    rng = np.random.default_rng(0)
    T = rng.normal(size=(6, 50)).astype(np.float32)
    D = rng.random(50)
    largest = np.linalg.eigvalsh((T * D) @ T.T).max()
    assert largest <= largest_eigenvalue(T, T, D) <= 1.5 * largest
    monkeypatch.setattr("aigiscan.search.adjoint.KERNEL_BLOCK", 7)
    assert largest <= largest_eigenvalue(T, T, D)


def test_step_length_lowers_the_objective():
    """Far from the optimum, where the full chord step overshoots."""
    rng = np.random.default_rng(4)
    M = rng.normal(size=(3, 200)) * 4
    s, C = np.full(200, 0.02), 1.0
    R = C * (sigmoid(M.copy()) - 0.5)
    along = -R / s
    length = line_search(M, R, along, -R, s, C)
    assert (length < 0.9).all()

    def objective(t: np.ndarray) -> np.ndarray:  # the step is all in directions without penalty
        return C * np.sum(np.logaddexp(0, M + t[:, None] * along) - 0.5 * t[:, None] * along, axis=1)

    assert (objective(length) < objective(np.zeros(3))).all()
    assert (objective(length) < objective(np.ones(3))).all()


@pytest.mark.parametrize("score", ["accuracy", "auc", "ap"])
def test_planted_tie_goes_to_the_lower_column(score):
    """Two copies of the column that is best removed: equal scores and losses, wherever they stand."""
    problem = random_problem(8, d=9, n=150, n_test=90)
    first = GreedySearch(problem, SearchOptions(score=score)).step().column
    for low, high in ((0, 10), (4, 5), (9, 10)):
        order = [c for c in range(9) if c != first]
        for place in (low, high):
            order.insert(place, first)
        twice = type(problem)(
            problem.X[:, order], problem.y, problem.T[:, order], problem.z, tuple(str(i) for i in range(10))
        )
        search = GreedySearch(twice, SearchOptions(score=score))
        truth, _ = converged(search)
        values = SCORES[score](truth, search.fake)
        copies = [i for i, c in enumerate(order) if c == first]
        assert values[copies[0]] == pytest.approx(values[copies[1]], abs=1e-12)
        step = search.step()
        if values[copies].max() == values.max():  # removing either copy is the best there is
            assert step.column == copies[0]
        assert step.score == pytest.approx(values.max(), abs=1e-12)
