from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve

from aigiscan import metrics
from aigiscan.errors import FitError
from aigiscan.evaluation.intervals import resample


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


def test_recall_at_counts_steps():
    labels = np.repeat([0, 1], [20, 4])
    scores = np.concatenate([np.arange(20.0), [18.5, 19.5, 17.5, -1.0]])
    assert metrics.recall_at(labels, scores, 0.01) == 0.25  # above all 20 reals
    assert metrics.recall_at(labels, scores, 0.05) == 0.5  # one real may be above
    assert metrics.recall_at(labels, scores, 0.10) == 0.75
    assert metrics.recall_at(labels, scores, 1.0) == 1.0
    assert np.isnan(metrics.recall_at([0, 0], [1.0, 2.0], 0.05))


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


@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=40, deadline=None)
def test_partial_auc_is_the_area_under_the_roc_curve(seed, ties, fpr):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, 60), [0, 1])
    scores = rng.integers(0, 6, 62).astype(float) if ties else rng.normal(size=62)
    false_alarms, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    grid = np.union1d(false_alarms[false_alarms <= fpr], [fpr])
    # a step of the curve has two recalls at one rate: straight lines between its corners, as scikit-learn draws them
    inside = false_alarms <= fpr
    end = np.interp(fpr, false_alarms, recall) if fpr < 1 and grid[-1] not in false_alarms else recall[inside][-1]
    x, y = np.append(false_alarms[inside], fpr), np.append(recall[inside], end)
    assert metrics.partial_auc(labels, scores, fpr) == pytest.approx(np.trapezoid(y, x) / fpr, abs=1e-9)
    assert metrics.partial_auc(labels, scores, 1.0) == pytest.approx(metrics.auc(labels, scores))


def test_draws_give_the_figures_of_really_drawn_images():
    rng = np.random.default_rng(0)
    real, fake = rng.integers(0, 9, 30).astype(float), rng.integers(3, 12, 24).astype(float)
    drawn = resample(np.arange(30) // 3, np.arange(24) // 2, n=20, seed=1)
    assert drawn.clusters == (10, 12)
    assert [side.shape for side in drawn.sides] == [(1 + 20 + 22, 30), (1 + 20 + 22, 24)]
    aucs = metrics.auc_draws(fake, real, drawn.sides[1], drawn.sides[0])
    parts = metrics.partial_auc_draws(fake, real, drawn.sides[1], drawn.sides[0], 0.2)
    cuts = metrics.threshold_draws(real, drawn.sides[0], 0.1)
    for b in range(43):
        drawn_real, drawn_fake = (
            np.repeat(s, side[b].astype(int)) for s, side in zip((real, fake), drawn.sides, strict=True)
        )
        labels = np.repeat([0, 1], [len(drawn_real), len(drawn_fake)])
        scores = np.concatenate([drawn_real, drawn_fake])
        assert aucs[b] == pytest.approx(metrics.auc(labels, scores))
        assert parts[b] == pytest.approx(metrics.partial_auc(labels, scores, 0.2))
        assert np.mean(drawn_fake > cuts[b]) == pytest.approx(metrics.recall_at(labels, scores, 0.1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_none_are_refused(bad):
    for function in (metrics.auc, metrics.average_precision, metrics.oracle_threshold, metrics.accuracies):
        with pytest.raises(FitError, match="NaN or infinite"):
            function([0, 1], [0.0, bad])
    with pytest.raises(FitError, match="do not belong together"):
        metrics.auc([0, 1, 1], [0.0, 1.0])
