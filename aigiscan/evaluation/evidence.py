"""Evidence as examiners write it: what likelihood ratios are worth, and the ROC and DET curves they come from.

The likelihood ratio of a picture is p/(1 − p) for its ``p_ai`` p, which speaks of equally frequent classes. Its cost
is Cllr, in bits: 0 for certainty that is right, 1 for knowing nothing, above 1 for misleading. Cllr of the scores after
the best monotone calibration on these very pictures is minCllr: what is lost beyond it is lost by calibration (Brümmer
and du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.metrics import checked

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Corners of a ROC curve, both ascending from 0 to 1: share of photographs and of fakes above each threshold."""

    false_alarms: Array
    recall: Array


def cllr(labels: ArrayLike, p_ai: ArrayLike) -> float:
    """Cllr in bits, both classes weighing the same; infinite where a picture is called impossible that is there.

    NaN where a class is missing or a probability is none.
    """
    y, p = np.asarray(labels).astype(bool), np.asarray(p_ai, dtype=np.float64)
    if not y.any() or y.all() or not np.isfinite(p).all():
        return float("nan")
    with np.errstate(divide="ignore"):
        log_ratio = np.log(p) - np.log1p(-p)
    cost = np.logaddexp(0.0, np.where(y, -log_ratio, log_ratio)) / np.log(2.0)
    return float((cost[y].mean() + cost[~y].mean()) / 2.0)


def min_cllr(labels: ArrayLike, scores: ArrayLike) -> float:
    """Cllr after isotonic regression on these very pictures: an optimistic bound, never a result."""
    from sklearn.isotonic import IsotonicRegression

    y, s = checked(labels, scores)
    if not y.any() or y.all():
        return float("nan")
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    p = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(s, y.astype(np.float64), sample_weight=weight)
    return cllr(y, np.clip(p, 0.0, 1.0))


def roc(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """The ROC curve without corners that lie on a line; empty where a class is missing."""
    from sklearn.metrics import roc_curve

    y, s = checked(labels, scores)
    if not y.any() or y.all():
        return Curve(np.empty(0), np.empty(0))
    false_alarms, recall, _ = roc_curve(y, s)
    return Curve(false_alarms, recall)
