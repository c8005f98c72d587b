"""How well a multi-class classifier names the generators it knows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aigiscan.classifiers.base import REAL_NAME
from aigiscan.classifiers.folds import group_folds, train_test
from aigiscan.classifiers.multiclass import OTHER
from aigiscan.evaluation.candidate import Candidate
from aigiscan.evaluation.confusion import Confusion, confusion


def attribution(candidate: Candidate, n_folds: int = 5, seed: int = 0) -> Confusion:
    """Confusion matrix over folds by group: the generators are known to the fit, the images are not.

    Where the classifier learns families, so does the truth.
    """
    predicted = np.full(len(candidate.labels), "", dtype=object)
    for train, test in train_test(group_folds(candidate.labels, candidate.groups, n_folds, seed), candidate.groups):
        predicted[test] = candidate.fit(train).predict_generator(candidate.X[test])
    return confusion(
        true_names(candidate.labels, candidate.names, getattr(candidate.make(), "families", None)), predicted
    )


def true_names(labels: np.ndarray, names: np.ndarray, families: Mapping[str, str] | None) -> np.ndarray:
    """(n,): what a classifier over several generators should call each image: families, where it learns these."""
    truth = np.where(labels == 1, names, REAL_NAME)
    if families is None:
        return truth
    return np.array([{**families, REAL_NAME: REAL_NAME}.get(name, OTHER) for name in truth.tolist()])
