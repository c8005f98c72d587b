"""The bound on how much the test images can tell: never below the truth, and near it, over the steps of a search."""

import numpy as np
import pytest

from aigiscan.search.bounds import Reach
from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.problem import Problem


@pytest.mark.parametrize("n_test", [20, 90])  # fewer and more than columns
def test_bound_along_a_search(n_test: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n_test)
    y, z = np.arange(120) % 2 == 0, np.arange(n_test) % 2 == 0
    X, T = rng.normal(size=(120, 50)), rng.normal(size=(n_test, 50))
    X[y] += 0.7 * rng.random(50)
    T[z] += 0.7 * rng.random(50)
    computed, compute = [], Reach._compute
    monkeypatch.setattr(Reach, "_compute", staticmethod(lambda g: computed.append(1) or compute(g)))
    search = GreedySearch(Problem(X, y, T, z, tuple(map(str, range(50)))), SearchOptions(C=3.0))
    shares = []
    for _ in search:
        curvature = search.curvature
        largest = np.linalg.eigvalsh(curvature.T.T @ curvature.B)[-1]
        shares.append(search.loss_bound.reach / largest)
        if search._reach.age == 0:  # of 50 eigenvalues: tr M⁸ ≤ 50 μ⁸
            assert shares[-1] <= 50 ** (1 / 8) * (1 + 1e-9)
    assert min(shares) >= 1 - 1e-9
    assert len(computed) < len(shares) / 2
