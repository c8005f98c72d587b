"""k nearest neighbours in cosine distance (UniFD, section 4.2), with a continuous score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.classifiers.base import Array, ProbeClassifier, Scaler, unit_rows


@dataclass(eq=False, repr=False)
class NearestNeighbourClassifier(ProbeClassifier):
    """Score = mean cosine distance to the k nearest photographs − mean cosine distance to the k nearest fakes.

    k: neighbours in each bank (the paper: 1, 3, 5, 9); a bank with fewer images is used whole. vote: the paper's
    majority instead: of the k nearest images of both banks, the share of fakes minus that of photographs, −1 to 1 (only
    k + 1 values, so thresholds are coarse). standardize: columns to mean 0 and variance 1 first. A bank knows no
    weights: images of weight 0 are left out, others count alike.
    """

    _arrays = ("real_", "fake_", "mean_", "scale_")
    #: scores of this many images at a time, so that memory stays at 1,024 × bank
    _chunk = 1024

    k: int = 9
    standardize: bool = False
    vote: bool = False

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        scaler = Scaler.fit(X, weight) if self.standardize else Scaler.none(X.shape[1])
        self.mean_, self.scale_ = scaler.mean, scaler.scale
        self.real_, self.fake_ = (self._rows(X[(y == label) & (weight > 0)]) for label in (0, 1))

    def continue_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> NearestNeighbourClassifier:
        """Add a second data set to the banks."""
        known = self.classes_
        matrix, target, weight = self._check_fit(self._check_matrix(X), y, sample_weight)
        self.classes_ = known
        added = [self._rows(matrix[(target == label) & (weight > 0)]) for label in (0, 1)]
        self.real_ = np.concatenate([self.real_, added[0]])
        self.fake_ = np.concatenate([self.fake_, added[1]])
        return self

    def _rows(self, X: Array) -> NDArray[np.float32]:
        return unit_rows(Scaler(self.mean_, self.scale_).transform(X)).astype(np.float32)

    def _decide(self, X: Array) -> Array:
        parts = []
        for start in range(0, len(X), self._chunk):
            rows = self._rows(X[start : start + self._chunk])
            if self.vote:
                parts.append(_vote(rows, self.real_, self.fake_, self.k))
            else:
                parts.append(_mean_nearest(rows, self.real_, self.k) - _mean_nearest(rows, self.fake_, self.k))
        return np.concatenate(parts)


def _mean_nearest(rows: NDArray[np.float32], bank: NDArray[np.float32], k: int) -> Array:
    """Mean cosine distance (n,) to the k nearest rows of a bank of unit vectors."""
    near = min(k, len(bank))
    distance = 1.0 - rows @ bank.T  # [n, bank]
    return np.partition(distance, near - 1, axis=1)[:, :near].mean(axis=1, dtype=np.float64)


def _vote(rows: NDArray[np.float32], real: NDArray[np.float32], fake: NDArray[np.float32], k: int) -> Array:
    """(fakes − photographs) / k among the k nearest of both banks (n,); of equally near ones the photograph counts."""
    near = min(k, len(real) + len(fake))
    distance = 1.0 - np.concatenate([rows @ real.T, rows @ fake.T], axis=1)  # [n, real + fake]
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :near]
    return np.asarray(2.0 * np.mean(nearest >= len(real), axis=1, dtype=np.float64) - 1.0)
