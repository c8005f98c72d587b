"""Detectors: fit, save, load, judge; tampering and misuse are one line each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from detector_planted import FINGERPRINT, SETTINGS, encoded, planted

from aigiscan.classifiers.folds import source_folds
from aigiscan.detector.bases import stacked_view
from aigiscan.detector.detector import Detector
from aigiscan.detector.fit import fit
from aigiscan.detector.recalibrate import recalibrate
from aigiscan.detector.table import sample_weights
from aigiscan.detector.tune import tune_on_paper_grid
from aigiscan.errors import DetectorError, FitError
from aigiscan.evaluation.card_metrics import complete_card
from aigiscan.features.views import ComponentsView, EmbeddingView, HeadsView
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded


@pytest.fixture(scope="module")
def fitted() -> Detector:
    return complete_card(fit(planted(), SETTINGS))[0]


def test_weighs_the_planted_columns_most(fitted: Detector) -> None:
    weights = np.abs(fitted.classifier.coef_[0])
    assert set(np.argsort(weights)[-2:].tolist()) == {5, 7}
    assert fitted.classifier.coef_[0][[5, 7]].min() > 0


def test_card_has_what_a_reader_needs(fitted: Detector) -> None:
    card = fitted.card
    assert card.training["generators"] == {f"gen{i}": 30 for i in range(4)}
    assert card.training["photo_sources"] == {f"cam{i}": 30 for i in range(4)}
    assert card.training["formats"] == {"real": {"PNG": 120}, "fake": {"PNG": 120}}
    held_out = card.metrics["held_out"]["as they are"]
    value, low, high = held_out["auc"]
    assert value > 0.95
    assert (low, high) == (None, None)  # four photo sources: too few for an interval
    assert {"ece", "brier", "tpr_at_5_percent_fpr"} <= set(held_out)
    assert card.metrics["achieved"][1]["sources"] == 4
    assert any("photographs like those calibrated on" in limit for limit in card.limits)


def test_saved_and_loaded_detector_says_the_same(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "d")
    again = Detector.load(tmp_path / "d")
    rows = encoded(planted(seed=1))
    assert list(fitted.judge(rows)) == list(again.judge(rows))
    assert again.card == replace(fitted.card, weights_sha256=again.card.weights_sha256)


def test_unreadable_rows_keep_their_place_and_get_no_score(fitted: Detector) -> None:
    rows = encoded(planted(per_source=2))
    rows.insert(3, Encoded(ImageRecord("bad.png"), FileFacts(), None, "truncated PNG"))
    verdicts = list(fitted.judge(rows))
    assert [v.path for v in verdicts] == [r.record.path for r in rows]
    assert verdicts[3].verdict == "unreadable" and verdicts[3].score is None and verdicts[3].error == "truncated PNG"
    assert all(v.score is not None for i, v in enumerate(verdicts) if i != 3)


def test_small_pictures_stay_uncertain_with_the_reason(fitted: Detector, tmp_path: Path) -> None:
    careful = replace(fitted, card=replace(fitted.card, least_side=128))
    careful.save(tmp_path / "d")
    careful = Detector.load(tmp_path / "d")
    rows = [replace(row, facts=replace(row.facts, width=900, height=128)) for row in encoded(planted(per_source=2))]
    assert [v.verdict for v in careful.judge(rows)] == [v.verdict for v in fitted.judge(rows)]
    assert {v.verdict for v in fitted.judge(rows)} >= {"ai", "real"}
    small = [replace(row, facts=replace(row.facts, height=127)) for row in rows]
    for verdict in careful.judge(small):
        assert (verdict.verdict, verdict.generator) == ("uncertain", "")
        assert verdict.error == "too small to judge: shorter side 127 pixels, under 128"
        assert verdict.score is not None
    unknown = [replace(row, facts=replace(row.facts, width=0, height=0)) for row in rows]
    assert not any(v.error for v in careful.judge(unknown))


def test_refuses_tampered_weights_unknown_formats_and_other_features(fitted: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    fitted.save(folder)
    card = yaml.safe_load((folder / "card.yaml").read_text())

    def message() -> str:
        with pytest.raises(DetectorError) as error:
            Detector.load(folder)
        assert "\n" not in str(error.value)
        return str(error.value)

    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "format": 99}))
    assert "format 99" in message()
    (folder / "card.yaml").write_text("just: text\n")
    assert "format number" in message()
    (folder / "card.yaml").write_text(yaml.safe_dump({k: v for k, v in card.items() if k != "view"}))
    assert "view" in message()
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "classifier": {"name": "oracle", "params": {}}}))
    with pytest.raises(Exception, match="oracle"):
        Detector.load(folder)
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    assert "sha256 differs" in message()
    with pytest.raises(DetectorError, match="weights"):
        fitted.check_fingerprint({**FINGERPRINT, "weights": "another"}, "store x.h5")
    with pytest.raises(DetectorError, match="no detector"):
        Detector.load(tmp_path / "nowhere")


def test_save_replaces_a_detector_but_nothing_else(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "d")
    (tmp_path / "d" / "NOTICE").write_text("stays")
    fitted.save(tmp_path / "d")
    assert (tmp_path / "d" / "NOTICE").read_text() == "stays"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    with pytest.raises(DetectorError, match="not a detector"):
        fitted.save(tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").read_text() == "mine"


def test_two_equalisations_are_fitted_together_and_the_first_is_scanned() -> None:
    one, two = planted(equalization="square:64"), planted(equalization="square:32", gap=1.0)
    result = fit([one, two], SETTINGS)
    assert result.held_out.shape == (240, 2)
    assert result.detector.card.equalization == "square:64"
    assert result.detector.equalizations == ["square:64", "square:32"]
    # one score per photograph, under the treatment that scan applies: copies would count for pictures
    assert result.detector.calibration.describe()["real_images"] == 120
    real = result.held_out[result.table.label == 0, 0]
    assert result.detector.calibration.real.scores.tolist() == sorted(real.tolist())
    with pytest.raises(FitError, match="same readable images"):
        fit([one, planted(per_source=29)], SETTINGS)


def test_source_weights() -> None:
    label = np.repeat([0, 1], [50, 10])
    sources = np.array(["a"] * 40 + ["b"] * 10 + ["g"] * 10, dtype=object)
    weights = sample_weights(label, sources, "source")
    assert weights[label == 0].sum() == pytest.approx(weights[label == 1].sum())
    assert weights.mean() == pytest.approx(1.0)
    # √(10/40) = 1/2 of a full source, over 10 pictures
    assert weights[40:50].sum() / weights[:40].sum() == pytest.approx(0.5)
    with pytest.raises(FitError, match="weighting"):
        sample_weights(label, sources, "luck")


def test_refuses_one_class_and_nan() -> None:
    table = planted()
    with pytest.raises(FitError, match="AI-generated"):
        fit(table.select(table.label == 0), SETTINGS)
    broken = table.channels["embedding"].copy()
    broken[3, 2] = np.nan
    with pytest.raises(FitError, match="NaN"):
        fit(replace(table, channels={"embedding": broken}), SETTINGS)


def test_views_survive_saving(tmp_path: Path) -> None:
    table = planted()
    kept = ComponentsView([5, 7, 2], ["gen0", "gen1"])
    fit(table, SETTINGS, kept).detector.save(tmp_path / "c")
    again = Detector.load(tmp_path / "c").view
    assert np.array_equal(again.transform(table.channels), table.channels["embedding"][:, [5, 7, 2]])
    assert again.search_generators == ("gen0", "gen1")
    assert EmbeddingView().columns(["x:0", "x:1"]) == ["x:0", "x:1"] and again.columns(list("abcdefgh")) == list("fhc")

    rng = np.random.default_rng(0)
    channels = {"heads": rng.normal(size=(240, 2, 3, 4)), "sigma": rng.uniform(1, 2, 240)}
    factors = rng.normal(size=(2, 4, 4)).astype(np.float32)
    view = HeadsView([(1, 2), (0, 0)], factors)
    by_hand = np.einsum("nd,de->ne", channels["heads"][:, 1, 2], factors[0]) / channels["sigma"][:, None]
    assert view.transform(channels)[:, :4] == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
    fit(replace(table, channels=channels), SETTINGS, view).detector.save(tmp_path / "h")
    assert np.array_equal(Detector.load(tmp_path / "h").view.transform(channels), view.transform(channels))


def test_recalibration_moves_the_threshold_alone(fitted: Detector) -> None:
    # photographs of a camera that the detector finds suspicious
    odd = planted(per_source=100, gap=1.0, seed=3)
    mine = odd.select(odd.label == 1)
    done = recalibrate(fitted, encoded(mine), 0.05)
    renewed = done.detector
    assert (done.photographs, done.unreadable, done.seen) == (400, (), ())
    before = [v.verdict for v in fitted.judge(encoded(mine))]
    now = [v.verdict for v in renewed.judge(encoded(mine))]
    assert before.count("ai") > 40 and done.flagged_before == before.count("ai")
    assert now.count("ai") <= 0.05 * len(now) + 1
    assert renewed.card.thresholds["calibrated_on"]["photographs"] == 400
    rows = encoded(planted(seed=5))
    assert [v.score for v in renewed.judge(rows)] == [v.score for v in fitted.judge(rows)]
    assert [v.p_ai for v in renewed.judge(rows)] == [v.p_ai for v in fitted.judge(rows)]


def test_stacking_uses_bases_out_of_fold_and_survives_saving(tmp_path: Path) -> None:
    table = planted()
    bases = []
    for i, columns in enumerate(([5, 0], [7, 1], [2, 3])):  # the third knows nothing
        result = fit(table, replace(SETTINGS, name=f"base{i}"), ComponentsView(columns))
        bases.append(result.detector)
    view = stacked_view(bases, table.encoder, table.equalization)
    stacked = fit(table, replace(SETTINGS, classifier="stacking"), view)
    coef = stacked.detector.classifier.coef_[0]
    assert coef[2] < min(coef[0], coef[1])
    stacked.detector.save(tmp_path / "s")
    rows = encoded(planted(seed=9))
    assert list(Detector.load(tmp_path / "s").judge(rows)) == list(stacked.detector.judge(rows))
    with pytest.raises(DetectorError, match="other features"):
        stacked_view(bases, table.encoder, "square:64")


def test_out_of_fold_columns_do_not_know_their_image() -> None:
    """A base that has learnt its pictures by heart (1-nearest neighbour) must look like chance out of fold."""
    table = planted(gap=0.0)
    base = fit(table, replace(SETTINGS, classifier="knn", params={"k": 1})).detector
    view = stacked_view([base], table.encoder, table.equalization)
    by_heart = view.transform(table.channels)[:, 0]
    probabilities, judge = view.out_of_fold(table, np.arange(len(table)) % 5)
    honest = probabilities[:, 0]
    assert judge.bases[0].classifier is not base.classifier  # what was calibrated on is what judges
    assert by_heart[table.label == 1].min() > by_heart[table.label == 0].max()
    assert abs(honest[table.label == 1].mean() - honest[table.label == 0].mean()) < 0.1


def test_continued_training_takes_in_a_second_data_set(fitted: Detector) -> None:
    second = planted(seed=11, gap=0.0)
    second.channels["embedding"][:, 0] += 3.0 * second.label  # another trace
    result = fit(second, SETTINGS, fitted.view, previous=fitted)
    assert result.detector.classifier.coef_[0][0] > fitted.classifier.coef_[0][0] + 0.1
    assert result.detector.classifier.coef_[0][5] > 0
    assert result.detector.card.training["continued_from"]["digest"] == fitted.card.training["digest"]


def test_grid_of_the_paper_is_tuned_on_left_out_sources() -> None:
    """The best setting is about as good as the best possible rule (x5 + x7 > gap) on the very same pictures.

    That rule is right for Φ(√2) = 92 % of all pictures, but for 18 to 20 of 20: a fixed bar would measure the draw.
    """
    for gap in (2.0, 0.0):
        table = planted(per_source=20, d=8, gap=gap)
        chosen, points = tune_on_paper_grid(table, EmbeddingView(), {})
        assert len(points) == 2 * 8 * 6
        assert {"solver", "C", "max_iter"} <= set(chosen)
        validation = source_folds(table.label, table.sources, table.groups, n_folds=4, seed=0) == 0
        assert (np.unique(table.sources[validation]).size, int(validation.sum())) == (2, 40)
        best = max(p.accuracy for p in points)
        if gap:
            possible = np.mean(
                (table.channels["embedding"][:, [5, 7]].sum(axis=1) > gap) == table.label, where=validation
            )
            assert best >= possible - 2 / 40
        else:  # nothing to find: the best of 96 settings is a lucky one, not a good one
            assert best < 0.7


def test_multiclass_detector_names_the_generator_of_flagged_pictures_only() -> None:
    table = planted(per_source=40)
    which = np.array([int(n[3]) if n.startswith("gen") else 9 for n in table.sources])
    for g in range(4):
        table.channels["embedding"][which == g, 8 + g] += 4.0
    detector = fit(table, replace(SETTINGS, classifier="multiclass-svm")).detector
    verdicts = list(detector.judge(encoded(table)))
    named = [(v.generator, n) for v, n in zip(verdicts, table.sources, strict=True) if v.verdict == "ai"]
    assert len(named) > 40
    assert np.mean([a == b for a, b in named]) > 0.8
    assert all(v.generator == "" for v in verdicts if v.verdict != "ai")
