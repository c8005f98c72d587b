"""Continued training: a fitted classifier goes on with a second data set (Saland's report, section 2.5)."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import ArrayLike

from aigiscan.classifiers.base import ProbeClassifier
from aigiscan.classifiers.ensemble import FoldEnsemble
from aigiscan.errors import FitError


def fit_from(
    previous: ProbeClassifier,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    member: int = 0,
) -> ProbeClassifier:
    """A copy of ``previous`` trained further; ``previous`` stays as it is.

    How: ``logistic`` keeps near its old weights (the penalty is centred on them), ``mlp``, ``linear-bce`` and
    ``tip-adapter-f`` run their epochs again from where they were, ``knn`` adds to its banks. Of an ensemble the member
    of this number goes on (counted round), so that the ensemble of the new folds is one of single classifiers again.
    FitError for classifiers that have no such thing, and where labels or columns differ from those of the first fit.
    """
    if isinstance(previous, FoldEnsemble):
        previous = previous.members[member % len(previous.members)]
    go_on = getattr(previous, "continue_fit", None)
    if go_on is None:
        raise FitError(f"{type(previous).__name__} cannot be trained further; fit it on both data sets together")
    labels = np.unique(np.asarray(y))
    if labels.tolist() != np.asarray(previous.classes_).tolist():
        raise FitError(f"the second data set has labels {labels.tolist()}, the first {previous.classes_.tolist()}")
    further = copy.deepcopy(previous)
    further.continue_fit(X, y, sample_weight=sample_weight)
    return further
