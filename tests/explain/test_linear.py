from __future__ import annotations

import numpy as np
import pytest

from aigiscan.errors import DetectorError
from aigiscan.explain.linear import linear_form


class Scores:
    """A classifier that is nothing but its score function."""

    def __init__(self, score) -> None:
        self.decision_function = score


def test_stated_weights_with_folded_scaling_are_exact() -> None:
    from aigiscan.classifiers import make_classifier

    rng = np.random.default_rng(0)
    X = rng.normal(5, [1, 10, 0.1, 1000], size=(80, 4))
    y = (X[:, 0] + rng.normal(size=80) > 5).astype(int)
    classifier = make_classifier("logistic", standardize=True).fit(X, y)
    form = linear_form(classifier, 4)
    assert not form.normalized
    np.testing.assert_allclose(form.score(X), classifier.decision_function(X), rtol=1e-10, atol=1e-9)


def test_measured_weights() -> None:
    rng = np.random.default_rng(1)
    w, direction = rng.normal(size=6), rng.normal(size=6)
    X = rng.normal(size=(20, 6))
    one_feature = linear_form(Scores(lambda X: 3 * (X @ direction) - 0.7), 6)
    np.testing.assert_allclose(one_feature.weights, 3 * direction, atol=1e-12)
    assert one_feature.intercept == pytest.approx(-0.7)
    cosine = linear_form(Scores(lambda X: X @ w / np.linalg.norm(X, axis=1) + 2), 6)
    assert cosine.normalized
    np.testing.assert_allclose(cosine.score(X), X @ w / np.linalg.norm(X, axis=1) + 2, atol=1e-12)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_residual_in_all_its_forms(cosine: bool, standardize: bool) -> None:
    from aigiscan.classifiers import make_classifier

    rng = np.random.default_rng(2)
    X = rng.normal(2, [1, 10, 0.1, 3], size=(80, 4))
    y = np.arange(80) % 2
    X[y == 1] += [0.5, -4, 0, 1]
    classifier = make_classifier("residual", cosine=cosine, standardize=standardize).fit(X, y)
    form = linear_form(classifier, 4)
    assert form.normalized == cosine
    np.testing.assert_allclose(form.score(X), classifier.decision_function(X), rtol=1e-9, atol=1e-9)


def test_zero_shot_is_a_cosine() -> None:
    from aigiscan.classifiers import make_classifier

    rng = np.random.default_rng(3)
    X, text = rng.normal(size=(10, 5)), rng.normal(size=(2, 5))
    classifier = make_classifier("zero-shot").fit(X, np.arange(10) % 2, text_features=text)
    form = linear_form(classifier, 5)
    assert form.normalized
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    np.testing.assert_allclose(form.weights, 100 * (unit[1] - unit[0]), atol=1e-9)


@pytest.mark.parametrize("name", ["svm", "linear-bce"])
def test_linear_classifiers_of_the_registry(name: str) -> None:
    from aigiscan.classifiers import make_classifier

    rng = np.random.default_rng(4)
    X = rng.normal(3, 2, size=(60, 5))
    y = (X[:, 0] > 3).astype(int)
    classifier = make_classifier(name).fit(X, y)
    np.testing.assert_allclose(linear_form(classifier, 5).score(X), classifier.decision_function(X), rtol=1e-6)


@pytest.mark.parametrize(
    "score",
    [lambda X: np.abs(X).sum(axis=1), lambda X: np.tanh(X @ np.ones(5)), lambda X: X[:, 0] * X[:, 1]],
)
def test_what_is_not_linear_is_refused(score) -> None:
    with pytest.raises(DetectorError, match="not linear"):
        linear_form(Scores(score), 5)


def test_a_stated_form_is_checked_against_the_scores() -> None:
    lying = Scores(lambda X: np.square(X).sum(axis=1))
    lying.coef_, lying.intercept_ = np.ones((1, 5)), np.zeros(1)
    with pytest.raises(DetectorError, match="not linear"):
        linear_form(lying, 5)
