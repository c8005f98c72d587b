"""Which generator, or which family of generators; also usable as a binary detector (Saland's report, 2.3 and 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from aigiscan.classifiers.base import REAL_NAME, Array, ProbeClassifier, Scaler, UnfitDataError
from aigiscan.classifiers.neural import MLPClassifier
from aigiscan.classifiers.svm import fit_linear_svm
from aigiscan.errors import InputError

OTHER = "other"


def load_families(path: str | Path) -> dict[str, str]:
    """A YAML map generator → family; InputError if it is none. ``real`` may not be a family: it is the other class."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as a YAML map of generator: family") from error
    if not isinstance(values, dict) or not all(isinstance(v, (str, int, float)) for v in values.values()):
        raise InputError(f"{path} must be a YAML map of generator: family, one per line")
    families = {str(k): str(v) for k, v in values.items()}
    if REAL_NAME in families or REAL_NAME in families.values():
        raise InputError(f"{path}: '{REAL_NAME}' is the class of photographs and cannot be a generator or family")
    return families


class _Attributing(ProbeClassifier):
    """``y`` holds names, ``"real"`` for photographs; ``generators_`` (c,) has ``real`` first, then sorted names."""

    multiclass = True
    families: Mapping[str, str] | None

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> _Attributing:
        """Fit on names y (n,); FitError without photographs or without fakes."""
        names = np.asarray(y)
        if names.dtype.kind in "biuf":
            raise UnfitDataError("multi-class classifiers learn generator names, 'real' for photographs, not numbers")
        names = names.astype(str)
        if self.families is not None:
            known = {**self.families, REAL_NAME: REAL_NAME}
            names = np.array([known.get(name, OTHER) for name in names])
        binary = (names != REAL_NAME).astype(int)
        matrix, target, weight = self._check_fit(X, binary, sample_weight)
        counted = weight > 0
        matrix, target, weight, names = matrix[counted], target[counted], weight[counted], names[counted]
        self.generators_ = np.array([REAL_NAME, *sorted(set(names[target == 1].tolist()))])
        place = {name: i for i, name in enumerate(self.generators_.tolist())}
        self._fit(matrix, np.array([place[name] for name in names.tolist()]), weight)
        return self

    def predict_generator(self, X: ArrayLike) -> NDArray[np.str_]:
        """The most likely generator or family of each image (n,), ``"real"`` for photographs."""
        check_is_fitted(self)
        return self.generators_[np.argmax(self._class_scores(self._check_matrix(X)), axis=1)]

    def class_scores(self, X: ArrayLike) -> Array:
        """Scores (n, c) in the order of ``generators_``; the largest is the prediction."""
        check_is_fitted(self)
        return self._class_scores(self._check_matrix(X))

    def _class_scores(self, X: Array) -> Array:
        raise NotImplementedError

    def get_arrays(self) -> dict[str, NDArray]:
        """As :meth:`ProbeClassifier.get_arrays`; the names as UTF-8 bytes, one per line."""
        text = "\n".join(self.generators_.tolist()).encode() if hasattr(self, "generators_") else b""
        return {**super().get_arrays(), "generators": np.frombuffer(text, dtype=np.uint8)}

    def set_arrays(self, arrays: Mapping[str, NDArray]) -> _Attributing:
        """As :meth:`ProbeClassifier.set_arrays`."""
        if "generators" not in arrays:
            raise ValueError("classifier state lacks generators")
        super().set_arrays(arrays)
        self.generators_ = np.array(bytes(np.asarray(arrays["generators"], np.uint8)).decode().split("\n"))
        return self


@dataclass(eq=False, repr=False)
class MulticlassSVM(_Attributing):
    """One linear SVM for each pair of classes; they vote, and their margins break ties.

    Binary score: the best generator's votes minus those of ``real``, above 0 where a generator wins. families: map
    generator → family, unknown ones go to ``other``; None learns generators.
    """

    _arrays = ("coef_", "intercept_")

    C: float = 0.01
    standardize: bool = True
    families: Mapping[str, str] | None = None
    max_iter: int = 2000

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        scaler = Scaler.fit(X, weight) if self.standardize else Scaler.none(X.shape[1])
        Z = scaler.transform(X)
        coefs, intercepts = [], []
        for a, b in combinations(range(len(self.generators_)), 2):
            rows = (y == a) | (y == b)
            coef, intercept, _ = fit_linear_svm(Z[rows], y[rows] == b, weight[rows], C=self.C, max_iter=self.max_iter)
            coefs.append(coef / scaler.scale)
            intercepts.append(intercept - float(coefs[-1] @ scaler.mean))
        self.coef_, self.intercept_ = np.stack(coefs), np.array(intercepts)

    def _class_scores(self, X: Array) -> Array:
        margins = X @ self.coef_.T + self.intercept_  # [n, pairs], above 0: the second of the pair
        votes, sums = np.zeros((2, len(X), len(self.generators_)))
        for i, (a, b) in enumerate(combinations(range(len(self.generators_)), 2)):
            second = margins[:, i] > 0
            votes[:, b] += second
            votes[:, a] += ~second
            sums[:, b] += margins[:, i]
            sums[:, a] -= margins[:, i]
        # margins within ±1/3, so that together they cannot outweigh a vote (scikit-learn's OneVsOneClassifier)
        return votes + sums / (3.0 * (np.abs(sums) + 1.0))

    def _decide(self, X: Array) -> Array:
        scores = self._class_scores(X)
        return scores[:, 1:].max(axis=1) - scores[:, 0]


@dataclass(eq=False, repr=False)
class MulticlassMLP(_Attributing, MLPClassifier):
    """Two layers over generators or families, softmax; parameters as ``mlp``, families as ``multiclass-svm``.

    Binary score: log of the probability of all generators together minus that of ``real``.
    """

    families: Mapping[str, str] | None = None
    #: one a class, no parameter
    logits: int = field(default=1, init=False)

    #: classes grow with the data: a second data set has other generators, so there is nothing to go on from
    continue_fit = None  # type: ignore[assignment]

    def _outputs(self) -> int:
        return len(self.generators_)

    def _class_scores(self, X: Array) -> Array:
        return self._logits(X)

    def _decide(self, X: Array) -> Array:
        logits = self._logits(X)
        return np.logaddexp.reduce(logits[:, 1:], axis=1) - logits[:, 0]
