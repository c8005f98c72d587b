"""The card's figures are those of scores and curves that did not see what they judge."""

from __future__ import annotations

import numpy as np
import pytest

from aigiscan.detector.calibration import Calibration
from aigiscan.detector.fit import FitSettings, fit
from aigiscan.detector.table import FitTable
from aigiscan.evaluation import metrics
from aigiscan.evaluation.card_metrics import complete_card


def test_the_cards_calibration_error_is_that_of_a_curve_fitted_on_the_other_folds():
    rng = np.random.default_rng(0)
    names = np.repeat(["cam1", "cam2", "cam3", "g1", "g2", "g3"], 12)
    label = np.char.startswith(names, "g").astype(np.int8)
    X = rng.normal(size=(len(names), 6)) + 2.0 * rng.normal(size=(6, 6))[np.unique(names, return_inverse=True)[1]]
    text = {name: np.full(len(names), "", dtype=object) for name in ("family", "group", "split", "format")}
    text |= {"generator": np.where(label == 1, names, ""), "source": names}
    text |= {
        "path": np.array([f"{i}.png" for i in range(len(names))]),
        "sha256": np.array([f"{i:064x}" for i in range(72)]),
    }
    table = FitTable(
        label, {k: v.astype(object) for k, v in text.items()}, {"embedding": X}, {"name": "x", "fingerprint": {}}
    )
    result = fit(table, FitSettings(folds=3))
    scores, folds = result.held_out[:, 0], result.folds
    p = np.full(len(label), np.nan)
    for fold in np.unique(folds):
        inside = folds != fold
        curve = Calibration.from_scores(scores[inside & (label == 0)], scores[inside & (label == 1)])
        p[~inside] = curve.p_ai(scores[~inside])
    own = Calibration.from_scores(scores[label == 0], scores[label == 1]).p_ai(scores)
    found = complete_card(result).detector.card.metrics["held_out"]["as they are"]
    assert found["ece"] == pytest.approx(metrics.ece(label, p), abs=1e-4)
    assert found["brier"] == pytest.approx(metrics.brier(label, p), abs=1e-4)
    assert abs(metrics.brier(label, own) - metrics.brier(label, p)) > 0.01
