"""How rare a score is among calibration scores: the finite-sample p-values that verdicts stand on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.errors import FitError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """Calibration scores of one kind of picture, one per picture, ascending (n,)."""

    scores: Array

    @classmethod
    def of(cls, scores: ArrayLike) -> Tail:
        """Scores in any order; FitError if one is NaN or infinite."""
        return cls(np.sort(finite_scores(scores)))

    def p_at_least(self, scores: Array) -> Array:
        """(1 + #{calibration scores ≥ s}) / (n + 1)."""
        n = len(self.scores)
        return np.asarray((1.0 + n - np.searchsorted(self.scores, scores, side="left")) / (n + 1.0), np.float64)

    def p_at_most(self, scores: Array) -> Array:
        """(1 + #{calibration scores ≤ s}) / (n + 1)."""
        below = np.searchsorted(self.scores, scores, side="right")
        return np.asarray((1.0 + below) / (len(self.scores) + 1.0), np.float64)

    def upper(self, rate: float) -> float:
        """Scores strictly above it have ``p_at_least`` ≤ rate; +inf if none can."""
        return -Tail(-self.scores[::-1]).lower(rate)

    def lower(self, rate: float) -> float:
        """Scores strictly below it have ``p_at_most`` ≤ rate; −inf if none can."""
        allowed = int(rate * (len(self.scores) + 1.0) + 1e-9) - 1  # calibration scores that may lie beyond
        if allowed < 0:
            return float("-inf")
        return float(self.scores[allowed]) if allowed < len(self.scores) else float("inf")


def least_units(rate: float) -> int:
    """How many calibration images (or sources) it takes before any score is as rare as ``rate``."""
    return int(np.ceil(1.0 / rate - 1e-9)) - 1


def finite_scores(scores: ArrayLike) -> Array:
    """Scores as float64 of shape (n,); FitError for NaN or infinity: a score that is none must not get a verdict."""
    values = np.atleast_1d(np.asarray(scores, dtype=np.float64))
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise FitError(f"{bad} of {values.size} scores are NaN or infinite; check the embeddings of these images")
    return values
