"""The greedy search gives exactly what one converged fit per candidate gives."""

from __future__ import annotations

import numpy as np
import pytest
from search_planted import one_fit_per_candidate, random_problem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from aigiscan.errors import FitError
from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import Problem

SHAPES = {
    "plain": {},
    "copies": {"copies": 3},
    "constant": {"constant": True},
    "correlated": {"mixing": 1.0},
    "separable": {"shift": 3.0, "n": 60},
    "unbalanced": {"fakes": 0.08, "n": 200},
    "wide": {"n": 14, "n_test": 40, "d": 22},
    "wide separable": {"n": 20, "d": 24, "shift": 3.0},
}


def assert_same(problem: Problem, options: SearchOptions) -> GreedySearch:
    baseline, expected = one_fit_per_candidate(problem, options)
    search = GreedySearch(problem, options)
    found = list(search)
    assert [r.column for r in found] == [r.column for r in expected]
    np.testing.assert_allclose([r.score for r in found], [r.score for r in expected], rtol=0, atol=1e-12)
    np.testing.assert_allclose([r.log_loss for r in found], [r.log_loss for r in expected], rtol=0, atol=1e-6)
    assert search.baseline == pytest.approx(baseline, abs=1e-12)
    return search


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("intercept", [False, True])
def test_same_order_as_one_fit_per_candidate(shape, C, intercept):
    assert_same(random_problem(int(intercept), **SHAPES[shape]), SearchOptions(C=C, intercept=intercept))


@pytest.mark.parametrize("score", ["auc", "ap"])
@pytest.mark.parametrize("shape", ["plain", "copies", "separable", "wide"])
def test_same_order_for_ranking_scores(score, shape):
    for C in (0.1, 10.0):
        assert_same(random_problem(7, **SHAPES[shape]), SearchOptions(C=C, score=score, intercept=True))


@pytest.mark.parametrize(("d", "n", "C"), [(48, 600, 1.0), (48, 90, 0.1), (40, 30, 1.0)])
def test_same_order_with_more_columns(d, n, C):
    """Enough candidates for sifting in float32; from more rows than columns, and across n = d."""
    search = assert_same(random_problem(3, d=d, n=n, n_test=150, shift=0.25), SearchOptions(C=C, max_steps=14))
    assert search.counters.chords > 0


def test_large_and_tiny_features():
    for factor in (1e-3, 300.0):
        problem = random_problem(5)
        scaled = Problem(problem.X * factor, problem.y, problem.T * factor, problem.z, problem.columns)
        assert_same(scaled, SearchOptions(intercept=True))


def test_hard_candidates_are_solved_properly_and_counted():
    search = assert_same(random_problem(1, n=150, n_test=90, d=16, mixing=1.0), SearchOptions(C=100.0, intercept=True))
    assert search.counters.proper_solves > 0


def test_scores_are_those_of_scikit_learn():
    problem = random_problem(2, d=8)
    options = SearchOptions(C=0.5, intercept=True)
    active = list(range(8))
    for removal in GreedySearch(problem, options):
        active.remove(removal.column)
        model = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(problem.X[:, active], problem.y)
        expected = balanced_accuracy_score(problem.z, model.predict(problem.T[:, active]))
        assert removal.score == pytest.approx(expected, abs=1e-12)


def test_fit_agrees_with_scikit_learn():
    for shape in ("plain", "wide", "unbalanced"):
        problem = random_problem(4, **SHAPES[shape])
        for intercept in (False, True):
            model = LogisticRegression(C=2.0, fit_intercept=intercept, tol=1e-10, max_iter=10_000)
            model.fit(problem.X, problem.y)
            fit = fit_logistic(problem.X, problem.y, 2.0, intercept=intercept)
            np.testing.assert_allclose(fit.weights, model.coef_[0], atol=1e-5)
            np.testing.assert_allclose(fit.intercept, model.intercept_[0] if intercept else 0, atol=1e-5)


def test_a_continued_search_is_the_same_search():
    problem = random_problem(6, d=14)
    whole = list(GreedySearch(problem, SearchOptions()))
    rest = list(GreedySearch(problem, SearchOptions(), removed=[r.column for r in whole[:5]]))
    assert [r.column for r in rest] == [r.column for r in whole[5:]]
    np.testing.assert_allclose([r.log_loss for r in rest], [r.log_loss for r in whole[5:]], atol=1e-6)


def test_candidates_in_blocks_give_the_same(monkeypatch):
    problem = random_problem(8, d=20, n=300)
    whole = [r.column for r in GreedySearch(problem, SearchOptions())]
    monkeypatch.setattr("aigiscan.search.greedy.START_BLOCK", 700)
    monkeypatch.setattr("aigiscan.search.greedy.CHORD_BLOCK", 900)
    assert [r.column for r in GreedySearch(problem, SearchOptions())] == whole


def test_max_steps_cuts_the_path():
    problem = random_problem(9)
    whole = [r.column for r in GreedySearch(problem, SearchOptions())]
    assert len(whole) == 11  # one column stays
    assert [r.column for r in GreedySearch(problem, SearchOptions(max_steps=4))] == whole[:4]


def test_what_cannot_be_searched_is_refused_in_one_line():
    problem = random_problem(0)
    with pytest.raises(FitError, match="both are needed"):
        Problem(problem.X, np.ones_like(problem.y), problem.T, problem.z, problem.columns)
    broken = problem.X.copy()
    broken[3, 2] = np.nan
    with pytest.raises(FitError, match="NaN"):
        Problem(broken, problem.y, problem.T, problem.z, problem.columns)
    huge = Problem(problem.X * 1e200, problem.y, problem.T, problem.z, problem.columns)
    with pytest.raises(FitError, match="--standardize"):
        GreedySearch(huge, SearchOptions())
    with pytest.raises(FitError, match="unknown score"):
        SearchOptions(score="f1")
    with pytest.raises(FitError, match="C must be positive"):
        SearchOptions(C=0)
