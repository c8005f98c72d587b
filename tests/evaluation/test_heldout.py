from __future__ import annotations

import numpy as np
import pytest

from aigiscan import metrics
from aigiscan.detector.calibration import Calibration
from aigiscan.errors import FitError
from aigiscan.evaluation.confusion import confusion
from aigiscan.evaluation.heldout import cross_calibrated, detector_figures, held_out_figures, photo_parts


def scored(seed=0, cameras=8):
    rng = np.random.default_rng(seed)
    cameras = {f"cam{i}": 0.0 for i in range(cameras)} | {"odd": 2.5}
    generators = {"easy": 5.0, "middle": 2.0, "hard": 0.3}
    parts = [(0, name, shift) for name, shift in cameras.items()] + [(1, n, s) for n, s in generators.items()]
    labels = np.repeat([label for label, _, _ in parts], 40)
    sources = np.repeat([name for _, name, _ in parts], 40)
    scores = np.concatenate([rng.normal(shift, 1, 40) for _, _, shift in parts])
    return scores, labels, sources, np.arange(len(labels)) // 4


def test_generators_worst_first_against_all_photographs():
    scores, labels, sources, groups = scored(cameras=9)
    found = held_out_figures(scores, labels, sources, groups, {"easy": "gan"}, draws=200)
    assert [row.generator for row in found.generators] == ["hard", "middle", "easy"]
    assert found.generators[2].family == "gan"
    for row in found.generators:
        rows = (labels == 0) | (sources == row.generator)
        assert row.auc.value == pytest.approx(metrics.auc(labels[rows], scores[rows]))
        assert row.recall_5.value == pytest.approx(metrics.recall_at(labels[rows], scores[rows], 0.05))
        assert row.recall_1.value == pytest.approx(metrics.recall_at(labels[rows], scores[rows], 0.01))
        assert row.auc.low <= row.auc.value <= row.auc.high
    assert found.mean_auc.value == pytest.approx(np.mean([row.auc.value for row in found.generators]))
    assert found.mean_recall_5.value == pytest.approx(np.mean([row.recall_5.value for row in found.generators]))
    # three generators say nothing about a fourth
    assert np.isnan([found.mean_auc.low, found.mean_recall_5.high]).all()


def test_means_over_generators_have_an_interval_where_there_are_enough_of_them():
    rng = np.random.default_rng(0)
    sources = np.repeat([f"cam{i}" for i in range(12)] + [f"gen{i}" for i in range(12)], 20)
    labels = np.char.startswith(sources, "gen").astype(int)
    shift = np.repeat(np.append(np.zeros(12), np.linspace(0, 4, 12)), 20)
    found = held_out_figures(rng.normal(shift, 1.0), labels, sources, np.arange(480), draws=200)
    assert 0.15 < found.mean_auc.high - found.mean_auc.low < 0.4  # generators as unlike as these
    assert found.mean_recall_5.low < found.mean_recall_5.value < found.mean_recall_5.high
    single = np.where(labels == 0, "cam", sources)
    alone = held_out_figures(rng.normal(shift, 1.0), labels, single, np.arange(480), draws=20)
    assert np.isnan(alone.mean_auc.low) and np.isnan(alone.generators[0].auc.low)  # one source is not ten parts


def test_the_odd_camera_is_the_worst_source():
    found = held_out_figures(*scored(), draws=50)
    worst = found.worst_source(0.05)
    assert (worst.source, worst.ai > 0.4) == ("odd", True)
    assert found.false_alarms[0.05].value < worst.ai
    assert np.isnan(found.false_alarms[0.05].low)  # nine photo sources
    assert found.no_interval == "9 photo sources and 3 generators"
    assert found.generators[2].found > 0.8
    assert 0 <= found.generators[0].missed <= 1


def test_p_ai_of_a_source_comes_from_the_others_alone():
    """A generator that scores like no other: taken into its own calibration it would look known."""
    scores, labels, sources, _ = scored()
    scores = np.where(sources == "hard", scores - 12.0, scores)
    p_ai = cross_calibrated(scores, labels, sources)
    hard = sources == "hard"  # the second generator in alphabetical order, calibrated apart with the second camera
    others = ~hard & (sources != "cam1")
    expected = Calibration.from_scores(scores[others & (labels == 0)], scores[others & (labels == 1)])
    assert p_ai[hard] == pytest.approx(expected.p_ai(scores[hard]))
    own = Calibration.from_scores(scores[labels == 0], scores[labels == 1]).p_ai(scores)
    assert metrics.brier(labels, p_ai) > metrics.brier(labels, own) + 0.02
    single = cross_calibrated(scores[labels == 1], np.tile([0, 1], 60), np.repeat("x", 120))
    assert np.isfinite(single).all()


def test_a_detectors_own_calibration_is_used():
    scores, labels, sources, groups = scored()
    rng = np.random.default_rng(9)
    calibration = Calibration.from_scores(rng.normal(0, 1, 500), rng.normal(4, 1, 500), 0.02, 0.02)
    found = detector_figures(scores, labels, sources, groups, calibration, max_fprs=[0.1], draws=20)
    assert list(found.rates) == [0.02, 0.1]
    verdicts = calibration.verdict(scores)
    worst = found.rates[0.02][0]
    assert worst.source == "odd"
    assert worst.ai == np.mean(verdicts[sources == "odd"] == "ai")
    assert found.brier == pytest.approx(metrics.brier(labels, calibration.p_ai(scores)))
    without = detector_figures(
        scores, labels, sources, groups, Calibration.from_scores(scores[labels == 0], None), draws=5
    )
    assert np.isnan(without.ece)
    assert without.reliability == []
    assert found.ece == pytest.approx(metrics.ece(labels, calibration.p_ai(scores)))
    assert sum(b.n for b in found.reliability) == len(labels)


def test_a_single_photo_source_is_dealt_into_parts_by_group():
    scores, labels, sources, groups = scored()
    single = np.where(labels == 0, "cam", sources)
    found = held_out_figures(scores, labels, single, groups, draws=20)
    parts = photo_parts(labels, single, groups)
    assert {r.source for r in found.rates[0.05] if r.label == 0} == {f"cam (part {i})" for i in range(1, 11)}
    assert all(len(np.unique(parts[groups == g])) == 1 for g in np.unique(groups[labels == 0]))
    assert (parts[labels == 1] == sources[labels == 1]).all()
    assert found.mean_auc.value == pytest.approx(
        held_out_figures(scores, labels, sources, groups, draws=5).mean_auc.value
    )
    with pytest.raises(FitError, match="second photo source"):
        held_out_figures(scores, labels, single, np.where(labels == 0, 0, groups))


def test_confusion_counts_and_puts_the_worst_class_first():
    truth = np.array(["real"] * 4 + ["sd1"] * 4 + ["sd2"] * 2)
    predicted = np.array(["real", "real", "real", "sd1", "sd1", "sd2", "sd2", "sd2", "sd2", "gan"])
    found = confusion(truth, predicted)
    assert found.names == ["real", "gan", "sd1", "sd2"]
    assert found.counts.tolist() == [[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 3], [0, 1, 0, 1]]
    assert found.accuracy == 0.5
    assert [(c.name, c.accuracy, c.binary_accuracy, c.mostly) for c in found.classes] == [
        ("sd1", 0.25, 1.0, "sd2"),
        ("sd2", 0.5, 1.0, "gan"),
        ("real", 0.75, 0.75, "sd1"),
    ]
    assert found.shares()[0].tolist() == [0.75, 0.0, 0.25, 0.0]
    with pytest.raises(FitError):
        confusion(truth, predicted[:3])
