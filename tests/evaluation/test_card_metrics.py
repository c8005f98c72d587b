"""The card's figures are those of scores and curves that did not see what they judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aigiscan import metrics
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.fit import FitSettings, fit
from aigiscan.detector.table import FitTable
from aigiscan.evaluation.card_metrics import complete_card


def noise(cameras=3, generators=3) -> FitTable:
    """Pictures of every source lie together somewhere; labels mean nothing."""
    rng = np.random.default_rng(0)
    names = np.repeat([f"cam{i}" for i in range(cameras)] + [f"g{i}" for i in range(generators)], 12)
    label, n = np.char.startswith(names, "g").astype(np.int8), len(names)
    X = rng.normal(size=(n, 6))
    X += 2.0 * rng.normal(size=(cameras + generators, 6))[np.unique(names, return_inverse=True)[1]]
    text = {name: np.full(n, "") for name in ("family", "group", "split", "format")}
    text |= {"generator": np.where(label == 1, names, ""), "source": names}
    text |= {"path": np.array([f"{i}.png" for i in range(n)]), "sha256": np.array([f"{i:064x}" for i in range(n)])}
    encoder = {"name": "x", "fingerprint": {}}
    return FitTable(label, {k: v.astype(object) for k, v in text.items()}, {"embedding": X}, encoder)


def test_the_cards_calibration_error_is_that_of_a_curve_fitted_on_the_other_folds():
    table = noise()
    label = table.label
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


def test_shares_flagged_leave_out_what_the_detector_does_not_judge():
    table = replace(noise(4), sides=np.full(len(noise(4)), 600))
    for least_side, some in ((600, True), (601, False)):
        found = complete_card(fit(table, FitSettings(folds=4, least_side=least_side))).detector.card.metrics["achieved"]
        assert (found[1]["flagged"] + found[1]["fakes_called_real"] > 0) == some


def test_shares_flagged_have_an_interval_over_sources_and_within_the_worst_an_exact_one():
    for cameras, low in ((4, None), (14, 0.0)):
        found = complete_card(fit(noise(cameras), FitSettings(folds=4))).detector.card.metrics["achieved"][1]
        worst = found["worst_source"]
        assert worst["images"] == 12 and 0 <= worst["flagged_interval"][0] <= worst["flagged"]
        assert np.diff(worst["flagged_interval"]) > 0.2  # of twelve pictures little is known
        assert (found["flagged_interval"][0] is None) == (low is None)
        if low is not None:
            assert found["flagged_interval"][0] <= found["flagged"] < found["flagged_interval"][1]
