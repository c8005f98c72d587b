from __future__ import annotations

import numpy as np
import pytest

from aigiscan.classifiers.folds import group_folds, out_of_fold, source_folds, train_test
from aigiscan.classifiers.logistic import LogisticClassifier
from aigiscan.errors import FitError


def planted(seed=0, sources=(8, 13), sizes=(3, 40)):
    rng = np.random.default_rng(seed)
    labels, names = [], []
    for label, count in enumerate(sources):
        for i in range(count):
            n = int(rng.integers(*sizes))
            labels += [label] * n
            names += [f"{'gen' if label else 'cam'}{i}"] * n
    return np.array(labels), np.array(names)


def test_sources_stay_whole_and_every_fold_has_both_classes():
    labels, names = planted()
    folds = source_folds(labels, names, n_folds=5, seed=3)
    for name in np.unique(names):
        assert len(np.unique(folds[names == name])) == 1
    for label in (0, 1):
        sizes = np.bincount(folds[labels == label], minlength=5)
        assert sizes.min() > 0
        assert sizes.max() < 2.5 * sizes.mean()
    assert np.array_equal(folds, source_folds(labels, names, n_folds=5, seed=3))
    assert not np.array_equal(folds, source_folds(labels, names, n_folds=5, seed=4))


def test_number_of_folds_is_at_most_the_smaller_class_has_sources():
    labels, names = planted(sources=(3, 9))
    assert source_folds(labels, names, n_folds=10).max() == 2


def test_generators_that_share_prompts_stay_together():
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    names = np.array(["a", "b", "g1", "g1", "g2", "g2", "g3", "g3"])
    groups = np.array(["", "", "p", "q", "q", "r", "s", "t"])
    for seed in range(10):
        folds = source_folds(labels, names, groups, n_folds=2, seed=seed)
        assert folds[2] == folds[4]
        assert folds[6] != folds[2]


def test_groups_that_link_everything_are_left_to_train_test():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    names = np.array(["a", "a", "b", "b", "g", "g", "h", "h"])
    groups = np.array(["1", "2", "3", "4", "1", "2", "1", "2"])
    folds = source_folds(labels, names, groups, n_folds=2)
    assert folds[4] != folds[6]
    for train, test in train_test(folds, groups):
        assert not set(groups[train]) & set(groups[test])


def test_a_single_source_is_split_by_group():
    labels = np.array([0] * 6 + [1] * 6)
    names = np.array(["cam"] * 6 + ["g1"] * 3 + ["g2"] * 3)
    groups = np.array(["a", "a", "b", "b", "c", "c"] + [""] * 6)
    folds = source_folds(labels, names, groups, n_folds=2)
    for pair in ((0, 1), (2, 3), (4, 5)):
        assert folds[pair[0]] == folds[pair[1]]
    assert set(folds[:6]) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "names", "groups"),
    [([1, 1], ["a", "b"], None), ([0, 0, 1, 1], ["a", "a", "g", "h"], ["x", "x", "", ""])],
)
def test_nothing_to_leave_out_is_refused(labels, names, groups):
    with pytest.raises(FitError, match="photographs of two sources"):
        source_folds(np.array(labels), names, groups)


def test_group_folds_keep_groups_whole():
    labels, names = planted(1)
    folds = group_folds(labels, names, 4, seed=1)
    assert all(len(np.unique(folds[names == name])) == 1 for name in names)
    with pytest.raises(FitError):
        group_folds(np.zeros(5), np.arange(5))


def test_out_of_fold_never_scores_with_a_fit_that_saw_the_group():
    # Labels are noise, but each group has a feature of its own that gives its label away to a fit that saw it.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    labels = np.repeat(rng.permutation(np.repeat([0, 1], 20)), 5)
    X = np.eye(40)[groups] * 5 + rng.normal(size=(200, 40)) * 0.01
    leaky = LogisticClassifier().fit(X, labels)
    assert (leaky.predict(X) == labels).all()
    scores = out_of_fold(LogisticClassifier(), X, labels, groups, seed=0, probability=False)
    assert np.isfinite(scores).all()
    assert ((scores > 0) == labels).mean() < 0.75
    again = out_of_fold(LogisticClassifier(), X, labels, groups, seed=0, probability=False)
    assert np.array_equal(scores, again)
    share = out_of_fold(LogisticClassifier(), X, np.where(labels == 1, 1, 0), groups, seed=0)
    assert ((share >= 0) & (share <= 1)).all()
