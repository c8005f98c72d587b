"""One feature: how far an embedding points from the mean photograph to the mean fake (Gaintseva et al., section 4)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from aigiscan.classifiers.base import Array, ProbeClassifier, Scaler, residual_direction, unit_rows


@dataclass(eq=False, repr=False)
class ResidualClassifier(ProbeClassifier):
    """resid = Norm[mean e_fake] − Norm[mean e_real]; logistic regression on e · resid / (‖e‖ ‖resid‖).

    cosine: divide by ‖e‖ ‖resid‖ (section 4); off: the plain dot product of appendix A.3. standardize: columns to
    mean 0 and variance 1 first, for encoders whose columns have different units.
    """

    _arrays = ("direction_", "mean_", "scale_", "slope_", "offset_")

    cosine: bool = True
    standardize: bool = False

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        scaler = Scaler.fit(X, weight) if self.standardize else Scaler.none(X.shape[1])
        self.mean_, self.scale_ = scaler.mean, scaler.scale
        Z = scaler.transform(X)
        real, fake = (weight[y == label] @ Z[y == label] / weight[y == label].sum() for label in (0, 1))
        self.direction_ = residual_direction(fake, real)
        feature = self._feature(X)
        # Unpenalised in effect: the feature's spread, a few hundredths, must not decide the slope.
        share = weight / weight.sum()
        spread = float(np.sqrt(share @ np.square(feature - share @ feature))) or 1.0
        model = LogisticRegression(C=1e4, max_iter=1000).fit(feature[:, None] / spread, y, sample_weight=weight)
        self.slope_ = np.array([model.coef_[0, 0] / spread])
        self.offset_ = np.array([model.intercept_[0]])

    def merged(self, members: Sequence[Any]) -> ProbeClassifier | None:
        """One direction again, where no member scales the columns: the features are e · resid / ‖e‖ times numbers."""
        if self.standardize:
            return None
        units = [unit_rows(m.direction_[None, :])[0] if self.cosine else m.direction_ for m in members]
        merged = copy.deepcopy(self)
        merged.direction_ = np.mean([m.slope_[0] * u for m, u in zip(members, units, strict=True)], axis=0)
        merged.slope_ = np.array([np.linalg.norm(merged.direction_) if self.cosine else 1.0])
        merged.offset_ = np.mean([m.offset_ for m in members], axis=0)
        return merged

    def _feature(self, X: Array) -> Array:
        Z = Scaler(self.mean_, self.scale_).transform(X)
        if not self.cosine:
            return Z @ self.direction_
        return unit_rows(Z) @ unit_rows(self.direction_[None, :])[0]

    def _decide(self, X: Array) -> Array:
        return self.slope_[0] * self._feature(X) + self.offset_[0]
