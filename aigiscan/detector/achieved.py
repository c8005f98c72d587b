"""What a promised rate turned out to be, source by source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.detector.calibration import AI, REAL, SMALL_SIDE, Calibration, is_small
from aigiscan.detector.tail import Tail, finite_scores
from aigiscan.errors import FitError


@dataclass(frozen=True, slots=True)
class AchievedRate:
    """Verdicts on the n images of one source: shares in [0, 1] that add up to 1.

    For photographs (label 0) ``ai`` is the false-alarm rate; for fakes (label 1) ``real`` is the miss rate.
    """

    source: str
    label: int
    n: int
    ai: float
    uncertain: float
    real: float


def achieved_rates(
    calibration: Calibration,
    scores: ArrayLike,
    labels: ArrayLike,
    sources: Sequence[str] | NDArray,
    sides: NDArray | None = None,
    doubtful: ArrayLike = False,
) -> list[AchievedRate]:
    """Verdict shares of every source: photographs first, within a label the worst (most wrong verdicts) first.

    sides: (n,) shorter sides in pixels, doubtful: (n,) mask, as :meth:`Calibration.verdict` takes them.
    """
    return rates_of(calibration.verdict(scores, sides, doubtful), labels, sources)


def cross_conformal_rates(
    scores: ArrayLike,
    labels: ArrayLike,
    sources: Sequence[str] | NDArray,
    max_fpr: float = 0.01,
    max_miss: float = 0.05,
    *,
    units: Sequence[str] | NDArray | None = None,
    sides: NDArray | None = None,
) -> list[AchievedRate]:
    """What would happen to each source if the thresholds were calibrated on all the others; see
    :func:`cross_conformal_verdicts`. units: what is left out with a source where that is more than the source itself
    (fine-tunes of one model). Order as :func:`achieved_rates`."""
    left_out = sources if units is None else units
    return rates_of(cross_conformal_verdicts(scores, labels, left_out, max_fpr, max_miss, sides=sides), labels, sources)


def cross_conformal_verdicts(
    scores: ArrayLike,
    labels: ArrayLike,
    units: Sequence[str] | NDArray,
    max_fpr: float = 0.01,
    max_miss: float = 0.05,
    *,
    sides: NDArray | None = None,
    small_side: int = SMALL_SIDE,
    reduced: NDArray | None = None,
) -> NDArray[np.str_]:
    """Verdict on every image (n,) by thresholds calibrated on the images of all other units.

    scores: (n,) out-of-fold, every image scored by a classifier that did not see its unit (see
    :func:`aigiscan.classifiers.folds.source_folds`), so that neither the fit that scored it nor the threshold saw it.
    sides, small_side, reduced: as :meth:`Calibration.from_scores` takes them, ``reduced`` of all n pictures.
    FitError where leaving a unit out leaves no photographs.
    """
    y, names, values = np.asarray(labels), np.asarray(units).astype(str), finite_scores(scores)
    if not len(values) == len(y) == len(names):
        raise FitError(f"{len(y)} labels, {len(values)} scores and {len(names)} sources do not belong together")
    shorter = np.zeros(len(y)) if sides is None else np.asarray(sides)
    small = is_small(shorter, small_side)
    verdicts = np.empty(len(y), dtype="<U9")
    for unit, _, rows in _by_source(y, names):
        real, fake = ~rows & (y == 0), ~rows & (y == 1)
        if not real.any():
            raise FitError(f"without {unit} there are no photographs to calibrate on; give a second photo source")
        # verdicts alone: no probability curve to fit
        tails = Tail.of(values[real & ~small]), Tail.of(values[fake])
        held_against = Tail.of(values[real & small] if reduced is None else reduced[real])
        calibration = Calibration(*tails, max_fpr, max_miss, small=held_against, small_side=small_side)
        verdicts[rows] = calibration.verdict(values[rows], shorter[rows])
    return verdicts


def rates_of(verdicts: NDArray, labels: ArrayLike, sources: Sequence[str] | NDArray) -> list[AchievedRate]:
    """Verdicts (n,) → the shares of every source, in the order of :func:`achieved_rates`."""
    y = np.asarray(labels)
    return sorted(
        (_rate(verdicts[rows], source, label) for source, label, rows in _by_source(y, sources)), key=_badness
    )


def pooled(rates: Sequence[AchievedRate], label: int) -> AchievedRate:
    """All images of one label together, ``source`` ``"all"``."""
    chosen = [rate for rate in rates if rate.label == label]
    n = sum(rate.n for rate in chosen)
    if not n:
        return AchievedRate("all", label, 0, float("nan"), float("nan"), float("nan"))
    shares = [sum(getattr(rate, name) * rate.n for rate in chosen) / n for name in ("ai", "uncertain", "real")]
    return AchievedRate("all", label, n, *shares)


def _by_source(labels: NDArray, sources: Sequence[str] | NDArray) -> list[tuple[str, int, NDArray[np.bool_]]]:
    names = np.asarray(sources)
    if len(names) != len(labels):
        raise FitError(f"{len(labels)} labels but {len(names)} sources")
    return [
        (str(source), label, (names == source) & (labels == label))
        for label in (0, 1)
        for source in np.unique(names[labels == label])
    ]


def _rate(verdicts: NDArray, source: str, label: int) -> AchievedRate:
    ai, real = float(np.mean(verdicts == AI)), float(np.mean(verdicts == REAL))
    return AchievedRate(source, label, len(verdicts), ai, 1.0 - ai - real, real)


def _badness(rate: AchievedRate) -> tuple[int, float, str]:
    return rate.label, -(rate.ai if rate.label == 0 else rate.real), rate.source
