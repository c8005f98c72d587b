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
}


def classifier_class(name: str) -> type[ProbeClassifier]:
    """The class registered under a name; InputError with the known names if there is none."""
    if name not in CLASSIFIERS:
        raise InputError(f"unknown classifier {name!r}; choose one of {', '.join(CLASSIFIERS)}")
    module, _, attribute = CLASSIFIERS[name].partition(":")
    return getattr(import_module(module), attribute)


def make_classifier(name: str, **params: Any) -> ProbeClassifier:
    """An unfitted classifier; InputError for an unknown name or parameter."""
    cls = classifier_class(name)
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        known = ", ".join(cls._get_param_names()) or "none"
        raise InputError(f"classifier {name} has no parameter {', '.join(unknown)}; it has: {known}")
    return cls(**params)
