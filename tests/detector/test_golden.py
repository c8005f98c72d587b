"""Detectors written by earlier versions go on loading and saying the same; a missing file is a failure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aigiscan.detector.detector import Detector

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


def test_all_are_there() -> None:
    assert set(EXPECTED) == {p.name for p in GOLDEN.iterdir() if p.is_dir()}
    assert len(EXPECTED) >= 4


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_old_detector_says_what_it_said(name: str) -> None:
    detector = Detector.load(GOLDEN / name)
    assert detector.card.format == 1
    x = (np.arange(48).reshape(4, 12) % 7 - 3).astype(np.float32)
    scores = detector.scores({"embedding": x})
    said = EXPECTED[name]
    assert scores == pytest.approx(said["scores"], rel=1e-5, abs=1e-6)
    assert detector.calibration.p_ai(scores) == pytest.approx(said["p_ai"], abs=1e-5)
    assert detector.calibration.p_value(scores) == pytest.approx(said["p_value"])
    assert detector.calibration.verdict(scores).tolist() == said["verdict"]
