from __future__ import annotations

from functools import partial

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.evaluation.attribution import attribution
from aigiscan.evaluation.candidate import Candidate
from aigiscan.evaluation.heldout import held_out_figures
from aigiscan.features.views import ComponentsView, EmbeddingView


def table(each=12):
    rng = np.random.default_rng(0)
    names = np.repeat(["cam1", "cam2", "cam3", "gan1", "gan2", "sd"], each)
    label = (~np.char.startswith(names, "cam")).astype(np.int8)
    X = rng.normal(size=(len(names), 5)).astype(np.float32)
    X[np.isin(names, ["gan1", "gan2"]), 0] += 5
    X[names == "gan2", 1] += 5
    X[names == "sd", 2] += 5
    text = {
        "generator": np.where(label == 1, names, ""),
        "source": names,
        "family": np.where(label == 1, np.where(names == "sd", "diffusion", "gan"), ""),
        "group": np.array([f"{n}{i // 2}" for i, n in enumerate(names)]),
        "split": np.full(len(names), ""),
        "format": np.full(len(names), "PNG"),
        "path": np.array([f"{i}.png" for i in range(len(names))]),
        "sha256": np.array([str(i) for i in range(len(names))]),
    }
    return FitTable(label, {k: v.astype(object) for k, v in text.items()}, {"embedding": X}, {"name": "fake"})


def test_held_out_scores_never_come_from_a_fit_that_saw_the_source():
    seen = []

    class Spy:
        multiclass = False

        def fit(self, X, y, sample_weight=None):
            seen.append(X[:, 0].copy())
            self.mean = X[y == 1].mean(0) - X[y == 0].mean(0)
            return self

        def decision_function(self, X):
            scored = set(X[:, 0].tolist())
            assert not scored & set(seen[-1].tolist())
            return X @ self.mean

    candidate = Candidate.of("c", table(), EmbeddingView(), Spy)
    scores, folds = candidate.held_out_scores(3)
    assert np.isfinite(scores).all()
    assert len(seen) == 3
    for source in np.unique(candidate.sources):
        assert len(np.unique(folds[candidate.sources == source])) == 1


def test_what_the_source_column_puts_together_is_left_out_together():
    together = table()
    together.text["source"][np.isin(together.text["generator"], ["gan1", "sd"])] = "one_model"
    candidate = Candidate.of("c", together, EmbeddingView(), partial(make_classifier, "logistic"))
    scores, folds = candidate.held_out_scores(2)
    assert len(set(folds[candidate.sources == "one_model"])) == 1
    assert (
        set(folds[candidate.names == "gan1"])
        == set(folds[candidate.names == "sd"])
        != set(folds[candidate.names == "gan2"])
    )
    # tables go on naming generators, and one source of two generators weighs as one
    found = held_out_figures(
        scores, candidate.labels, candidate.names, candidate.groups, units=candidate.sources, draws=5
    )
    assert {g.generator for g in found.generators} == {"gan1", "gan2", "sd"}
    assert together.summary()["generators"] == {"gan1": 12, "gan2": 12, "sd": 12}
    weights = sample_weights(together.label, together.sources, "source")
    of = {name: weights[together.names == name].sum() for name in ("gan1", "gan2", "sd")}
    np.testing.assert_allclose([of["gan1"], of["sd"]], of["gan2"] * np.sqrt(2) / 2)


def test_generators_that_chose_the_features_can_be_left_out():
    candidate = Candidate.of("c", table(), ComponentsView([0, 1], ["gan1"]), partial(make_classifier, "logistic"))
    assert candidate.exclude == ("gan1",)
    rest = candidate.without(candidate.exclude)
    assert set(rest.sources) == {"cam1", "cam2", "cam3", "gan2", "sd"}
    assert len(rest.X) == len(rest.labels) == len(rest.paths) == 60
    assert candidate.without([]) is candidate
    assert candidate.families == {"gan1": "gan", "gan2": "gan", "sd": "diffusion"}


def test_attribution_names_generators_and_families():
    make = partial(make_classifier, "multiclass-svm", C=1.0)
    found = attribution(Candidate.of("c", table(), EmbeddingView(), make), n_folds=3)
    assert found.names == ["real", "gan1", "gan2", "sd"]
    assert found.accuracy > 0.9
    families = partial(make_classifier, "multiclass-svm", C=1.0, families={"gan1": "gan", "gan2": "gan"})
    grouped = attribution(Candidate.of("c", table(), EmbeddingView(), families), n_folds=3)
    assert grouped.names == ["real", "gan", "other"]
    assert grouped.accuracy > 0.9
