"""Likelihood ratios, curves, paired differences, and figures by what the file is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from aigiscan.evaluation.evidence import cllr, min_cllr, roc
from aigiscan.evaluation.means import Pictures, differences, mean_rows
from aigiscan.evaluation.plots import roc_and_det
from aigiscan.evaluation.slices import slices
from aigiscan.images.records import FileFacts
from aigiscan.metrics import auc, recall_at
from aigiscan.provenance.claims import CAMERA, Claim, to_json


def test_cllr_of_known_answers():
    labels = np.array([0, 0, 0, 1])
    assert cllr(labels, np.full(4, 0.5)) == pytest.approx(1.0)  # knows nothing
    assert cllr(labels, labels.astype(float)) == 0.0
    assert cllr(labels, 1.0 - labels) == np.inf
    p = np.array([0.1, 0.4, 0.2, 0.7])
    weights = np.where(labels == 1, 1.0, 1 / 3)  # balanced log loss, in bits
    assert cllr(labels, p) == pytest.approx(log_loss(labels, p, sample_weight=weights) / np.log(2))
    assert np.isnan(cllr([1, 1], [0.2, 0.9])) and np.isnan(cllr(labels, np.full(4, np.nan)))


def test_min_cllr_knows_no_scale_and_is_below_cllr():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = rng.normal(1.5 * labels, 1.0)
    p = 1 / (1 + np.exp(-(1.5 * scores - 1.125)))  # the true ratio of these two normals
    overconfident = 1 / (1 + np.exp(-4 * (1.5 * scores - 1.125)))
    best = min_cllr(labels, scores)
    assert best == pytest.approx(min_cllr(labels, np.exp(scores)))
    assert best < cllr(labels, p) < best + 0.08 < cllr(labels, overconfident)
    assert min_cllr(labels, labels.astype(float)) == 0.0
    assert min_cllr(labels, np.zeros(400)) == pytest.approx(1.0)


def test_the_curve_is_the_roc_curve():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    scores = rng.normal(labels, 1.0)
    curve = roc(labels, scores)
    assert np.trapezoid(curve.recall, curve.false_alarms) == pytest.approx(roc_auc_score(labels, scores))
    assert len(roc([1, 1], [0.0, 1.0]).recall) == 0
    figure = roc_and_det({"perfect": roc([0, 1], [0.0, 1.0]), "some": curve})
    assert [axes.get_title() for axes in figure.axes] == ["ROC", "DET"]


def pictures(seed=0, cameras=15, generators=14, each=10) -> tuple[Pictures, np.ndarray]:
    """Two classes of sources that differ, and a score."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"cam{i}" for i in range(cameras)] + [f"gen{i}" for i in range(generators)], each)
    labels = np.char.startswith(names, "gen").astype(int)
    shift = np.repeat(rng.normal(size=cameras + generators), each)
    return Pictures(labels, names, names), labels + shift + rng.normal(size=len(names))


def test_means_count_every_generator_once():
    given, scores = pictures()
    rows = mean_rows(given, scores, given.draws(20, 0))
    real = given.labels == 0
    for figure, measure in (("auc", auc), ("recall_5", lambda y, s: recall_at(y, s, 0.05))):
        single = [measure(given.labels[m], scores[m]) for m in (real | (given.names == g) for g in given.generators)]
        assert rows[figure][0] == pytest.approx(np.mean(single))


def test_generators_of_one_source_are_drawn_together():
    given, _ = pictures()
    units = np.where(np.isin(given.names, ["gen0", "gen1", "gen2"]), "family", given.names)
    drawn = Pictures(given.labels, given.names, units).draws(50, 0)
    assert drawn.clusters == (15, 12)
    first = given.generators.index("gen0")
    same = [given.generators.index(name) for name in ("gen1", "gen2")]
    assert (drawn.sides[1][:, same] == drawn.sides[1][:, [first]]).all()


def test_a_paired_difference_is_narrower_than_two_intervals_and_of_itself_nothing():
    given, scores = pictures()
    rng = np.random.default_rng(5)
    other = scores + 0.4 * given.labels + 0.1 * rng.normal(size=len(scores))  # better on every generator alike
    better, same = differences(given, {"a": scores, "b": other, "c": scores}, draws=300)
    assert (better.name, better.than, better.n_real, better.n_fake) == ("b", "a", 150, 140)
    assert 0 < better.auc.low < better.auc.value < better.auc.high < 0.2
    drawn = given.draws(300, 0)
    alone = drawn.interval(mean_rows(given, scores, drawn)["auc"])
    assert better.auc.high - better.auc.low < (alone.high - alone.low) / 2
    assert (same.auc.low, same.auc.high, same.recall_5.value) == (0.0, 0.0, 0.0)


def test_slices_by_size_format_and_camera():
    sides = [100, 100, 300, 300, 2000, 2000] * 4
    made = Claim(CAMERA, "Canon EOS", "EXIF Model")
    facts = [FileFacts(s, s + 50, "PNG" if s == 100 else "JPEG", claims=to_json([made]) if s == 2000 else "")
             for s in sides]  # fmt: skip
    labels, called = np.arange(24) % 2, np.array(sides) == 100
    found = slices(facts, labels, np.arange(24.0), called, np.arange(24))
    sizes = [(s.value, s.n_real, s.n_fake, s.flagged.value) for s in found if s.fact == "shorter side"]
    assert sizes == [("under 128", 4, 4, 1.0), ("256 to 511", 4, 4, 0.0), ("1024 and more", 4, 4, 0.0)]
    assert [(s.value, s.n_real) for s in found if s.fact == "format"] == [("JPEG", 8), ("PNG", 4)]
    assert [(s.value, s.n_real) for s in found if s.fact == "camera"] == [("Canon EOS", 4), ("none named", 8)]
    assert np.isnan(found[0].flagged.low)  # four photo sources
    alone = slices(facts, labels, np.arange(24.0), called, np.zeros(24))
    assert 0.3 < alone[0].flagged.low < alone[0].flagged.high == 1.0  # one source: exact
    assert "camera" not in {s.fact for s in slices([FileFacts(9, 9, "PNG")] * 24, labels, np.zeros(24), called, labels)}
