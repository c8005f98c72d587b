"""Scores of many candidates at once agree with scikit-learn, and their intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from aigiscan.search.scores import SCORES, log_loss, score_interval


@pytest.fixture(params=["continuous", "tied"])
def margins(request):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 60))
    return np.round(values, 1) if request.param == "tied" else values


FAKE = np.random.default_rng(1).random(60) < 0.4


def test_scores_agree_with_scikit_learn(margins):
    for values, accuracy, auc, ap, loss in zip(
        margins,
        *(SCORES[name](margins, FAKE) for name in ("accuracy", "auc", "ap")),
        log_loss(margins, FAKE),
        strict=True,
    ):
        assert accuracy == pytest.approx(metrics.balanced_accuracy_score(FAKE, values > 0), abs=1e-12)
        assert auc == pytest.approx(metrics.roc_auc_score(FAKE, values), abs=1e-12)
        assert ap == pytest.approx(metrics.average_precision_score(FAKE, values), abs=1e-12)
        assert loss == pytest.approx(metrics.log_loss(FAKE, 1 / (1 + np.exp(-values))), abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_intervals_hold_for_every_error_within_the_bound(name, margins):
    rng = np.random.default_rng(2)
    error = np.abs(rng.normal(size=margins.shape)) * 0.3
    value, low, high = score_interval(name, margins, error, FAKE)
    assert (low <= value).all()
    assert (value <= high).all()
    for _ in range(50):
        moved = margins + error * rng.uniform(-1, 1, size=error.shape)
        assert (SCORES[name](moved, FAKE) >= low).all()
        assert (SCORES[name](moved, FAKE) <= high).all()


def test_intervals_are_reached_at_their_ends(margins):
    error = np.full(margins.shape, 0.2)
    _, low, high = score_interval("auc", margins, error, FAKE)
    right = np.where(FAKE, 0.2, -0.2)
    np.testing.assert_array_equal(SCORES["auc"](margins + right, FAKE), high)
    np.testing.assert_array_equal(SCORES["auc"](margins - right, FAKE), low)


def test_accuracy_weighs_both_classes_alike():
    """36 photographs and 7 fakes: "always real" is right 36 times of 43, and worth nothing."""
    fake = np.arange(43) < 7
    assert SCORES["accuracy"](np.full((1, 43), -1.0), fake)[0] == 0.5
    assert SCORES["accuracy"](np.where(fake, 1.0, -1.0)[None], fake)[0] == 1.0
    one_found = np.where(np.arange(43) < 1, 1.0, -1.0)
    assert SCORES["accuracy"](one_found[None], fake)[0] == pytest.approx(0.5 + 0.5 / 7)
