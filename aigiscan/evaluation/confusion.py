"""Confusion matrix over generators or families, and accuracy per class (Saland's report, 2.3 and 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigiscan.errors import FitError


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """One true class: share named rightly, share told rightly from the other side (real or not), and where the
    others went most often."""

    name: str
    n: int
    accuracy: float
    binary_accuracy: float
    mostly: str


@dataclass(frozen=True)
class Confusion:
    """counts[i, j]: images of names[i] that were called names[j]; ``real`` first. classes: worst accuracy first."""

    names: list[str]
    counts: NDArray[np.int64]
    classes: list[ClassAccuracy]

    @property
    def accuracy(self) -> float:
        """Share of all images that were named rightly."""
        return float(np.trace(self.counts) / self.counts.sum())

    def shares(self) -> NDArray[np.float64]:
        """Rows scaled to sum 1; rows of classes that never occur (only predicted) stay 0."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return self.counts / np.where(totals == 0, 1, totals)


def confusion(truth: NDArray, predicted: NDArray, real: str = "real") -> Confusion:
    """True and predicted names (n,) → confusion matrix; FitError if lengths differ or nothing is there."""
    truth, predicted = np.asarray(truth).astype(str), np.asarray(predicted).astype(str)
    if truth.shape != predicted.shape or not len(truth):
        raise FitError(f"{len(truth)} true and {len(predicted)} predicted names do not belong together")
    names = sorted({*truth.tolist(), *predicted.tolist()}, key=lambda name: (name != real, name))
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([place[t] for t in truth.tolist()], [place[p] for p in predicted.tolist()]), 1)
    classes = []
    for i, name in enumerate(names):
        n = int(counts[i].sum())
        if not n:
            continue
        wrong = counts[i].copy()
        wrong[i] = 0
        same_side = counts[i, 0] if name == real else n - (counts[i, 0] if names[0] == real else 0)
        mostly = names[int(np.argmax(wrong))] if wrong.any() else ""
        classes.append(ClassAccuracy(name, n, float(counts[i, i] / n), float(same_side / n), mostly))
    return Confusion(names, counts, sorted(classes, key=lambda c: (c.accuracy, c.name)))
