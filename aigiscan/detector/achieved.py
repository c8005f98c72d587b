"""What a promised rate turned out to be, source by source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.detector.calibration import AI, REAL, Calibration, Tail, finite_scores
from aigiscan.detector.guard import SourceGuard
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
    calibration: Calibration, scores: ArrayLike, labels: ArrayLike, sources: Sequence[str] | NDArray
) -> list[AchievedRate]:
    """Verdict shares of every source: photographs first, within a label the worst (most wrong verdicts) first."""
    verdicts = calibration.verdict(scores)
    rates = [_rate(verdicts[rows], source, label) for source, label, rows in _by_source(np.asarray(labels), sources)]
    return sorted(rates, key=_badness)


def cross_conformal_rates(
    scores: ArrayLike,
    labels: ArrayLike,
    sources: Sequence[str] | NDArray,
    max_fpr: float = 0.01,
    max_miss: float = 0.01,
    *,
    rule: str = "guarded",
    units: Sequence[str] | NDArray | None = None,
) -> list[AchievedRate]:
    """What would happen to each source if the thresholds were calibrated on all the others.

    scores: out-of-fold, every image scored by a classifier that did not see its source (see
    :func:`aigiscan.classifiers.folds.source_folds`): (n,), or (n, k) under k equalisations, of which all are calibrated
    on and the first is judged, as ``fit`` and ``scan`` do. Each source in turn is judged by a calibration on the images
    of all other sources, so that neither the fit that scored it nor the threshold saw it. rule: ``guarded`` as ``fit``
    calibrates, ``image`` without the caution by source, ``source`` with a source as the bound's unit. units: what is
    left out with a source where that is more than the source itself (fine-tunes of one model).
    Order as :func:`achieved_rates`. FitError where leaving a source out leaves no photographs.
    """
    y, names = np.asarray(labels), np.asarray(sources).astype(str)
    values = np.asarray(scores, dtype=np.float64)
    if len(values) != len(y):
        raise FitError(f"{len(y)} labels but {len(values)} scores")
    values = finite_scores(values.ravel()).reshape(len(y), -1)
    unit = names if units is None else np.asarray(units).astype(str)
    k = values.shape[1]
    rates = []
    for source, label, rows in _by_source(y, names):
        others = ~np.isin(unit, unit[rows]) | (y != label)
        real, fake = others & (y == 0), others & (y == 1)
        if not real.any():
            raise FitError(f"without {source} there are no photographs to calibrate on; give a second photo source")
        of_real, of_fake = np.repeat(names[real], k), np.repeat(names[fake], k)
        photographs = Tail.of(values[real].ravel(), of_real if rule == "source" else None)
        fakes = Tail.of(values[fake].ravel(), of_fake if rule == "source" else None)
        guard = SourceGuard.of(values[real].ravel(), of_real, k) if rule == "guarded" else SourceGuard()
        # verdicts alone: no probability curve to fit
        calibration = Calibration(photographs, fakes, max_fpr, max_miss, guard=guard)
        rates.append(_rate(calibration.verdict(values[rows, 0]), source, label))
    return sorted(rates, key=_badness)


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
