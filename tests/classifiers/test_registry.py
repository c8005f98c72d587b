"""One contract for every registered classifier."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from aigiscan.classifiers import CLASSIFIERS, classifier_class, make_classifier
from aigiscan.classifiers.base import fit_classifier
from aigiscan.errors import FitError, InputError

#: parameters that keep the tests fast
FAST: dict[str, dict] = {
    "mlp": {"hidden": 32, "epochs": 15, "batch_size": 32},
    "linear-bce": {"learning_rate": 0.03, "epochs": 20, "batch_size": 32},
    "tip-adapter-f": {"shots": 20, "epochs": 10},
    "multiclass-mlp": {"hidden": 32, "epochs": 20, "batch_size": 32},
}


def make(name):
    return make_classifier(name, **FAST.get(name, {}))


def planted(name, seed=0, n=160, d=12):
    """Fakes lie further along the direction of column 3, in which every classifier can see them."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], n // 2)
    X = rng.normal(size=(n, d)) * 0.4
    X[:, 0] += 2.0  # a common cone, as embeddings have
    X[:, 3] += 2.0 * (labels - 0.5)
    extra = {"groups": np.repeat(np.arange(n // 2), 2).astype(str)}
    W = np.zeros((2, d))
    W[0, 3], W[1, 3] = -1.0, 1.0
    extra["text_features"] = W
    if classifier_class(name).multiclass:
        names = np.where(labels == 0, "real", np.where(np.arange(n) % 4 < 2, "gan-é", "diffusion"))
        X[names == "gan-é", 5] += 2.0
        return X, names, labels, extra
    if name == "stacking":
        return 1 / (1 + np.exp(-3 * X[:, [3, 4, 5]])), labels, labels, extra
    return X, labels, labels, extra


@pytest.fixture(params=list(CLASSIFIERS))
def name(request):
    return request.param


def test_fit_and_score_direction(name):
    X, y, _, extra = planted(name)
    fitted = fit_classifier(make(name), X, y, **extra)
    X2, _, labels2, _ = planted(name, seed=1)
    scores = fitted.decision_function(X2)
    assert scores.shape == (len(X2),)
    assert scores.dtype == np.float64
    assert scores[labels2 == 1].mean() > scores[labels2 == 0].mean()
    assert np.mean((scores > 0) == labels2) > 0.9
    share = fitted.predict_proba(X2)
    assert share.shape == (len(X2), 2)
    assert share.sum(axis=1) == pytest.approx(1.0)
    assert ((share[:, 1] > 0.5) == (scores > 0)).all()
    assert (fitted.predict(X2) == (scores > 0)).all()


def test_same_seed_same_scores_and_rows_do_not_influence_each_other(name):
    X, y, _, extra = planted(name)
    first = fit_classifier(make(name), X, y, **extra)
    second = fit_classifier(clone(first), X, y, **extra)
    scores = first.decision_function(X)
    assert np.array_equal(scores, second.decision_function(X))
    alone = np.concatenate([first.decision_function(X[i : i + 1]) for i in range(20)])
    assert alone == pytest.approx(scores[:20], abs=1e-6)


def test_saved_and_loaded_scores_are_equal(name, tmp_path):
    from safetensors.numpy import load_file, save_file

    X, y, _, extra = planted(name)
    fitted = fit_classifier(make(name), X, y, **extra)
    params = json.loads(json.dumps(fitted.get_params()))
    save_file({k: np.ascontiguousarray(v) for k, v in fitted.get_arrays().items()}, tmp_path / "weights.safetensors")
    loaded = make_classifier(name, **params).set_arrays(load_file(tmp_path / "weights.safetensors"))
    assert np.array_equal(loaded.decision_function(X), fitted.decision_function(X))
    if fitted.multiclass:
        assert np.array_equal(loaded.predict_generator(X), fitted.predict_generator(X))
    some = dict(list(fitted.get_arrays().items())[1:])
    with pytest.raises(ValueError, match="lacks"):
        make_classifier(name, **params).set_arrays(some)


def test_nan_one_class_and_wrong_shapes_are_refused(name):
    X, y, labels, extra = planted(name)
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(FitError, match="NaN"):
        fit_classifier(make(name), bad, y, **extra)
    with pytest.raises(FitError, match="class"):
        fit_classifier(make(name), X[labels == 0], y[labels == 0], **{**extra, "groups": extra["groups"][labels == 0]})
    with pytest.raises(FitError):
        fit_classifier(make(name), X, y[:-1], **extra)
    fitted = fit_classifier(make(name), X, y, **extra)
    for wrong in (bad, X[:, :-1], X[0]):
        with pytest.raises(FitError):
            fitted.decision_function(wrong)


def test_images_without_weight_do_not_count(name):
    X, y, labels, extra = planted(name)
    n = len(X)
    flipped = np.where(labels == 1, "real", "gan-é") if classifier_class(name).multiclass else 1 - labels
    both = {**extra, "groups": np.concatenate([extra["groups"], [f"+{g}" for g in extra["groups"]]])}
    weight = np.repeat([1.0, 0.0], n)
    fitted = fit_classifier(
        make(name), np.concatenate([X, X]), np.concatenate([y, flipped]), sample_weight=weight, **both
    )
    assert np.mean((fitted.decision_function(X) > 0) == labels) > 0.9


def test_unknown_names_and_parameters_say_what_exists():
    with pytest.raises(InputError, match="logistic"):
        make_classifier("no-such")
    with pytest.raises(InputError, match="fit_intercept"):
        make_classifier("logistic", bias=False)


def test_registry_imports_neither_scikit_learn_nor_torch():
    code = "import sys, aigiscan.classifiers; sys.exit(bool({'sklearn', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
