"""How well a multi-class classifier names the generators it knows."""

from __future__ import annotations

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
    families = getattr(candidate.make(), "families", None)
    for train, test in train_test(group_folds(candidate.labels, candidate.groups, n_folds, seed), candidate.groups):
        predicted[test] = candidate.fit(train).predict_generator(candidate.X[test])
    truth = np.where(candidate.labels == 1, candidate.names, REAL_NAME)
    if families is not None:
        truth = np.array([{**families, REAL_NAME: REAL_NAME}.get(name, OTHER) for name in truth.tolist()])
    return confusion(truth, predicted)
