"""Is the fast search the slow one at full size? One converged fit per candidate, for some steps of its path.

    python benchmarks/check_search.py [--d 768] [--steps 300 450 600 700]

The data of bench_search.py. The search runs to its end; then, after so many removals, every remaining column is left
out in turn, fitted to convergence (Newton in float64) and judged by the stated rule: best score, then smallest log
loss, then lowest column. Ends with code 1 if any step differs. The tests do this for every step at d ≤ 48.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from bench_search import embedding_like
from threadpoolctl import threadpool_limits

from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import Problem
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, accuracy, log_loss


def best_candidate(problem: Problem, left: np.ndarray, C: float) -> tuple[int, float]:
    """(column to remove next, score without it), every candidate fitted to convergence."""
    X, T = problem.X.astype(float), problem.T.astype(float)
    start = fit_logistic(np.ascontiguousarray(X[:, left]), problem.y, C).weights
    margins = []
    for i in range(len(left)):
        others = np.delete(np.arange(len(left)), i)
        columns = left[others]
        fit = fit_logistic(np.ascontiguousarray(X[:, columns]), problem.y, C, start=start[others])
        margins.append(T[:, columns] @ fit.weights)
    scores, losses = accuracy(np.array(margins), problem.z), log_loss(np.array(margins), problem.z)
    best = np.flatnonzero(scores >= scores.max() - SCORE_TIE)
    best = best[losses[best] <= losses[best].min() + LOSS_TIE]
    return int(left[best[0]]), float(scores[best[0]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 450, 600, 700])
    given = parser.parse_args()
    problem = embedding_like(1400, 600, given.d)[0]
    options = SearchOptions()
    wrong = 0
    with threadpool_limits(1, user_api="blas"):
        path = list(GreedySearch(problem, options))
        for step in given.steps:
            left = np.setdiff1d(np.arange(given.d), [removal.column for removal in path[:step]])
            column, score = best_candidate(problem, left, options.C)
            same = (column, score) == (path[step].column, path[step].score)
            wrong += not same
            print(
                f"after {step} removals: {path[step].column} ({path[step].score:.4f}), slow way {column} ({score:.4f})"
            )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
