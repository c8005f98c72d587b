"""The paper's hyperparameter search for logistic regression (Gaintseva et al., appendix A.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.classifiers.logistic import LogisticClassifier
from aigiscan.errors import FitError

PAPER_SOLVERS = ("lbfgs", "saga")
PAPER_C = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0)
PAPER_MAX_ITER = (10, 50, 100, 500, 1000, 5000)


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One setting and its accuracy and log loss on the validation images, both classes weighing the same as in the
    paper's equal sets; iterations: how many it took."""

    solver: str
    C: float
    max_iter: int
    accuracy: float
    log_loss: float
    iterations: int


def fit_grid(
    X: NDArray,
    y: NDArray,
    validation: NDArray[np.bool_],
    *,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    standardize: bool = False,
    solvers: Sequence[str] = PAPER_SOLVERS,
    Cs: Sequence[float] = PAPER_C,
    max_iters: Sequence[int] = PAPER_MAX_ITER,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> tuple[LogisticClassifier, list[GridPoint]]:
    """Tune on the validation rows, then refit on training and validation rows together.

    validation: mask (n,) of the rows to tune on; they must not share a group with the others. Best is the highest
    accuracy; of equals the smallest log loss, then the earliest in grid order. FitError if either side lacks a class.
    """
    import warnings

    from joblib import Parallel, delayed
    from sklearn.exceptions import ConvergenceWarning

    mask, labels = np.asarray(validation, dtype=bool), np.asarray(y)
    weight = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if min(len(np.unique(labels[mask])), len(np.unique(labels[~mask]))) < 2:
        raise FitError("training and validation rows both need images of both classes; give more groups")

    def make(solver: str, C: float, max_iter: int) -> LogisticClassifier:
        return LogisticClassifier(
            C=C,
            solver=solver,
            max_iter=max_iter,
            fit_intercept=fit_intercept,
            standardize=standardize,
            random_state=random_state,
        )

    args = (X[~mask], labels[~mask], weight[~mask], X[mask], labels[mask])
    columns = Parallel(n_jobs=n_jobs)(
        delayed(_column)([make(solver, C, m) for m in sorted(max_iters)], *args) for solver, C in product(solvers, Cs)
    )
    points = [point for column in columns for point in column]
    best = max(range(len(points)), key=lambda i: (points[i].accuracy, -points[i].log_loss, -i))
    chosen = points[best]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop is one of the grid's settings
        final = make(chosen.solver, chosen.C, chosen.max_iter).fit(X, labels, sample_weight=weight)
    assert isinstance(final, LogisticClassifier)
    return final, points


def _column(
    models: list[LogisticClassifier], X: NDArray, y: NDArray, weight: NDArray, X_val: NDArray, y_val: NDArray
) -> list[GridPoint]:
    """All iteration limits of one solver and C, ascending: once converged, a higher limit gives the same model."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    points: list[GridPoint] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for model in models:
            if points and points[-1].iterations < points[-1].max_iter:
                last = points[-1]
                points.append(
                    GridPoint(last.solver, last.C, model.max_iter, last.accuracy, last.log_loss, last.iterations)
                )
                continue
            model.fit(X, y, sample_weight=weight)
            score = model.decision_function(X_val)
            positive = y_val == model.classes_[1]
            share = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
            loss = float(share @ np.logaddexp(0.0, np.where(positive, -score, score)))
            accuracy = float(share @ ((score > 0) == positive))
            iterations = int(np.max(model.n_iter_))
            points.append(GridPoint(model.solver, model.C, model.max_iter, accuracy, loss, iterations))
    return points
