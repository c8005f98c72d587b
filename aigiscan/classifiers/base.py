"""What every classifier is: a scikit-learn estimator whose fitted state is a handful of NumPy arrays.

``fit`` may use scikit-learn or torch; ``decision_function`` needs the arrays of ``get_arrays`` alone, so a detector is
saved without pickle and scores the same numbers after loading.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from aigiscan.errors import FitError

Array = NDArray[np.float64]
REAL_NAME = "real"


class UnfitDataError(FitError, ValueError):
    """Data a classifier refuses; a ValueError too, as scikit-learn's conventions demand."""


class ProbeClassifier(ClassifierMixin, BaseEstimator):
    """Base of all classifiers: binary, the larger of two labels (1, fake) is the positive class.

    Subclasses set ``_arrays`` and implement ``_fit`` and ``_decide``. Labels are 0 real and 1 fake; any two sorted
    values work. multiclass: ``y`` holds generator or family names with ``"real"`` for photographs. needs_text: ``fit``
    takes ``text_features`` (2, d), real then fake. needs_groups: ``fit`` takes ``groups``.
    """

    multiclass: ClassVar[bool] = False
    needs_text: ClassVar[bool] = False
    needs_groups: ClassVar[bool] = False
    #: names of the fitted attributes that ``decision_function`` needs
    _arrays: ClassVar[tuple[str, ...]] = ()

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> ProbeClassifier:
        """Fit on X (n, features) and y (n,); FitError (a ValueError) for NaN, for one class and for no rows."""
        matrix, target, weight = self._check_fit(X, y, sample_weight)
        self._fit(matrix, target, weight)
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Scores (n,), higher = more likely AI-generated; 0 is where both are held to be equally likely."""
        check_is_fitted(self)
        return np.asarray(self._decide(self._check_matrix(X)), dtype=np.float64)

    def predict_proba(self, X: ArrayLike) -> Array:
        """(n, 2): shares of real and fake by the sigmoid of the score; *not* calibrated (a detector's ``p_ai`` is)."""
        score = self.decision_function(X)
        fake = np.where(score >= 0, 1.0 / (1.0 + np.exp(-np.abs(score))), 1.0 - 1.0 / (1.0 + np.exp(-np.abs(score))))
        return np.column_stack([1.0 - fake, fake])

    def predict(self, X: ArrayLike) -> NDArray:
        """Labels (n,): the positive class where the score is above 0."""
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(int)]

    # ---- saving

    def get_arrays(self) -> dict[str, NDArray]:
        """The fitted state, numeric arrays alone; with ``get_params`` it is the whole estimator."""
        check_is_fitted(self)
        if self.classes_.dtype.kind not in "biuf":
            raise FitError("only classifiers fitted on labels 0 and 1 can be saved")
        state = {name.rstrip("_"): np.asarray(getattr(self, name)) for name in self._arrays}
        return {**state, "classes": self.classes_, "n_features": np.array([self.n_features_in_])}

    def set_arrays(self, arrays: Mapping[str, NDArray]) -> ProbeClassifier:
        """Take over the state that ``get_arrays`` gave; no fitting. ValueError if an array is missing."""
        wanted = [*(name.rstrip("_") for name in self._arrays), "classes", "n_features"]
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise ValueError(f"classifier state lacks {', '.join(missing)}")
        for name in self._arrays:
            setattr(self, name, np.asarray(arrays[name.rstrip("_")]))
        self.classes_ = np.asarray(arrays["classes"])
        self.n_features_in_ = int(np.ravel(arrays["n_features"])[0])
        return self

    def merged(self, members: Sequence[ProbeClassifier]) -> ProbeClassifier | None:
        """One classifier of this kind whose score is the mean of the members' scores; None where there is none."""
        return None

    # ---- for subclasses

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        """Fit on checked data: y in {0, 1}, weight (n,) non-negative."""
        raise NotImplementedError

    def _decide(self, X: Array) -> Array:
        """Scores (n,) of checked data from the fitted arrays alone."""
        raise NotImplementedError

    def _check_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> tuple[Array, NDArray, Array]:
        try:
            matrix, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
            check_classification_targets(y)
            weight = _check_sample_weight(sample_weight, matrix, dtype=np.float64, ensure_non_negative=True)
        except ValueError as error:
            raise UnfitDataError(" ".join(str(error).split())) from error
        self.classes_, target = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UnfitDataError("the training data has one class only; images of both classes are needed")
        if len(self.classes_) > 2:
            raise UnfitDataError(f"Only binary classification is supported; y has {len(self.classes_)} classes")
        if min(weight[target == 0].sum(), weight[target == 1].sum()) <= 0:
            raise UnfitDataError("all weights of one class are zero; the data has one class only")
        return matrix, target, weight

    def _check_further(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Array, NDArray, Array]:
        """As ``_check_fit`` for a second data set: the columns must be those of the first, ``classes_`` stays."""
        known = self.classes_
        checked = self._check_fit(self._check_matrix(X), y, sample_weight)
        self.classes_ = known
        return checked

    def _check_matrix(self, X: ArrayLike) -> Array:
        try:
            return validate_data(self, X, dtype=np.float64, reset=False)
        except ValueError as error:
            raise UnfitDataError(" ".join(str(error).split())) from error

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def unit_rows(X: Array) -> Array:
    """Rows scaled to length 1; rows of zeros stay zeros."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(length == 0.0, 1.0, length)


def residual_direction(fake: Array, real: Array) -> Array:
    """``Norm[mean e_fake] − Norm[mean e_real]`` of two means (d,): (d,) (Gaintseva et al., section 4)."""
    unit_fake, unit_real = unit_rows(np.stack([fake, real]))
    return unit_fake - unit_real


class LinearProbe(ProbeClassifier):
    """Score = X · coef_ + intercept_, always in the units of the features given (standardising is folded in).

    coef_: (1, features), intercept_: (1,).
    """

    _arrays = ("coef_", "intercept_")

    def _decide(self, X: Array) -> Array:
        return X @ self.coef_[0] + self.intercept_[0]

    def merged(self, members: Sequence[ProbeClassifier]) -> ProbeClassifier:
        """The mean of linear scores is the score of the mean weights."""
        return mean_weights(members)

    def _set_linear(self, weights: Array, intercept: float, scaler: Scaler) -> None:
        coef = weights / scaler.scale
        self.coef_ = coef[None, :]
        self.intercept_ = np.array([float(intercept) - float(coef @ scaler.mean)])


def mean_weights(members: Sequence[Any]) -> Any:
    """A copy of the first member with the members' mean ``coef_`` and ``intercept_``."""
    merged = copy.deepcopy(members[0])
    for name in ("coef_", "intercept_"):
        setattr(merged, name, np.mean([getattr(member, name) for member in members], axis=0))
    return merged


