from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from aigiscan.errors import FitError
from aigiscan.evaluation import metrics


@given(st.integers(0, 2**31), st.integers(2, 80), st.booleans())
@settings(max_examples=80, deadline=None)
def test_equal_to_scikit_learn_with_and_without_ties(seed, n, ties):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, n), [0, 1])
    scores = rng.integers(0, 6, n + 2).astype(float) if ties else rng.normal(size=n + 2)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert metrics.average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    balanced, real, fake = metrics.accuracies(labels, scores, 0.5)
    assert balanced == pytest.approx(balanced_accuracy_score(labels, scores > 0.5))
    assert balanced == pytest.approx((real + fake) / 2)


def test_tpr_at_fpr_counts_steps():
    labels = np.repeat([0, 1], [20, 4])
    scores = np.concatenate([np.arange(20.0), [18.5, 19.5, 17.5, -1.0]])
    assert metrics.tpr_at_fpr(labels, scores, 0.01) == 0.25  # above all 20 reals
    assert metrics.tpr_at_fpr(labels, scores, 0.05) == 0.5  # one real may be above
    assert metrics.tpr_at_fpr(labels, scores, 0.10) == 0.75
    assert metrics.tpr_at_fpr(labels, scores, 1.0) == 1.0
    assert np.isnan(metrics.tpr_at_fpr([0, 0], [1.0, 2.0], 0.05))


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_oracle_is_the_best_of_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, 30), [0, 1])
    scores = rng.integers(0, 9, 32).astype(float)
    threshold, best = metrics.oracle_threshold(labels, scores)
    tried = [metrics.accuracies(labels, scores, t)[0] for t in np.arange(-1.5, 10, 0.5)]
    assert best == pytest.approx(max(tried))
    assert metrics.accuracies(labels, scores, threshold)[0] == pytest.approx(best)


def test_ece_and_brier_of_known_answers():
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert metrics.brier(labels, labels.astype(float)) == 0.0
    assert metrics.ece(labels, labels.astype(float)) == 0.0
    assert metrics.brier(labels, 1.0 - labels) == pytest.approx(1.0)
    assert metrics.ece(labels, np.full(6, 0.5)) == pytest.approx(0.0)
    assert metrics.ece(labels, np.full(6, 0.9)) == pytest.approx(0.4)
    # nine reals and one fake at p = 0.5: right where both are equally frequent, wrong by 0.4 as counted
    labels = np.array([0] * 9 + [1])
    assert metrics.ece(labels, np.full(10, 0.5)) == pytest.approx(0.0)
    assert metrics.ece(labels, np.full(10, 0.5), balanced=False) == pytest.approx(0.4)
    bins = metrics.reliability(labels, np.linspace(0, 1, 10), 5)
    assert sum(b.n for b in bins) == 10
    assert sum(b.weight for b in bins) == pytest.approx(1.0)


def test_ece_of_true_probabilities_is_small_and_of_overconfident_ones_is_not():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20000)
    labels = (rng.uniform(size=20000) < p).astype(int)
    assert metrics.ece(labels, p, balanced=False) < 0.02
    overconfident = np.clip(0.5 + 2 * (p - 0.5), 0, 1)
    assert metrics.ece(labels, overconfident, balanced=False) > 0.08
    with pytest.raises(FitError, match="between 0 and 1"):
        metrics.ece(labels, p * 2)


def test_group_bootstrap_is_wider_than_the_bootstrap_of_images_where_groups_agree():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 20)
    labels = (groups % 2).astype(int)
    scores = labels * 0.5 + rng.normal(size=30)[groups] + rng.normal(size=600) * 0.05

    def statistic(rows):
        return metrics.auc(labels[rows], scores[rows])

    by_group = metrics.group_bootstrap(statistic, groups, labels, n=300, seed=0)
    by_image = metrics.group_bootstrap(statistic, np.arange(600), labels, n=300, seed=0)
    assert by_group.low < by_group.value < by_group.high
    assert (by_group.high - by_group.low) > 2 * (by_image.high - by_image.low)
    assert by_group == metrics.group_bootstrap(statistic, groups, labels, n=300, seed=0)
    assert "[" in str(by_group)


def test_group_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    inside = 0
    for trial in range(200):
        means = rng.normal(size=40)
        values = (means[:, None] + rng.normal(size=(40, 3)) * 0.1).ravel()
        interval = metrics.group_bootstrap(
            lambda rows, v=values: float(v[rows].mean()), np.repeat(np.arange(40), 3), n=200, seed=trial
        )
        inside += interval.low <= 0.0 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


def test_one_group_gives_no_interval():
    interval = metrics.group_bootstrap(lambda rows: float(len(rows)), ["a", "a"], n=10)
    assert (interval.value, np.isnan(interval.low)) == (2.0, True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_none_are_refused(bad):
    for function in (metrics.auc, metrics.average_precision, metrics.oracle_threshold, metrics.accuracies):
        with pytest.raises(FitError, match="NaN or infinite"):
            function([0, 1], [0.0, bad])
    with pytest.raises(FitError, match="do not belong together"):
        metrics.auc([0, 1, 1], [0.0, 1.0])
