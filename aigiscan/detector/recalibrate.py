"""Thresholds alone, from a user's own photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from aigiscan.detector.detector import Detector
from aigiscan.errors import FitError
from aigiscan.runner import Encoded


def recalibrate(
    detector: Detector, rows: Iterable[Encoded], max_fpr: float | None = None
) -> tuple[Detector, list[tuple[str, str]]]:
    """The detector with its false-alarm threshold taken from these photographs, and what could not be read.

    rows: encoded real photographs, none AI-generated: the bound is for pictures exchangeable with them. Classifier,
    ``p_ai`` and the threshold for ``real`` stay. max_fpr: None keeps the promised rate. FitError if none is readable.
    """
    scores, digests, unreadable = [], [], []
    for verdict in detector.judge(rows):
        if verdict.score is None:
            unreadable.append((verdict.path, verdict.error))
        else:
            scores.append(verdict.score)
            digests.append(verdict.sha256)
    if not scores:
        raise FitError("none of the photographs to calibrate on could be read")
    calibration = detector.calibration.recalibrated(np.asarray(scores), max_fpr)
    thresholds = {
        **calibration.describe(),
        "calibrated_on": {
            "photographs": len(scores),
            "digest": hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest(),
        },
    }
    return replace(detector, calibration=calibration, card=replace(detector.card, thresholds=thresholds)), unreadable