class Scaler:
    """Weighted mean and standard deviation of each column; a column that is constant in the data is made to vanish.

    ``Scaler.none(d)`` changes nothing.
    """

    def __init__(self, mean: Array, scale: Array) -> None:
        self.mean = mean
        self.scale = scale

    @classmethod
    def fit(cls, X: Array, weight: Array, *, centre: bool = True) -> Scaler:
        """Columns to mean 0 (unless ``centre`` is off, for classifiers without bias) and variance 1."""
        share = weight / weight.sum()
        mean = share @ X
        scale = np.sqrt(np.maximum(share @ np.square(X - mean), 0.0))
        # A constant column has rounding noise for a spread, which dividing would blow up, and its weight would be
        # whatever training began with: an image in which it is not constant must not be judged by that.
        scale[scale <= 1e-9 * np.abs(mean)] = 1e30
        scale[scale == 0.0] = 1e30
        return cls(mean if centre else np.zeros_like(mean), scale)

    @classmethod
    def none(cls, features: int) -> Scaler:
        """The identity."""
        return cls(np.zeros(features), np.ones(features))

    def transform(self, X: Array) -> Array:
        """(X − mean) / scale."""
        return (X - self.mean) / self.scale


def fit_classifier(
    classifier: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    text_features: ArrayLike | None = None,
) -> Any:
    """Fit with whatever of weights, groups and text features the classifier takes; returns it.

    FitError if it needs groups or text features that are not given.
    """
    if getattr(classifier, "needs_groups", False) and groups is None:
        raise FitError(
            f"{type(classifier).__name__} learns from pairs: give a `group` column that pairs real with fake"
        )
    if getattr(classifier, "needs_text", False) and text_features is None:
        raise FitError(f"{type(classifier).__name__} needs an encoder with a text tower: an open_clip model or 'mini'")
    given = {"sample_weight": sample_weight, "groups": groups, "text_features": text_features}
    takes = inspect.signature(classifier.fit).parameters
    return classifier.fit(X, y, **{k: v for k, v in given.items() if v is not None and k in takes})
