"""A meta-classifier on the probabilities of several detectors (Saland's report, section 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from aigiscan.classifiers.base import Array, ProbeClassifier, UnfitDataError, mean_weights


@dataclass(eq=False, repr=False)
class StackingClassifier(ProbeClassifier):
    """Logistic regression on the log odds of base probabilities.

    X: (n, detectors), probabilities of fake in [0, 1], out of fold where the same images fitted the bases
    (:func:`aigiscan.classifiers.folds.out_of_fold`). C: inverse penalty. clip: probabilities are held within
    [clip, 1 − clip]: a base that is certain must not outweigh all others.
    """

    _arrays = ("coef_", "intercept_")

    C: float = 1.0
    clip: float = 1e-3

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        model = LogisticRegression(C=self.C, max_iter=1000).fit(self._log_odds(X), y, sample_weight=weight)
        self.coef_, self.intercept_ = model.coef_, model.intercept_

    def merged(self, members: Sequence[ProbeClassifier]) -> ProbeClassifier:
        """The score is linear in the log odds."""
        return mean_weights(members)

    def _log_odds(self, X: Array) -> Array:
        if X.min() < 0.0 or X.max() > 1.0:
            raise UnfitDataError("stacking takes probabilities between 0 and 1, one column per base detector")
        p = np.clip(X, self.clip, 1.0 - self.clip)
        return np.log(p / (1.0 - p))

    def _decide(self, X: Array) -> Array:
        return self._log_odds(X) @ self.coef_[0] + self.intercept_[0]
