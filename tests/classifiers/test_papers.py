"""Each classifier against the formula it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multiclass import OneVsOneClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.continued import fit_from
from aigiscan.classifiers.grid import PAPER_C, PAPER_MAX_ITER, PAPER_SOLVERS, fit_grid
from aigiscan.classifiers.multiclass import load_families
from aigiscan.classifiers.pairs import pair_rows, paired_images
from aigiscan.classifiers.zero_shot import prompt_features
from aigiscan.errors import FitError, InputError


def blobs(seed=0, n=200, d=10, shift=1.0):
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], n // 2)
    X = rng.normal(size=(n, d)) + 1.5
    X[:, 2] += shift * (2 * y - 1)
    return X, y


def unit(X):
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


def test_logistic_is_scikit_learns_with_standardising_folded_in():
    X, y = blobs()
    X = X * np.logspace(-3, 3, 10)
    fitted = make_classifier("logistic", C=0.3, tol=1e-8).fit(X, y)
    Z = (X - X.mean(0)) / X.std(0)
    expected = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(Z, y).decision_function(Z)
    assert fitted.decision_function(X) == pytest.approx(expected, abs=1e-5)
    plain = make_classifier("logistic", C=0.3, standardize=False, fit_intercept=False).fit(Z, y)
    assert plain.intercept_ == 0.0
    assert plain.decision_function(Z) == pytest.approx(Z @ plain.coef_[0])


def test_logistic_without_bias_and_with_standardising_has_no_bias():
    X, y = blobs()
    fitted = make_classifier("logistic", fit_intercept=False).fit(X, y)
    assert fitted.decision_function(np.zeros((1, 10)))[0] == 0.0


def test_constant_columns_neither_break_nor_matter():
    X, y = blobs()
    widened = np.column_stack([X, np.full(len(X), 1e8), np.zeros(len(X))])
    for name in ("logistic", "svm", "mlp", "linear-bce"):
        fast = {"epochs": 10, "learning_rate": 0.02, "batch_size": 32} if name in ("mlp", "linear-bce") else {}
        fitted = make_classifier(name, **fast).fit(widened, y)
        scores = fitted.decision_function(widened)
        assert roc_auc_score(y, scores) > 0.8
        widened[:, 10:] += 1e6  # not constant after all in a later image
        assert fitted.decision_function(widened) == pytest.approx(scores, abs=1e-3)
        widened[:, 10:] -= 1e6


def test_residual_is_the_formula_of_section_4():
    X, y = blobs()
    fitted = make_classifier("residual").fit(X, y)
    resid = unit(X[y == 1].mean(0)) - unit(X[y == 0].mean(0))
    feature = unit(X) @ unit(resid)
    scores = fitted.decision_function(X)
    slope, offset = np.polyfit(feature, scores, 1)
    assert scores == pytest.approx(slope * feature + offset)
    assert slope > 0
    dot = make_classifier("residual", cosine=False).fit(X, y).decision_function(X)
    assert np.corrcoef(dot, X @ resid)[0, 1] == pytest.approx(1.0)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_knn_is_the_difference_of_mean_cosine_distances(k):
    X, y = blobs()
    test, _ = blobs(1, 20)
    fitted = make_classifier("knn", k=k).fit(X, y)
    distance = 1 - unit(test) @ unit(X).T
    expected = [np.sort(row[y == 0])[:k].mean() - np.sort(row[y == 1])[:k].mean() for row in distance]
    assert fitted.decision_function(test) == pytest.approx(np.array(expected), abs=1e-6)
    few = make_classifier("knn", k=500).fit(X, y).decision_function(test)
    assert few == pytest.approx(distance[:, y == 0].mean(1) - distance[:, y == 1].mean(1), abs=1e-6)


def test_knn_with_one_neighbour_gives_the_label_of_the_nearest():
    X, y = blobs()
    test, _ = blobs(1, 40)
    nearest = np.argmax(unit(test) @ unit(X).T, axis=1)
    assert (make_classifier("knn", k=1).fit(X, y).predict(test) == y[nearest]).all()


@pytest.mark.parametrize("k", [1, 3, 9])
def test_knn_votes_as_scikit_learns_neighbours_do(k):
    X, y = blobs()
    test, _ = blobs(1, 40)
    theirs = KNeighborsClassifier(k, metric="cosine").fit(X, y)
    scores = make_classifier("knn", k=k, vote=True).fit(X, y).decision_function(test)
    assert scores == pytest.approx(2 * theirs.predict_proba(test)[:, 1] - 1)
    everyone = make_classifier("knn", k=999, vote=True).fit(X[:150], (y[:150] + np.arange(150) // 100).clip(0, 1))
    assert everyone.decision_function(test) == pytest.approx(np.full(40, 1 / 3))


def test_zero_shot_is_the_difference_of_cosines_times_the_logit_scale():
    X, y = blobs()
    text = np.random.default_rng(2).normal(size=(2, 10))
    fitted = make_classifier("zero-shot", scale=100.0).fit(X, y, text_features=text)
    cosine = unit(X) @ unit(text).T
    assert fitted.decision_function(X) == pytest.approx(100 * (cosine[:, 1] - cosine[:, 0]))
    with pytest.raises(FitError, match="text tower"):
        make_classifier("zero-shot").fit(X, y)
    with pytest.raises(FitError, match="whole embedding"):
        make_classifier("zero-shot").fit(X, y, text_features=text[:, :4])


def test_prompts_are_averaged_as_unit_vectors():
    table = {"a": [3.0, 0.0], "b": [0.0, 9.0], "c": [-2.0, 0.0]}
    features = prompt_features(lambda texts: np.array([table[t] for t in texts]), ["a", "b"], ["c"])
    assert features == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))


def test_tip_adapter_is_the_formula_of_the_report():
    X, y = blobs()
    test, _ = blobs(1, 30)
    text = np.random.default_rng(2).normal(size=(2, 10))
    params = {"shots": 8, "alpha": 3.0, "beta": 4.0, "scale": 7.0}
    fitted = make_classifier("tip-adapter", **params).fit(X, y, text_features=text)
    F, f = fitted.keys_, unit(test)
    assert F.shape == (16, 10)
    assert all(np.isclose(unit(X[y == 1]), key).all(axis=1).any() for key in F[:8])
    assert all(np.isclose(unit(X[y == 0]), key).all(axis=1).any() for key in F[8:])
    L = np.repeat([[1.0, 0.0], [0.0, 1.0]], 8, axis=0)  # fake, real
    W = unit(text)[::-1]
    logits = 3.0 * np.exp(-4.0 * (1 - f @ F.T)) @ L + 7.0 * f @ W.T
    assert fitted.decision_function(test) == pytest.approx(logits[:, 0] - logits[:, 1])


def test_tip_adapter_with_alpha_0_is_zero_shot():
    X, y = blobs()
    text = np.random.default_rng(2).normal(size=(2, 10))
    adapter = make_classifier("tip-adapter", alpha=0.0).fit(X, y, text_features=text)
    words = make_classifier("zero-shot").fit(X, y, text_features=text)
    assert adapter.decision_function(X) == pytest.approx(words.decision_function(X))


def test_tip_adapter_f_lowers_the_loss_and_0_epochs_change_nothing():
    X, y = blobs(shift=0.5)
    plain = make_classifier("tip-adapter", shots=20).fit(X, y)
    same = make_classifier("tip-adapter-f", shots=20, epochs=0).fit(X, y)
    tuned = make_classifier("tip-adapter-f", shots=20, epochs=60).fit(X, y)

    def loss(model):
        return np.logaddexp(0, -(2 * y - 1) * model.decision_function(X)).mean()

    assert loss(same) == pytest.approx(loss(plain), rel=1e-4)
    assert loss(tuned) < 0.8 * loss(plain)


def test_linear_bce_comes_near_unpenalised_logistic_regression():
    X, y = blobs(shift=0.7)
    trained = make_classifier("linear-bce", epochs=400, learning_rate=0.02, batch_size=200, weight_decay=0.0).fit(X, y)
    exact = make_classifier("logistic", C=1e6).fit(X, y)
    assert trained.coef_ == pytest.approx(exact.coef_, abs=0.05)


def test_mlp_with_two_logits_scores_their_difference():
    """TIDY, section 4.1."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(600, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    mlp = make_classifier("mlp", logits=2, hidden=32, learning_rate=0.01, batch_size=32).fit(X, y)
    assert mlp.weights2_.shape == (32, 2) and (mlp.predict(X) == y).mean() > 0.93
    assert np.allclose(mlp.decision_function(X), mlp._logits(X) @ [-1, 1])
    with pytest.raises(FitError, match="1 or 2 logits"):
        make_classifier("mlp", logits=3).fit(X, y)


