"""The bounds by which candidates are ruled out contain what a converged fit gives."""

from __future__ import annotations

import numpy as np
import pytest
from search_planted import random_problem

from aigiscan.search.greedy import GreedySearch, SearchOptions, Standing
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.scores import SCORES, log_loss


def converged(search: GreedySearch) -> tuple[np.ndarray, np.ndarray]:
    """Test margins (c, n_test) of one converged fit per candidate, and the lines (c,) they belong to."""
    lines, sign = np.arange(search.fixed, len(search.weights)), np.where(search.y, -1.0, 1.0)
    rows = []
    for line in lines:
        others = np.delete(lines, line - search.fixed)
        X = np.ascontiguousarray((search.X[others] * sign).T)
        fit = fit_logistic(X, search.y, search.options.C, intercept=search.options.intercept)
        rows.append(fit.weights @ search.T[others] + fit.intercept)
    return np.array(rows), lines


@pytest.mark.parametrize("C", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("shape", [{}, {"n": 14, "d": 22, "n_test": 40}, {"mixing": 1.0}, {"fakes": 0.1, "n": 200}])
@pytest.mark.parametrize("score", ["accuracy", "auc"])
def test_intervals_contain_the_converged_fits(C, shape, score):
    """At the start and after each chord step."""
    search = GreedySearch(random_problem(3, **shape), SearchOptions(C=C, intercept=True, score=score))
    search.step()
    search._refresh()
    truth, lines = converged(search)
    loss, value = log_loss(truth, search.fake), SCORES[score](truth, search.fake)
    fits = search._start(lines)
    widths = []
    for _ in range(8):
        found = Standing(len(search.weights), search.fixed)
        search._judge(found, lines, fits)
        assert (found.loss_low[lines] <= loss).all()
        assert (loss <= found.loss_high[lines]).all()
        assert (found.low[lines] <= value).all()
        assert (value <= found.high[lines]).all()
        widths.append((found.loss_high - found.loss_low)[lines])
        fits = search._chord(lines, fits)
    # a bound that is always infinite would contain everything; where chord steps diverge, it may be
    assert C > 1 or np.isfinite(widths).any()
    if C < 1:
        assert np.median(widths[-1]) < 1e-3 * np.median(widths[0])


def test_loss_is_known_much_better_than_margins():
    """What the adjoint is for: the interval is narrower by far than what the margins' own errors allow."""
    search = GreedySearch(random_problem(5, d=40, n=400, n_test=200, shift=0.3), SearchOptions(C=0.01))
    search._refresh()
    truth, lines = converged(search)
    found = Standing(len(search.weights), 0)
    search._judge(found, lines, search._start(lines))
    half = (found.loss_high - found.loss_low)[lines] / 2
    by_margins = found.error[lines] * np.mean(np.minimum(1, np.exp(-np.abs(truth))), axis=1) / 2
    assert np.median(half / by_margins) < 0.3
    assert np.abs((found.loss_high + found.loss_low)[lines] / 2 - log_loss(truth, search.fake)).max() < half.max()


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


def test_blas_is_limited_from_python_as_well():
    """Several BLAS threads wait for each other wherever a core is busy: a search takes one unless told otherwise."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def blas_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = []
    with threadpool_limits(2, user_api="blas"):
        for threads in (1, 2):
            search = GreedySearch(random_problem(0), SearchOptions(), threads=threads)
            search._screen = lambda standing, screen=search._screen: (seen.append(blas_threads()), screen(standing))
            search.step()
            assert blas_threads() == {2}
    assert seen == [{1}, {2}]
