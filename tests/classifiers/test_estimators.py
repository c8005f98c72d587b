"""scikit-learn's own checks, where they apply."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from aigiscan.classifiers import make_classifier

#: zero-shot (needs words), pairs (needs groups), stacking (probabilities) and the multi-class ones (names as labels,
#: a binary score) do not take the data these checks make
ESTIMATORS: dict[str, dict] = {
    "logistic": {},
    "residual": {},
    "svm": {},
    "knn": {"k": 3},
    "mlp": {"hidden": 8, "epochs": 8, "batch_size": 16, "learning_rate": 0.03},
    "linear-bce": {"epochs": 8, "batch_size": 16, "learning_rate": 0.1},
    "tip-adapter": {"shots": 10},
    "tip-adapter-f": {"shots": 10, "epochs": 4, "batch_size": 16},
}


#: A weight of 2 is not the same as an image given twice where images are drawn at random or in batches, or are kept as
#: neighbours; that a weight of 0 leaves an image out holds for all (test_registry.py).
BY_DESIGN = {
    "check_sample_weight_equivalence_on_dense_data": "images are drawn, shuffled into batches, or kept as neighbours"
}
EXACT_WEIGHTS = ("LogisticClassifier", "ResidualClassifier", "SVMClassifier")


def expected_failures(estimator):
    return {} if type(estimator).__name__ in EXACT_WEIGHTS else BY_DESIGN


@parametrize_with_checks(
    [make_classifier(name, **params) for name, params in ESTIMATORS.items()], expected_failed_checks=expected_failures
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)