def test_mlp_learns_what_no_linear_probe_can():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    mlp = make_classifier("mlp", hidden=32, learning_rate=0.01, batch_size=32).fit(X, y)
    assert (mlp.predict(X) == y).mean() > 0.93
    assert (make_classifier("logistic").fit(X, y).predict(X) == y).mean() < 0.65


def test_fitting_leaves_torchs_random_state_alone():
    import torch

    X, y = blobs()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = make_classifier("mlp", epochs=2).fit(X, y).decision_function(X)
    assert torch.equal(torch.rand(3), expected)
    other = make_classifier("mlp", epochs=2, random_state=1).fit(X, y).decision_function(X)
    assert not np.allclose(first, other)


def three_generators(seed=0):
    rng = np.random.default_rng(seed)
    names = np.repeat(["real", "gan", "sd1", "sd2"], 60)
    X = rng.normal(size=(240, 6)) * 0.5
    for i, name in enumerate(["gan", "sd1", "sd2"]):
        X[names == name, i] += 2.5
    return X, names


def test_svm_of_few_images_finds_the_same_optimum_in_their_span():
    from aigiscan.classifiers.svm import fit_linear_svm

    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(30, 100)), np.arange(30) % 2
    weight = rng.uniform(0.5, 2, 30)
    coef, intercept, _ = fit_linear_svm(Z, y, weight, C=0.1, max_iter=5000, tol=1e-9)
    direct = LinearSVC(C=0.1, dual=False, intercept_scaling=10.0, max_iter=5000, tol=1e-9).fit(
        Z, y, sample_weight=weight
    )
    assert coef == pytest.approx(direct.coef_[0], abs=1e-6)
    assert intercept == pytest.approx(direct.intercept_[0], abs=1e-6)


