"""Scores and labels → figures. Labels are 0 real and 1 fake; a higher score means more likely fake.

Figures that get an interval come twice: of labels and scores, and ``*_draws`` of weights (rows, images), as
:func:`aigiscan.evaluation.intervals.resample` gives them, one figure per row. ``*_rows``, of many candidates' scores at
once, are what the searches ask for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.errors import FitError

Array = NDArray[np.float64]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve in [0, 1], ties counted half; NaN where a class is missing."""
    y, s = checked(labels, scores)
    return float(auc_rows(s[None], y)[0]) if y.any() and not y.all() else float("nan")


def auc_rows(scores: NDArray, fake: NDArray[np.bool_]) -> Array:
    """Area under the ROC curve of every row of scores (k, n), (k,): share of (fake, real) pairs in the right order,
    ties half; fake (n,)."""
    order = np.argsort(scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    is_fake = fake[order]
    reals_before = np.cumsum(~is_fake, axis=1)
    pairs = np.asarray(np.sum(np.where(is_fake, reals_before, 0), axis=1), dtype=np.float64)
    tied = np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1))
    for row in tied:  # a fake sorted after a real of the same margin counted 1 instead of ½, and the reverse 0
        pairs[row] = _pairs_with_ties(ordered[row], is_fake[row])
    fakes = int(np.count_nonzero(fake))
    return pairs / (fakes * (len(fake) - fakes))


def _pairs_with_ties(ordered: NDArray, is_fake: NDArray[np.bool_]) -> float:
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])
    fakes = np.add.reduceat(is_fake.astype(np.float64), starts)
    reals = np.add.reduceat((~is_fake).astype(np.float64), starts)
    return float(np.sum(fakes * (np.cumsum(reals) - reals / 2)))


def average_precision_rows(scores: NDArray, fake: NDArray[np.bool_]) -> Array:
    """Average precision of every row of scores (k, n), (k,): Σ (R_i − R_{i−1}) P_i over distinct thresholds, as
    scikit-learn defines it; fake (n,)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    is_fake = fake[order]
    hits = np.cumsum(is_fake, axis=1)
    precision = hits / np.arange(1, scores.shape[1] + 1)
    value = np.sum(np.where(is_fake, precision, 0.0), axis=1)
    for row in np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)):
        ends = np.append(np.flatnonzero(np.diff(ordered[row])), scores.shape[1] - 1)
        value[row] = float(np.sum(np.diff(hits[row, ends], prepend=0) * precision[row, ends]))
    return value / np.count_nonzero(fake)


def auc_draws(fake: Array, real: Array, fake_draws: Array, real_draws: Array) -> Array:
    """AUC of every row of weights (rows,), ties half; NaN where a row has none of a class.

    Time and memory grow with the number of images, not of pairs.
    """
    low, high, total = _weight_below(fake, real, real_draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((low + high) / 2.0 * fake_draws).sum(axis=1) / (fake_draws.sum(axis=1) * total)


def partial_auc(labels: ArrayLike, scores: ArrayLike, fpr: float = 0.05) -> float:
    """Mean recall over false-alarm rates 0 to ``fpr``, in [0, 1]: the area under the ROC curve there, over ``fpr``.

    ``fpr``/2 by guessing. NaN where a class is missing.
    """
    y, s = checked(labels, scores)
    return float(partial_auc_draws(s[y], s[~y], np.ones((1, int(y.sum()))), np.ones((1, int((~y).sum()))), fpr)[0])


def partial_auc_draws(fake: Array, real: Array, fake_draws: Array, real_draws: Array, fpr: float = 0.05) -> Array:
    """:func:`partial_auc` of every row of weights (rows,).

    A fake that a share u of the photographs scores above is found at all rates from u on: it gives max(0, fpr − u).
    Tied photographs make u a range, over which that is averaged (straight lines of the ROC curve).
    """
    low, high, total = _weight_below(fake, real, real_draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, last = 1.0 - high / total[:, None], 1.0 - low / total[:, None]  # [rows, fakes]
        at, to = np.maximum(0.0, fpr - first), np.maximum(0.0, fpr - last)
        tied = last - first
        given = np.where(tied > 1e-12, (at**2 - to**2) / np.where(tied > 1e-12, 2.0 * tied, 1.0), at)
        return (given * fake_draws).sum(axis=1) / (fake_draws.sum(axis=1) * fpr)


def _weight_below(fake: Array, real: Array, real_draws: Array) -> tuple[Array, Array, Array]:
    """Weight of photographs (rows, fakes) strictly below each fake, and not above it; of all photographs (rows,)."""
    order = np.argsort(real, kind="stable")
    below = np.zeros((len(real_draws), len(real) + 1))
    np.cumsum(real_draws[:, order], axis=1, out=below[:, 1:])
    low, high = (np.searchsorted(real[order], fake, side=side) for side in ("left", "right"))
    return below[:, low], below[:, high], below[:, -1]


def share_draws(flags: NDArray, draws: Array) -> Array:
    """Share of flagged images in every row of weights (rows,); NaN where a row is empty."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return draws @ flags.astype(np.float64) / draws.sum(axis=1)


def threshold_draws(real: Array, real_draws: Array, fpr: float) -> Array:
    """The score of every row (rows,) that at most a share ``fpr`` of the weighted photographs lies strictly above."""
    order = np.argsort(-real, kind="stable")
    above = np.cumsum(real_draws[:, order], axis=1)  # weight of this score and all higher ones
    allowed = fpr * real_draws.sum(axis=1, keepdims=True) + 1e-9
    first = np.argmax(above > allowed, axis=1)
    return np.where((above > allowed).any(axis=1), real[order][first], -np.inf)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """:func:`average_precision_rows` of one row; NaN without fakes."""
    y, s = checked(labels, scores)
    return float(average_precision_rows(s[None], y)[0]) if y.any() else float("nan")


def recall_at(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Recall at a rate of false alarms: the largest share of fakes above a threshold that at most a share ``fpr`` of
    the photographs lies above; NaN without a class. Steps are not interpolated: with 50 photographs, 1 % means none."""
    y, s = checked(labels, scores)
    if not y.any() or y.all():
        return float("nan")
    return float(np.mean(s[y] > threshold_draws(s[~y], np.ones((1, int((~y).sum()))), fpr)[0]))


def accuracies(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.0) -> tuple[float, float, float]:
    """(balanced accuracy, real accuracy, fake accuracy) where ``fake`` is said of scores above the threshold.

    Balanced = mean of the two: the accuracy of the papers, whose test sets hold as many reals as fakes.
    """
    y, s = checked(labels, scores)
    real = float(np.mean(s[~y] <= threshold)) if (~y).any() else float("nan")
    fake = float(np.mean(s[y] > threshold)) if y.any() else float("nan")
    return (real + fake) / 2.0, real, fake


def oracle_threshold(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """(threshold, balanced accuracy) that is best *on these very labels*: an upper bound, never a result.

    The threshold lies midway between two scores; the lowest of equally good ones.
    """
    y, s = checked(labels, scores)
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
    y, p = checked(labels, probabilities)
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
    y, p = checked(labels, probabilities)
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


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    """(mask of fakes, scores), both (n,); FitError if they do not belong together or a score is none."""
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
