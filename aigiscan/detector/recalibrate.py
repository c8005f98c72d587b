"""Thresholds alone, from a user's own photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from aigiscan.detector.detector import Detector
from aigiscan.detector.seen import SeenPictures
from aigiscan.detector.tail import least_units
from aigiscan.detector.verdict import VERDICT_AI, Verdict
from aigiscan.errors import FitError
from aigiscan.runner import Encoded


@dataclass(frozen=True)
class Recalibration:
    """A detector with thresholds from other photographs, and what was found on the way.

    photographs: how many it was calibrated on; flagged_before: how many of these the old threshold called ``ai``.
    seen: paths left out because the detector was fitted on them. unreadable: (path, reason).
    """

    detector: Detector
    photographs: int
    flagged_before: int
    seen: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def recalibrate(detector: Detector, rows: Iterable[Encoded], max_fpr: float | None = None) -> Recalibration:
    """The detector with its false-alarm threshold taken from these photographs.

    rows: encoded real photographs, none AI-generated: the bound is for pictures exchangeable with them. Pictures that
    the detector was fitted on are left out, and copies count once. Classifier, ``p_ai`` and the threshold for ``real``
    stay. max_fpr: None keeps the promised rate. FitError if too few are left for the rate: nothing could be flagged.
    """
    judged = list(detector.judge(rows))
    unreadable = tuple((v.path, v.error) for v in judged if v.score is None)
    readable = {v.sha256 or v.path: v for v in judged if v.score is not None}
    fitted = detector.seen.in_fit(v.sha256 for v in readable.values())
    mine = [v for v, known in zip(readable.values(), fitted, strict=True) if not known]
    seen = tuple(v.path for v, known in zip(readable.values(), fitted, strict=True) if known)
    rate = detector.calibration.max_fpr if max_fpr is None else max_fpr
    needed = least_units(rate)
    if len(mine) < needed:
        possible = f", or a --max-fpr of {1.0 / (len(mine) + 1):.2g} or more" if mine else ""
        raise FitError(
            f"{len(mine)} photographs to calibrate on ({len(unreadable)} unreadable and {len(seen)} that the detector "
            f"was fitted on left out) cannot promise a rate of {rate:g}: give at least {needed}{possible}"
        )
    return Recalibration(_calibrated(detector, mine, rate), len(mine), _flagged(mine), seen, unreadable)


def _flagged(verdicts: list[Verdict]) -> int:
    return sum(v.verdict == VERDICT_AI for v in verdicts)


def _calibrated(detector: Detector, photographs: list[Verdict], rate: float) -> Detector:
    calibration = detector.calibration.recalibrated(
        np.array([v.score for v in photographs], np.float64),
        rate,
        sides=[min(v.width, v.height) for v in photographs],
    )
    digests = [v.sha256 for v in photographs]
    thresholds = {
        "method": "split-conformal on photographs that no fitting saw",
        **calibration.describe(),
        "calibrated_on": {
            "photographs": len(photographs),
            "digest": hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest(),
        },
    }
    # the photographs calibrated on before decide nothing any more
    seen = replace(detector.seen, calibrated=SeenPictures.of(calibrated=digests).calibrated)
    return replace(detector, calibration=calibration, card=replace(detector.card, thresholds=thresholds), seen=seen)