def test_multiclass_svm_votes_as_scikit_learns_one_versus_one():
    X, names = three_generators()
    fitted = make_classifier("multiclass-svm", C=1.0, standardize=False).fit(X, names)
    assert fitted.generators_.tolist() == ["real", "gan", "sd1", "sd2"]
    # scikit-learn sorts names: "real" is second there
    reference = OneVsOneClassifier(LinearSVC(dual=False, intercept_scaling=10.0)).fit(X, names)
    order = [list(reference.classes_).index(name) for name in fitted.generators_]
    assert fitted.class_scores(X) == pytest.approx(reference.decision_function(X)[:, order], abs=1e-2)
    assert (fitted.predict_generator(X) == reference.predict(X)).mean() > 0.99


@pytest.mark.parametrize("name", ["multiclass-svm", "multiclass-mlp"])
def test_multiclass_attributes_and_detects(name):
    fast = {"epochs": 20, "hidden": 32, "batch_size": 32, "learning_rate": 0.01} if name.endswith("mlp") else {}
    X, names = three_generators()
    fitted = make_classifier(name, **fast).fit(X, names)
    new, truth = three_generators(1)
    assert (fitted.predict_generator(new) == truth).mean() > 0.9
    assert roc_auc_score(truth != "real", fitted.decision_function(new)) > 0.95
    assert ((fitted.predict_generator(new) != "real") == (fitted.decision_function(new) > 0)).mean() > 0.97
    families = {"sd1": "diffusion", "sd2": "diffusion"}
    grouped = make_classifier(name, families=families, **fast).fit(X, names)
    assert grouped.generators_.tolist() == ["real", "diffusion", "other"]
    assert (grouped.predict_generator(new)[truth == "gan"] == "other").mean() > 0.9
    with pytest.raises(FitError, match="names"):
        make_classifier(name).fit(X, (names != "real").astype(int))


