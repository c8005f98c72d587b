"""The curvature that steps share: a line taken out of it leaves what a curvature of the remaining lines would be."""

import numpy as np
import pytest

from aigiscan.search import greedy
from aigiscan.search.curvature import Curvature
from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.problem import Problem


def test_removed_lines_leave_the_curvature_of_the_rest() -> None:
    rng = np.random.default_rng(0)
    X, T, p = rng.normal(size=(12, 40)), rng.normal(size=(12, 9)), rng.uniform(0.05, 0.95, 40)
    penalty = np.array([0.0] + [1.0] * 11)
    shared = Curvature(X, T, penalty, 2.0, p)
    for line in (4, 10, 9, 1):  # the last one as well
        for array in (X, T, penalty):
            array[line] = array[-1]
        X, T, penalty = X[:-1], T[:-1], penalty[:-1]
        shared.remove(line, X, T)
        anew = Curvature(X, T, penalty, 2.0, p)
        for name in ("X", "T", "inverse", "h", "A", "B", "s", "norm", "test_norm", "rho", "share"):
            np.testing.assert_allclose(getattr(shared, name), getattr(anew, name), rtol=1e-9, atol=1e-12, err_msg=name)


def test_change_is_relative() -> None:
    p = np.full(40, 0.5)
    curvature = Curvature(np.eye(3, 40), np.eye(3, 9), np.ones(3), 1.0, p)
    assert curvature.changed(p) == 0.0
    p[:10] = 0.5 + np.sqrt(0.05)  # p(1 − p) = 0.2, a fifth less than 0.25, for a quarter of the images
    assert curvature.changed(p) == pytest.approx(0.1)


def test_sharing_changes_nothing_but_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    y, z = np.arange(160) % 2 == 0, np.arange(80) % 2 == 0
    X, T = rng.normal(size=(160, 40)), rng.normal(size=(80, 40))
    X[y] += 0.7 * rng.random(40)
    T[z] += 0.7 * rng.random(40)
    problem = Problem(X, y, T, z, tuple(map(str, range(40))))
    built: list[int] = []
    monkeypatch.setattr(greedy, "Curvature", lambda *args: built.append(1) or Curvature(*args))
    order, curvatures = [], []
    for shared, changed in ((1, 0.08), (8, 0.08), (3, np.inf)):
        monkeypatch.setattr(greedy, "SHARED", shared)
        monkeypatch.setattr(greedy, "CHANGED", changed)
        built.clear()
        order.append([(r.column, r.score) for r in GreedySearch(problem, SearchOptions(C=0.1))])
        curvatures.append(len(built))
    assert order[0] == order[1] == order[2]
    assert curvatures[0] == 39 and curvatures[2] == 13
    assert curvatures[1] < 39
