from __future__ import annotations

import numpy as np
import pytest

from aigiscan import metrics
from aigiscan.classifiers import make_classifier
from aigiscan.errors import FitError
from aigiscan.evaluation.transfer import split_by_source, transfer_matrix

FAMILIES = {"g1": "gan", "g2": "gan", "d1": "diffusion", "d2": "diffusion"}


def world(seed=0, each=40, reals=160):
    """Each family leaves its trace in a column of its own: transfer works within families and not across."""
    rng = np.random.default_rng(seed)
    sources = np.concatenate([np.repeat(["cam1", "cam2"], reals // 2), np.repeat(list(FAMILIES), each)])
    labels = (~np.char.startswith(sources, "cam")).astype(int)
    groups = np.array([f"{s}-{i // 4}" for i, s in enumerate(sources)])
    X = rng.normal(size=(len(labels), 8))
    X[np.isin(sources, ["g1", "g2"]), 0] += 4.0
    X[np.isin(sources, ["d1", "d2"]), 1] += 4.0
    return X, labels, sources, groups


def fit(rows):
    X, labels, _, _ = world()
    return make_classifier("logistic", C=0.1, class_weight="balanced").fit(X[rows], labels[rows])


def matrix(**options):
    X, labels, sources, groups = world()
    test = split_by_source(labels, sources, groups)
    return transfer_matrix(X, labels, sources, FAMILIES, groups, test, fit, **{"draws": 100, **options}), test


def test_transfer_works_within_a_family_and_not_across():
    found, _ = matrix()
    assert found.generators == ["d1", "d2", "g1", "g2"]
    auc = found.grid("auc")
    assert (auc[:2, :2] > 0.95).all()
    assert (auc[2:, 2:] > 0.95).all()
    assert (auc[:2, 2:] < 0.7).all()
    averages = {a.name: a for a in found.averages}
    assert list(averages) == [
        "all",
        "same generator",
        "within diffusion",
        "within gan",
        "diffusion → gan",
        "gan → diffusion",
    ]
    assert averages["all"].cells == 12
    off = ~np.eye(4, dtype=bool)
    assert averages["all"].auc.value == pytest.approx(auc[off].mean())
    assert averages["within gan"].auc.value == pytest.approx((auc[2, 3] + auc[3, 2]) / 2)
    assert averages["gan → diffusion"].accuracy.value == pytest.approx(found.grid("accuracy")[2:, :2].mean())
    for average in averages.values():
        assert average.auc.low <= average.auc.value <= average.auc.high


def test_cells_are_the_plain_metrics_of_the_same_split():
    found, test = matrix()
    X, labels, sources, _ = world()
    train_rows = ((labels == 0) | (sources == "g1")) & ~test
    estimator = fit(np.flatnonzero(train_rows))
    rows = ((labels == 0) | (sources == "d2")) & test
    scores = estimator.decision_function(X[rows])
    cell = next(c for c in found.cells if (c.train, c.test) == ("g1", "d2"))
    assert (cell.n_real, cell.n_fake) == ((labels[rows] == 0).sum(), (labels[rows] == 1).sum())
    assert cell.auc.value == pytest.approx(metrics.auc(labels[rows], scores))
    assert cell.accuracy.value == pytest.approx(metrics.accuracies(labels[rows], scores)[0])
    assert (cell.real_accuracy + cell.fake_accuracy) / 2 == pytest.approx(cell.accuracy.value)
    assert cell.ap == pytest.approx(metrics.average_precision(labels[rows], scores))
    assert cell.recall_5 == metrics.recall_at(labels[rows], scores, 0.05)
    assert cell.oracle_accuracy >= cell.accuracy.value
    assert (cell.calibrated_recall + 1 - cell.calibrated_false_alarms) / 2 == pytest.approx(cell.calibrated_accuracy)
    assert np.isnan(cell.auc.low)  # three groups of its fakes on the test side


def test_a_cell_has_an_interval_where_its_generator_has_ten_groups():
    X, labels, sources, groups = world(each=160)
    test = split_by_source(labels, sources, groups)

    def fit_here(rows):
        return make_classifier("logistic", C=0.1, class_weight="balanced").fit(X[rows], labels[rows])

    found = transfer_matrix(X, labels, sources, FAMILIES, groups, test, fit_here, draws=100)
    assert all(c.auc.low <= c.auc.value <= c.auc.high and c.auc.high - c.auc.low > 0.0 for c in found.cells)


def test_calibrated_threshold_keeps_false_alarms_low():
    found, _ = matrix(max_fpr=0.05)
    assert np.mean([cell.calibrated_false_alarms for cell in found.cells]) < 0.1
    assert np.mean([cell.calibrated_recall for cell in found.cells if cell.train == cell.test]) > 0.8


def test_small_and_excluded_generators_are_left_out_and_named():
    X, labels, sources, groups = world()
    sources = sources.copy()
    sources[np.flatnonzero(sources == "d2")[:5]] = "tiny"
    test = split_by_source(labels, sources, groups)
    found = transfer_matrix(X, labels, sources, FAMILIES, groups, test, fit, exclude=["g2"], draws=10)
    assert found.generators == ["d1", "d2", "g1"]
    assert found.left_out == {"g2": "chose the features", "tiny": "5 images"}
    with pytest.raises(FitError, match="min-images"):
        transfer_matrix(X, labels, sources, FAMILIES, groups, test, fit, min_images=1000)


def test_split_keeps_groups_whole_and_takes_its_share_of_every_source():
    _, labels, sources, groups = world()
    for seed in range(5):
        test = split_by_source(labels, sources, groups, test_share=0.3, seed=seed)
        for group in np.unique(groups):
            assert len(np.unique(test[groups == group])) == 1
        for source in np.unique(sources):
            assert 0.2 <= test[sources == source].mean() <= 0.4
    assert np.array_equal(test, split_by_source(labels, sources, groups, seed=4))


def test_split_of_prompts_that_generators_share_is_the_same_for_all():
    labels = np.repeat([0, 1, 1], 20)
    sources = np.repeat(["cam", "a", "b"], 20)
    groups = np.tile([f"p{i}" for i in range(20)], 3)
    test = split_by_source(labels, sources, groups)
    assert np.array_equal(test[:20], test[20:40])
    assert np.array_equal(test[:20], test[40:])


def test_a_given_split_is_used():
    labels = np.array([0, 0, 1, 1])
    splits = np.array(["train", "test", "val", "test"])
    assert split_by_source(labels, np.array(list("aabb")), np.array([""] * 4), splits).tolist() == [0, 1, 0, 1]
    with pytest.raises(FitError, match="test side"):
        split_by_source(
            labels, np.array(list("aabb")), np.array([""] * 4), np.array(["test", "test", "train", "train"])
        )


def test_the_threshold_is_not_taken_from_photographs_that_the_fit_saw():
    """Noise with more columns than images: in-sample every photograph scores low, and a third of new ones is above."""
    alarms = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 160)
        sources, groups = np.repeat(["cam", "g1", "g2"], [160, 80, 80]), np.arange(320)
        X = rng.normal(size=(320, 200))
        test = split_by_source(labels, sources, groups, seed=seed)

        def fit_noise(rows, X=X, labels=labels):
            return make_classifier("logistic", class_weight="balanced").fit(X[rows], labels[rows])

        found = transfer_matrix(X, labels, sources, {}, groups, test, fit_noise, max_fpr=0.05, draws=2, seed=seed)
        alarms += [cell.calibrated_false_alarms for cell in found.cells]
    # 6 × 2 fits × 48 photographs: two and a half standard errors above the promise
    assert np.mean(alarms) < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / (12 * 48))


def test_the_validated_threshold_is_best_on_held_out_images_of_the_training_generator():
    """UniFD's rule where the score's zero is badly placed: a classifier that is off by a constant loses nothing."""
    X, labels, sources, groups = world(each=60)
    test = split_by_source(labels, sources, groups)

    class Off:
        def __init__(self, inner):
            self.inner = inner

        def decision_function(self, X):
            return self.inner.decision_function(X) - 50.0

    def fit_off(rows):
        return Off(make_classifier("logistic", C=0.1, class_weight="balanced").fit(X[rows], labels[rows]))

    found = transfer_matrix(X, labels, sources, FAMILIES, groups, test, fit_off, draws=2)
    own = [cell for cell in found.cells if cell.train == cell.test]
    assert all(cell.accuracy.value == 0.5 for cell in own)
    assert all(0.9 < cell.validated_accuracy <= cell.oracle_accuracy for cell in own)
    averages = {a.name: a.others for a in found.averages}
    assert averages["same generator"]["validated_accuracy"] == pytest.approx(
        np.mean([c.validated_accuracy for c in own])
    )


def test_settings_can_be_tuned_for_each_generator():
    X, labels, sources, groups = world()
    test = split_by_source(labels, sources, groups)
    tuned = []

    def tune(rows):
        tuned.append(rows)
        return lambda these: make_classifier("logistic", C=0.1, class_weight="balanced").fit(X[these], labels[these])

    found = transfer_matrix(X, labels, sources, {}, groups, test, fit, tune=tune, draws=2)
    assert len(tuned) == 4
    assert not any(test[rows].any() for rows in tuned)  # nothing of the test side tunes
    assert [a.name for a in found.averages] == ["all", "same generator"]  # nothing is said of unknown families