def test_family_maps(tmp_path):
    good = tmp_path / "good.yaml"
    good.write_text("sd1: diffusion\n2: gan\n")
    assert load_families(good) == {"sd1": "diffusion", "2": "gan"}
    for text in ("- a\n- b\n", "a: [b]\n", "real: gan\n", "a: real\n", "a: b: c\n"):
        bad = tmp_path / "bad.yaml"
        bad.write_text(text)
        with pytest.raises(InputError):
            load_families(bad)
    with pytest.raises(InputError):
        load_families(tmp_path / "missing.yaml")


def test_stacking_weighs_the_better_detector_more_and_takes_probabilities_alone():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 200)
    good, poor = (1 / (1 + np.exp(-(s * (2 * y - 1) + rng.normal(size=400)))) for s in (1.5, 0.2))
    fitted = make_classifier("stacking").fit(np.column_stack([good, poor]), y)
    assert fitted.coef_[0, 0] > 3 * abs(fitted.coef_[0, 1])
    certain = fitted.decision_function([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(certain).all()
    with pytest.raises(FitError, match="probabilities"):
        make_classifier("stacking").fit(np.column_stack([good, poor]) * 2, y)


def pairs(seed, n=80, d=8):
    """The content of a pair is far larger than what tells fake from real (column 1)."""
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(n, d)) * 5
    real = content + rng.normal(size=(n, d)) * 0.3
    fake = content + rng.normal(size=(n, d)) * 0.3
    fake[:, 1] += 1.0
    return np.concatenate([real, fake]), np.repeat([0, 1], n), np.tile([f"p{i}" for i in range(n)], 2)


def test_pairs_find_the_direction_that_content_hides():
    X, y, groups = pairs(0)
    fitted = make_classifier("pairs").fit(X, y, groups=groups)
    w = np.abs(fitted.coef_[0])
    assert w[1] > 5 * np.delete(w, 1).max()
    assert np.argmax(w) == 1
    test, _, _ = pairs(1)
    scores = fitted.decision_function(test)
    assert (scores[80:] > scores[:80]).mean() > 0.95
    with pytest.raises(FitError, match="group"):
        make_classifier("pairs").fit(X, y, groups=np.arange(len(y)).astype(str))


def test_pair_rows_are_all_pairs_of_a_group():
    labels = np.array([0, 1, 1, 0, 1, 0, 0])
    groups = np.array(["a", "a", "a", "b", "", "", "c"])
    real, fake = pair_rows(labels, groups)
    assert list(zip(real.tolist(), fake.tolist(), strict=True)) == [(0, 1), (0, 2)]
    assert paired_images(labels, groups).tolist() == [True, True, True, False, False, False, False]
    assert not paired_images(labels, [""] * 7).any()


def test_paper_grid_is_the_appendix_and_the_best_of_it():
    assert len(PAPER_SOLVERS) * len(PAPER_C) * len(PAPER_MAX_ITER) == 96
    X, y = blobs(n=120, d=4, shift=0.6)
    validation = np.arange(120) % 3 == 0
    grid = {"Cs": (0.001, 0.1, 10.0), "max_iters": (10, 100)}
    fitted, points = fit_grid(X, y, validation, **grid)
    assert len(points) == 2 * 3 * 2
    assert max(p.accuracy for p in points) == pytest.approx(
        max(
            np.mean(
                LogisticRegression(C=C, solver=s, max_iter=1000, random_state=0)
                .fit(X[~validation], y[~validation])
                .predict(X[validation])
                == y[validation]
            )
            for s in ("lbfgs", "saga")
            for C in grid["Cs"]
        )
    )
    again = make_classifier(
        "logistic", C=fitted.C, solver=fitted.solver, max_iter=fitted.max_iter, standardize=False
    ).fit(X, y)
    assert np.array_equal(fitted.coef_, again.coef_)  # refitted on training and validation rows
    with pytest.raises(FitError, match="both classes"):
        fit_grid(X, y, y == 1)


def test_paper_grid_skips_only_what_would_be_the_same():
    X, y = blobs(n=120, d=4, shift=0.6)
    _, points = fit_grid(X, y, np.arange(120) % 3 == 0, solvers=("saga",), Cs=(1.0,), max_iters=(5, 500, 5000))
    short, enough, more = points
    assert (short.iterations, enough.accuracy) == (5, more.accuracy)
    assert enough.iterations == more.iterations < 500
    assert short.log_loss != enough.log_loss


def one_column(column, seed, n=200):
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], n // 2)
    X = rng.normal(size=(n, 6)) * 0.5
    X[:, 0] += 1.5
    X[:, column] += 1.5 * (2 * y - 1)
    return X, y


