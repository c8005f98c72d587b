"""Logistic regression on features: the main probe of Gaintseva et al. (section 4) and UniFD's linear variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from aigiscan.classifiers.base import Array, LinearProbe, Scaler


@dataclass(eq=False, repr=False)
class LogisticClassifier(LinearProbe):
    """½‖w‖² + C Σ weight · log(1 + exp(−y (w·x + b))).

    C: inverse penalty; on standardised columns of ``lite+spam`` 0.001 to 0.01 did equally well. fit_intercept: with a
    bias (the paper finds none needed). standardize: columns to mean 0 and variance 1 first, folded into ``coef_``
    afterwards; needed where columns have different units (``lite+spam``), off in the paper, whose grid of C is for
    columns as they are. class_weight: None or "balanced". solver, max_iter, tol: of scikit-learn.
    """

    C: float = 0.01
    fit_intercept: bool = True
    standardize: bool = True
    class_weight: str | None = None
    solver: str = "lbfgs"
    max_iter: int = 1000
    tol: float = 1e-4
    random_state: int = 0

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        # Without a bias the origin means something: scale, but do not move it.
        scaler = Scaler.fit(X, weight, centre=self.fit_intercept) if self.standardize else Scaler.none(X.shape[1])
        model = self._model().fit(scaler.transform(X), y, sample_weight=weight)
        self.n_iter_ = model.n_iter_
        self._set_linear(model.coef_[0], float(np.ravel(model.intercept_)[0]), scaler)

    def _model(self) -> LogisticRegression:
        return LogisticRegression(
            C=self.C,
            fit_intercept=self.fit_intercept,
            class_weight=self.class_weight,
            solver=self.solver,
            max_iter=self.max_iter,
            tol=self.tol,
            random_state=self.random_state,
        )

    def continue_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LogisticClassifier:
        """Go on training on a second data set from the weights already there: ½‖w − w₀‖² + C Σ loss.

        The problem is convex, so starting from w₀ alone would forget it; the penalty is centred on it instead. Spread
        of the new columns sets the units of the penalty where ``standardize`` is on.
        """
        from scipy.optimize import minimize

        old_coef, old_intercept = self.coef_[0].copy(), float(self.intercept_[0])
        matrix, target, weight = self._check_further(X, y, sample_weight)
        scaler = Scaler.fit(matrix, weight, centre=False) if self.standardize else Scaler.none(matrix.shape[1])
        Z = scaler.transform(matrix)
        weight = weight * self._class_factors(target, weight)
        offset = matrix @ old_coef + old_intercept
        sign = 2.0 * target - 1.0

        def loss(step: Any) -> tuple[float, Array]:
            margin = sign * (offset + Z @ step[:-1] + step[-1] * self.fit_intercept)
            slope = -self.C * weight * sign / (1.0 + np.exp(np.clip(margin, -500, 500)))
            value = 0.5 * step[:-1] @ step[:-1] + self.C * float(weight @ np.logaddexp(0.0, -margin))
            return value, np.append(step[:-1] + Z.T @ slope, slope.sum() * self.fit_intercept)

        found = minimize(
            loss, np.zeros(Z.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": self.max_iter}
        )
        self.coef_ = (old_coef + found.x[:-1] / scaler.scale)[None, :]
        self.intercept_ = np.array([old_intercept + found.x[-1]])
        return self

    def _class_factors(self, target: NDArray[np.intp], weight: Array) -> Array | float:
        if self.class_weight is None:
            return 1.0
        totals = np.bincount(target, minlength=2)
        return (len(target) / (2.0 * totals))[target]
