"""Linear support vector machine (Saland's report, section 2.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from aigiscan.classifiers.base import Array, LinearProbe, Scaler


class SVMClassifier(LinearProbe):
    """½‖w‖² + C Σ weight · max(0, 1 − y (w·x + b))².

    C: inverse penalty; the default is for some thousand standardised columns, 0.1 to 10 suits a few hundred columns as
    they are. fit_intercept, standardize, class_weight: as in ``logistic``.
    """

    def __init__(
        self,
        C: float = 1e-3,
        fit_intercept: bool = True,
        standardize: bool = True,
        class_weight: str | None = None,
        max_iter: int = 2000,
        tol: float = 1e-4,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        scaler = Scaler.fit(X, weight, centre=self.fit_intercept) if self.standardize else Scaler.none(X.shape[1])
        # The primal solver draws no random numbers. It penalises the bias as a column of constant 1: make the column
        # larger, and the penalty on the bias vanishes.
        model = LinearSVC(
            C=self.C,
            dual=False,
            fit_intercept=self.fit_intercept,
            intercept_scaling=10.0,
            class_weight=self.class_weight,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        used = weight > 0
        model.fit(scaler.transform(X[used]), y[used], sample_weight=weight[used])
        self.n_iter_ = model.n_iter_
        self._set_linear(model.coef_[0], float(np.ravel(model.intercept_)[0]), scaler)
