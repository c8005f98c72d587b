"""scikit-learn's own checks, where they apply."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from aigiscan.classifiers import make_classifier

ESTIMATORS = {
    "logistic": {},
}


@parametrize_with_checks([make_classifier(name, **params) for name, params in ESTIMATORS.items()])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)
