from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aigiscan import metrics
from aigiscan.classifiers import make_classifier
from aigiscan.evaluation.robustness import CLEAN, PERTURBATIONS, Chain, perturbed, quality_matrix, robustness, sample
from aigiscan.images.equalize import Equalization
from aigiscan.images.perturb import parse_perturbation
from aigiscan.images.records import ImageRecord


def test_all_perturbations_are_understood_and_those_of_the_issue():
    for spec in PERTURBATIONS:
        assert parse_perturbation(spec).spec == spec
    assert len(PERTURBATIONS) == 6 + 3 + 3 + 3


def test_rows_are_the_plain_metrics_and_share_their_draws():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 100)
    clean = labels * 2.0 + rng.normal(size=200)
    noisy = labels * 0.5 + rng.normal(size=200)
    first, second, third = robustness(
        {CLEAN: clean, "blur:3": noisy, "same": clean}, labels, np.arange(200) // 2, 1.0, draws=100
    )
    assert first.auc.value == pytest.approx(metrics.auc(labels, clean))
    assert second.recall_5.value == pytest.approx(metrics.recall_at(labels, noisy, 0.05))
    assert second.accuracy.value == pytest.approx(metrics.accuracies(labels, noisy, 1.0)[0])
    assert first.flagged_real == np.mean(clean[labels == 0] > 1.0)
    assert first.flagged_fake == np.mean(clean[labels == 1] > 1.0)
    assert (third.auc, third.recall_5) == (first.auc, first.recall_5)
    assert second.auc.value < first.auc.low


def test_sample_takes_sources_alike():
    sources = np.repeat(["large", "middle", "small", "gan", "few"], [100, 20, 3, 200, 4])
    labels = np.repeat([0, 1], [123, 204])
    rows = sample(labels, sources, 66, seed=1)
    counts = {name: int((sources[rows] == name).sum()) for name in np.unique(sources)}
    assert counts == {"large": 15, "middle": 15, "small": 3, "gan": 29, "few": 4}
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(sample(labels, sources, 1000), np.arange(327))
    assert np.array_equal(sample(labels, sources, 20, 5), sample(labels, sources, 20, 5))


def test_the_picture_is_perturbed_first_and_equalised_afterwards(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    chain = Chain((parse_perturbation("resize:0.5"), Equalization.parse("square:16")))
    assert chain.spec == "resize:0.5+square:16"
    expected = Equalization.parse("square:16").apply(parse_perturbation("resize:0.5").apply(image))
    assert np.array_equal(np.asarray(chain.apply(image)), np.asarray(expected))


def test_perturbed_images_are_encoded_in_order(tmp_path):
    from aigiscan.encoders import create_encoder

    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(paths[-1])
    records = [ImageRecord(path) for path in [*paths, str(tmp_path / "missing.png")]]
    encoder = create_encoder("color:hsv")
    plain = list(perturbed(records, encoder, CLEAN))
    blurred = list(perturbed(records, encoder, "blur:3", "square:16"))
    assert [row.record.path for row in blurred] == [record.path for record in records]
    assert blurred[3].channels is None
    assert not np.allclose(plain[0].channels["embedding"], blurred[0].channels["embedding"])


def test_quality_matrix_is_poor_where_training_never_saw_the_quality():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 150)
    traces = {90: (2.0, 1.0), 40: (0.0, 1.0)}  # re-encoding wipes out the strong trace, the weak one survives
    matrices = {}
    for quality, (strong, weak) in traces.items():
        X = rng.normal(size=(300, 6))
        X[:, 0] += strong * (2 * labels - 1)
        X[:, 1] += weak * (2 * labels - 1)
        matrices[quality] = X
    test = np.arange(300) % 3 == 0
    cells = quality_matrix(
        matrices, labels, test, lambda X, rows: make_classifier("logistic").fit(X[rows], labels[rows])
    )
    accuracy = {(cell.train, cell.test): cell.accuracy for cell in cells}
    assert list(accuracy) == [(90, 90), (90, 40), (40, 90), (40, 40)]
    assert accuracy[90, 90] > 0.95
    assert accuracy[90, 40] < accuracy[40, 40]
    assert accuracy[40, 90] > 0.7


def test_groups_are_drawn_not_images():
    """Twenty pictures of one scene are one draw: intervals are those of the scenes, however many pictures of each."""
    rng = np.random.default_rng(0)
    scene = np.concatenate([rng.normal(0, 1, 15), rng.normal(1, 1, 15)])
    labels, once = np.repeat([0, 1], 15), {CLEAN: scene}
    often = {CLEAN: np.repeat(scene, 20)}
    (few,) = robustness(once, labels, np.arange(30), 1.0, draws=300)
    (many,) = robustness(often, np.repeat(labels, 20), np.repeat(np.arange(30), 20), 1.0, draws=300)
    for figure in ("auc", "accuracy"):
        single, repeated = getattr(few, figure), getattr(many, figure)
        assert (repeated.value, repeated.low, repeated.high) == pytest.approx((single.value, single.low, single.high))
    assert many.auc.high - many.auc.low > 0.25
