"""Scores and labels → figures. Labels are 0 real and 1 fake; a higher score means more likely fake.

NumPy alone: the bootstrap calls these thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.errors import FitError

Array = NDArray[np.float64]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve in [0, 1], ties counted half; NaN where a class is missing."""
    y, s = _checked(labels, scores)
    fakes = int(y.sum())
    reals = len(y) - fakes
    if not fakes or not reals:
        return float("nan")
    real, fake = np.sort(s[~y]), s[y]
    below = np.searchsorted(real, fake, side="left") + np.searchsorted(real, fake, side="right")
    return float(below.sum() / (2.0 * fakes * reals))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Σ (R_n − R_{n−1}) P_n over distinct thresholds, as scikit-learn's; NaN without fakes."""
    y, s = _checked(labels, scores)
    if not y.any():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    hits, last = np.cumsum(y[order]), np.append(np.diff(s[order]) != 0, True)
    precision = hits[last] / (np.flatnonzero(last) + 1.0)
    return float(np.diff(hits[last] / y.sum(), prepend=0.0) @ precision)


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Largest share of fakes above a threshold that at most a share ``fpr`` of the reals lies above; NaN without a
    class. Steps are not interpolated: with 50 reals, 1 % means none."""
    y, s = _checked(labels, scores)
    real = np.sort(s[~y])[::-1]
    if not len(real) or not y.any():
        return float("nan")
    allowed = int(np.floor(fpr * len(real) + 1e-9))
    if allowed >= len(real):
        return 1.0
    return float(np.mean(s[y] > real[allowed]))


def accuracies(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.0) -> tuple[float, float, float]:
    """(balanced accuracy, real accuracy, fake accuracy) where ``fake`` is said of scores above the threshold.

    Balanced = mean of the two: the accuracy of the papers, whose test sets hold as many reals as fakes.
    """
    y, s = _checked(labels, scores)
    real = float(np.mean(s[~y] <= threshold)) if (~y).any() else float("nan")
    fake = float(np.mean(s[y] > threshold)) if y.any() else float("nan")
    return (real + fake) / 2.0, real, fake


def oracle_threshold(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """(threshold, balanced accuracy) that is best *on these very labels*: an upper bound, never a result.

    The threshold lies midway between two scores; the lowest of equally good ones.
    """
    y, s = _checked(labels, scores)
    if not y.any() or y.all():
        return float("nan"), float("nan")
    values = np.unique(s)
    cuts = np.concatenate([[values[0] - 1.0], (values[1:] + values[:-1]) / 2.0, [values[-1] + 1.0]])
    real, fake = np.sort(s[~y]), np.sort(s[y])
    right_real = np.searchsorted(real, cuts, side="right") / len(real)
    right_fake = 1.0 - np.searchsorted(fake, cuts, side="right") / len(fake)
    best = int(np.argmax(np.round(right_real + right_fake, 12)))
    return float(cuts[best]), float((right_real[best] + right_fake[best]) / 2.0)


def brier(labels: ArrayLike, probabilities: ArrayLike, *, balanced: bool = True) -> float:
    """Mean (p − y)², 0 best; ``balanced`` weighs both classes the same, as ``p_ai`` does."""
    y, p = _checked(labels, probabilities)
    return float(np.square(p - y) @ _weights(y, balanced))


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15, *, balanced: bool = True) -> float:
    """Expected calibration error in [0, 1]: mean |observed share of fakes − mean p| over bins of equal width.

    ``balanced`` weighs both classes the same, as ``p_ai`` does (it speaks of equally frequent classes).
    """
    return float(
        sum(b.weight * abs(b.observed - b.predicted) for b in reliability(labels, probabilities, bins, balanced))
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """n images whose p falls into one bin: mean p, (weighted) share of fakes, and the bin's share of all weight."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    weight: float


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 15, balanced: bool = True
) -> list[ReliabilityBin]:
    """The reliability diagram's bins that hold an image, from low p to high."""
    y, p = _checked(labels, probabilities)
    if len(p) and (p.min() < 0 or p.max() > 1):
        raise FitError("probabilities must lie between 0 and 1")
    weight, edges = _weights(y, balanced), np.linspace(0.0, 1.0, bins + 1)
    which = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, bins - 1)
    found = []
    for i in np.unique(which):
        rows = which == i
        share = float(weight[rows].sum())
        predicted, observed = (float(weight[rows] @ v[rows] / share) for v in (p, y.astype(float)))
        found.append(ReliabilityBin(float(edges[i]), float(edges[i + 1]), int(rows.sum()), predicted, observed, share))
    return found


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its percentile bootstrap interval; NaN bounds where it cannot be resampled."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def group_bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: Sequence[str] | NDArray,
    labels: ArrayLike | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of ``statistic(row indices)`` when whole groups are drawn again with replacement.

    With ``labels`` groups of each label are drawn apart, so that no draw lacks a class (a group with both labels is
    drawn once for each). Draws whose statistic is NaN are left out; with fewer than two groups the bounds are NaN.
    """
    keys = np.asarray(groups)
    strata = np.zeros(len(keys), dtype=int) if labels is None else np.asarray(labels).astype(int)
    rng = np.random.default_rng(seed)
    members = []
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        _, inverse = np.unique(keys[rows], return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        members.append(np.split(rows[order], np.cumsum(np.bincount(inverse))[:-1]))
    value = float(statistic(np.arange(len(keys))))
    if all(len(m) < 2 for m in members):
        return Interval(value, float("nan"), float("nan"))
    draws = np.empty(n)
    for i in range(n):
        picked = [m[j] for m in members for j in rng.integers(0, len(m), len(m))]
        draws[i] = statistic(np.concatenate(picked))
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Interval(value, float("nan"), float("nan"))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise FitError(f"{y.shape} labels and {s.shape} scores do not belong together")
    if not np.isfinite(s).all():
        raise FitError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are NaN or infinite")
    return y.astype(bool), s


def _weights(y: NDArray[np.bool_], balanced: bool) -> Array:
    if not len(y):
        raise FitError("no scores to measure")
    if not balanced or y.all() or not y.any():
        return np.full(len(y), 1.0 / len(y))
    return np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
