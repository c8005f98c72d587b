"""Writes tests/detector/golden: run once per detector format, never again for an old one.

`python tests/detector/make_golden.py` (with tests on the path). Detectors of every format that was ever
released must go on giving the scores written beside them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from detector_planted import SETTINGS, planted

from aigiscan.detector.fit import fit
from aigiscan.features.views import ComponentsView, EmbeddingView

GOLDEN = Path(__file__).parent / "golden"
KINDS = {
    "logistic": ({"C": 0.1}, EmbeddingView()),
    "knn": ({"k": 3}, ComponentsView([5, 7, 2], ["gen0", "gen1"])),
    "mlp": ({"hidden": 4, "epochs": 3}, EmbeddingView()),
    "multiclass-svm": ({}, EmbeddingView()),
}


def inputs() -> np.ndarray:
    """(4, 12) float32, the same for ever."""
    return (np.arange(48).reshape(4, 12) % 7 - 3).astype(np.float32)


if __name__ == "__main__":
    table = planted(per_source=6)
    expected = {}
    for name, (params, view) in KINDS.items():
        settings = replace(SETTINGS, classifier=name, params=params, name=name)
        detector = fit(table, settings, view).detector.save(GOLDEN / f"format1-{name}")
        scores = detector.scores({"embedding": inputs()})
        expected[f"format1-{name}"] = {
            "scores": scores.tolist(),
            "p_ai": detector.calibration.p_ai(scores).tolist(),
            "p_value": detector.calibration.p_value(scores).tolist(),
            "verdict": detector.calibration.verdict(scores).tolist(),
        }
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
