"""The bound on how much the test images can tell: never below the truth over the steps of a search."""

import numpy as np
import pytest

from aigiscan.search.bounds import Reach
from aigiscan.search.curvature import Curvature
from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.problem import Problem


class Watched(Reach):
    """Notes the bound's share of the truth at each step, and at which steps it was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[float] = []
        self.computed: list[bool] = []

    def at(self, curvature: Curvature) -> float:
        bound = super().at(curvature)
        self.shares.append(bound / np.linalg.eigvalsh(curvature.T.T @ curvature.B)[-1])
        self.computed.append(self.age == 0)
        return bound


@pytest.mark.parametrize("n_test", [20, 90])  # fewer and more than columns
def test_bound_along_a_search(n_test: int) -> None:
    rng = np.random.default_rng(n_test)
    y, z = np.arange(120) % 2 == 0, np.arange(n_test) % 2 == 0
    X, T = rng.normal(size=(120, 50)), rng.normal(size=(n_test, 50))
    X[y] += 0.7 * rng.random(50)
    T[z] += 0.7 * rng.random(50)
    search = GreedySearch(Problem(X, y, T, z, tuple(map(str, range(50)))), SearchOptions(C=3.0))
    search._reach = watched = Watched()
    assert len(list(search)) == len(watched.shares) == 49
    shares, computed = np.array(watched.shares), np.array(watched.computed)
    assert shares.min() >= 1 - 1e-9
    assert shares[computed].max() <= 50 ** (1 / 8)  # tr M⁸ ≤ 50 μ⁸
    assert 0 < computed.sum() < len(computed) / 2