@pytest.mark.parametrize("name", ["logistic", "knn"])
def test_continued_training_learns_the_second_and_keeps_the_first(name):
    first = make_classifier(name).fit(*one_column(2, 0))
    before = first.decision_function(np.eye(6))
    further = fit_from(first, *one_column(4, 1))
    for column in (2, 4):
        X, y = one_column(column, 2)
        assert roc_auc_score(y, further.decision_function(X)) > 0.7
    X, y = one_column(4, 3)
    assert roc_auc_score(y, first.decision_function(X)) < 0.75
    assert np.array_equal(before, first.decision_function(np.eye(6)))  # a copy went on


@pytest.mark.parametrize("name", ["mlp", "linear-bce", "tip-adapter-f"])
def test_continued_gradient_training_starts_where_the_first_ended(name):
    params = {"epochs": 10, "learning_rate": 0.02, "batch_size": 32}
    first = make_classifier(name, **params).fit(*one_column(2, 0))
    X, y = one_column(4, 1)
    learned = fit_from(first, X, y)
    assert roc_auc_score(y, learned.decision_function(X)) > 0.95
    assert roc_auc_score(y, first.decision_function(X)) < 0.75
    first.epochs, first.learning_rate = 1, 1e-5
    assert fit_from(first, X, y).decision_function(X) == pytest.approx(first.decision_function(X), abs=0.05)


def test_continued_training_refuses_what_it_cannot():
    X, y = blobs()
    with pytest.raises(FitError, match="together"):
        fit_from(make_classifier("svm").fit(X, y), X, y)
    with pytest.raises(FitError, match="together"):
        fit_from(make_classifier("multiclass-mlp", epochs=1).fit(*three_generators()), X, y)
    fitted = make_classifier("logistic").fit(X, y)
    with pytest.raises(FitError, match="labels"):
        fit_from(fitted, X, y + 1)
    with pytest.raises(FitError):
        fit_from(fitted, X[:, :3], y)


def test_continued_logistic_stays_near_its_weights_where_the_penalty_is_strong():
    X, y = blobs()
    first = make_classifier("logistic", C=1e-7).fit(X, y)
    first.C = 1e-7
    other, labels = blobs(4, shift=-1.0)
    assert fit_from(first, other, labels).coef_ == pytest.approx(first.coef_, abs=1e-3)
    first.C = 10.0
    assert fit_from(first, other, labels).coef_[0, 2] < 0
