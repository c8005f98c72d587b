"""Classifiers: matrix → score. Each is one class in one file, registered here by name.

Importing this module imports neither scikit-learn nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.classifiers.base import ProbeClassifier

#: name → "module:class"; adding a classifier is a file and a line here
CLASSIFIERS: dict[str, str] = {
    "logistic": "aigiscan.classifiers.logistic:LogisticClassifier",
    "residual": "aigiscan.classifiers.residual:ResidualClassifier",
    "svm": "aigiscan.classifiers.svm:SVMClassifier",
    "knn": "aigiscan.classifiers.knn:NearestNeighbourClassifier",
    "mlp": "aigiscan.classifiers.neural:MLPClassifier",
    "linear-bce": "aigiscan.classifiers.neural:LinearBCEClassifier",
    "zero-shot": "aigiscan.classifiers.zero_shot:ZeroShotClassifier",
    "tip-adapter": "aigiscan.classifiers.tip_adapter:TipAdapterClassifier",
    "tip-adapter-f": "aigiscan.classifiers.tip_adapter:TipAdapterFClassifier",
    "multiclass-svm": "aigiscan.classifiers.multiclass:MulticlassSVM",
    "multiclass-mlp": "aigiscan.classifiers.multiclass:MulticlassMLP",
    "stacking": "aigiscan.classifiers.stacking:StackingClassifier",
    "pairs": "aigiscan.classifiers.pairs:PairClassifier",
}

#: heads that others have trained: read from their file (:mod:`aigiscan.detector.published`), never fitted here
IMPORTED: dict[str, str] = {"rine": "aigiscan.classifiers.rine:RineHead"}


def classifier_class(name: str) -> type[ProbeClassifier]:
    """The class registered under a name; InputError with the known names if there is none."""
    found = CLASSIFIERS | IMPORTED
    if name not in found:
        raise InputError(f"unknown classifier {name!r}; choose one of {', '.join(CLASSIFIERS)}")
    module, _, attribute = found[name].partition(":")
    return getattr(import_module(module), attribute)


def make_classifier(name: str, **params: Any) -> ProbeClassifier:
    """An unfitted classifier; InputError for an unknown name or parameter."""
    cls = classifier_class(name)
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        known = ", ".join(cls._get_param_names()) or "none"
        raise InputError(f"classifier {name} has no parameter {', '.join(unknown)}; it has: {known}")
    return cls(**params)
