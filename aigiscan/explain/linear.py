"""A classifier as one weight vector and an intercept, where it is one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aigiscan.errors import DetectorError

#: relative error up to which a classifier's scores count as those of a linear form
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class LinearForm:
    """score(x) = (weights · x + offset) / length(x) + intercept, where length is 1 unless ``normalized``.

    weights (n_features,) float64, in the units of the features as the view gives them: a scaling that the classifier
    learned is folded in, also into the intercept. Positive weights push towards AI-generated.
    normalized: the score depends on a cosine similarity; length(x) = ‖(x − centre) / spread‖.
    clip: for stacks, x are probabilities p and weights act on their log odds, p held within [clip, 1 − clip].
    """

    weights: np.ndarray
    intercept: float
    normalized: bool = False
    offset: float = 0.0
    centre: np.ndarray | float = 0.0
    spread: np.ndarray | float = 1.0
    clip: float | None = None

    def columns(self, X: np.ndarray) -> np.ndarray:
        """X (n, n_features) → what the weights act on, float64 of the same shape."""
        rows = np.asarray(X, dtype=np.float64)
        if self.clip is None:
            return rows
        p = np.clip(rows, self.clip, 1 - self.clip)
        return np.log(p / (1 - p))

    def length(self, X: np.ndarray) -> np.ndarray:
        """X (n, n_features) → what the weighted sum is divided by, (n,)."""
        rows = np.asarray(X, dtype=np.float64)
        if not self.normalized:
            return np.ones(len(rows))
        return np.maximum(np.linalg.norm((rows - self.centre) / self.spread, axis=1), 1e-12)

    def score(self, X: np.ndarray) -> np.ndarray:
        """X (n, n_features) → (n,)."""
        rows = np.asarray(X, dtype=np.float64)
        return (self.columns(rows) @ self.weights + self.offset) / self.length(rows) + self.intercept


def linear_form(classifier: Any, n_features: int) -> LinearForm:
    """The linear form of a fitted classifier; DetectorError with the reason if its score is not linear.

    Logistic, linear SVM, linear-bce and any other probe with ``coef_`` and ``intercept_`` state it themselves, residual
    its direction, stacking its weights on log odds; others (zero-shot) are measured at ± unit vectors. Each is compared
    with the classifier's own scores at random points, so a classifier that only looks linear is refused.
    """
    candidates = (_stacking, _stated, _residual, _measured)
    forms = (form for form in (make(classifier, n_features) for make in candidates) if form is not None)
    form = next((form for form in forms if _agrees(form, classifier)), None)
    if form is None:
        name = type(classifier).__name__
        raise DetectorError(f"the score of {name} is not linear in the features: it has no weights to take apart")
    return form


def _stacking(classifier: Any, n_features: int) -> LinearForm | None:
    from aigiscan.classifiers.stacking import StackingClassifier

    if not isinstance(classifier, StackingClassifier):
        return None
    form = _stated(classifier, n_features)
    return None if form is None else replace(form, clip=classifier.clip)


def _stated(classifier: Any, n_features: int) -> LinearForm | None:
    coef, intercept = getattr(classifier, "coef_", None), getattr(classifier, "intercept_", None)
    if coef is None or intercept is None or np.size(coef) != n_features or np.size(intercept) != 1:
        return None
    return LinearForm(np.ravel(np.asarray(coef, dtype=np.float64)), float(np.ravel(intercept)[0]))


def _residual(classifier: Any, n_features: int) -> LinearForm | None:
    names = ("direction_", "mean_", "scale_", "slope_", "offset_")
    state = [np.asarray(getattr(classifier, name, np.nan), dtype=np.float64) for name in names]
    direction, mean, scale, slope, offset = state
    if direction.shape != (n_features,) or not hasattr(classifier, "cosine"):
        return None
    weights = slope.item() * direction / scale
    if classifier.cosine:
        weights = weights / max(float(np.linalg.norm(direction)), 1e-12)
    constant = -float(weights @ (mean * np.ones(n_features)))
    if not classifier.cosine:
        return LinearForm(weights, offset.item() + constant)
    return LinearForm(weights, offset.item(), normalized=True, offset=constant, centre=mean, spread=scale)


def _measured(classifier: Any, n_features: int) -> LinearForm | None:
    # At ± unit vectors a linear score and one of the direction alone read the same; random points tell which it is.
    unit = np.eye(n_features)
    plus, minus = _scores(classifier, unit), _scores(classifier, -unit)
    weights, intercept = (plus - minus) / 2, float(np.mean((plus + minus) / 2))
    forms = [LinearForm(weights, intercept, normalized) for normalized in (False, True)]
    return next((form for form in forms if _agrees(form, classifier)), None)


def _agrees(form: LinearForm, classifier: Any) -> bool:
    rng = np.random.default_rng(0)
    # Several lengths, so that a score that depends on the direction alone is told from one that does not.
    points = rng.normal(size=(24, len(form.weights))) * np.repeat([0.1, 1.0, 30.0], 8)[:, None]
    if form.clip is not None:
        points = rng.uniform(size=points.shape)
    expected, got = _scores(classifier, points), form.score(points)
    scale = max(1e-12, float(np.abs(expected).max()))
    return bool(np.all(np.isfinite(expected)) and np.abs(expected - got).max() <= _TOLERANCE * scale)


def _scores(classifier: Any, X: np.ndarray) -> np.ndarray:
    return np.asarray(classifier.decision_function(X), dtype=np.float64)
