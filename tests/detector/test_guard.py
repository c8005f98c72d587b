"""The caution by source of detectors written before: what it counts, and that it only ever flags less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aigiscan.detector.calibration import Calibration
from aigiscan.detector.detector import Detector
from aigiscan.detector.guard import SourceGuard
from aigiscan.errors import DetectorError

GUARDED = Path(__file__).parent / "golden" / "format1-guarded-isotonic"


def test_share_of_the_worst_source_counts() -> None:
    guard = SourceGuard(np.array([*range(10), *range(5, 15)], float), np.repeat([0.0, 1.0], 10))
    assert (guard.sources, guard.may_exceed) == (2, 0)
    assert guard.p_at_least(np.array([0.0, 9.5, 14.0, 14.5])).tolist() == [1.0, 0.5, 0.1, 0.0]
    assert (guard.threshold(0.1), guard.threshold(0.09), guard.threshold(0.5)) == (13.0, 14.0, 9.0)


def test_a_tenth_of_the_sources_may_exceed() -> None:
    codes = np.repeat(np.arange(20.0), 10)
    scores = np.tile(np.arange(10.0), 20)
    scores[:20] += 1000.0  # two sources unlike all others
    assert SourceGuard(scores, codes).threshold(0.1) == 8.0
    scores[20:30] += 1000.0  # a third is one too many
    assert SourceGuard(scores, codes).threshold(0.1) == 1008.0


def test_a_guarded_detector_flags_no_more_than_without_and_as_its_threshold_says() -> None:
    guarded = Detector.load(GUARDED).calibration.with_rates(0.2)
    plain = replace(guarded, guard=SourceGuard())
    grid = np.linspace(-4, 4, 400)
    assert guarded.guard.sources == 4 and len(guarded.curve_x)
    assert (guarded.p_value(grid) >= plain.p_value(grid)).all() and guarded.threshold_ai > plain.threshold_ai
    assert ((guarded.p_value(grid) <= 0.2 + 1e-12) == (grid > guarded.threshold_ai)).all()
    again = Calibration.from_arrays(guarded.to_arrays())
    assert (again.p_value(grid) == guarded.p_value(grid)).all() and (again.p_ai(grid) == guarded.p_ai(grid)).all()
    own = guarded.recalibrated(np.arange(50.0))
    assert own.guard.sources == 0


def test_damaged_arrays_are_refused() -> None:
    arrays = Detector.load(GUARDED).calibration.to_arrays()
    with pytest.raises(DetectorError, match="by source"):
        Calibration.from_arrays({**arrays, "guard_codes": arrays["guard_codes"][1:]})
