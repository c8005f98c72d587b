"""What one direction of a search works on: matrices, labels, column names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from aigiscan.errors import FitError


@dataclass(frozen=True, slots=True)
class Problem:
    """Fit on the training rows, score on the test rows.

    X (n, d) and T (n_test, d): features, float32 or float64. y (n,) and z (n_test,): bool, True = fake. columns: d
    names. FitError where a side has only one class, or a feature is NaN or infinite.
    """

    X: np.ndarray
    y: np.ndarray
    T: np.ndarray
    z: np.ndarray
    columns: tuple[str, ...]
    train: str = ""
    test: str = ""

    def __post_init__(self) -> None:
        for side, matrix, labels in (("training", self.X, self.y), ("test", self.T, self.z)):
            check_classes(f"{self.train or 'pair'} to {self.test or 'pair'}: the {side}", labels)
            if matrix.shape != (len(labels), len(self.columns)):
                raise FitError(f"{side} matrix is {matrix.shape}, expected {(len(labels), len(self.columns))}")
            if not np.isfinite(matrix).all():
                raise FitError(f"{self.train} to {self.test}: the {side} features hold NaN or infinite values")

    def digest(self) -> str:
        """sha256 of all numbers, labels and names: equal digests are the same search problem."""
        digest = hashlib.sha256("\0".join((self.train, self.test, *self.columns)).encode())
        for array in (self.X, self.y, self.T, self.z):
            digest.update(str((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def counts(fake: np.ndarray) -> dict[str, int]:
    """How many photographs and fakes there are."""
    fakes = int(np.count_nonzero(fake))
    return {"real": len(fake) - fakes, "fake": fakes}


def check_classes(side: str, fake: np.ndarray) -> None:
    """FitError unless there are rows of both classes."""
    found = counts(fake)
    if not all(found.values()):
        raise FitError(f"{side} side has {found['fake']} fake and {found['real']} real rows; both are needed")
