"""Parameters checked before anything is embedded: by the type of the default, then by a fit on eight made-up rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.base import REAL_NAME, ProbeClassifier, fit_classifier
from aigiscan.errors import FitError, InputError

_ROWS, _COLUMNS = 8, 3


def checked_classifier(name: str, params: Mapping[str, Any]) -> ProbeClassifier:
    """An unfitted classifier whose parameters can be fitted with; InputError in one line where they cannot."""
    classifier = make_classifier(name, **params)
    for key, default in make_classifier(name).get_params().items():
        wanted = _wrong_type(classifier.get_params()[key], default)
        if wanted:
            raise InputError(f"parameter {key} of {name} must be {wanted}, not {classifier.get_params()[key]!r}")
    label = np.arange(_ROWS) % 2
    X = np.random.default_rng(0).uniform(0.1, 0.9, (_ROWS, _COLUMNS)) + 0.05 * label[:, None]
    target = (
        np.where(label == 1, np.array(["a", "b"])[np.arange(_ROWS) // 4], REAL_NAME) if classifier.multiclass else label
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # eight rows need not converge
            fitted = fit_classifier(
                make_classifier(name, **params), X, target,
                groups=np.arange(_ROWS) // 2, text_features=np.eye(2, _COLUMNS),
            )  # fmt: skip
            fine = np.isfinite(fitted.decision_function(X)).all()
    except FitError:
        raise
    except (ValueError, TypeError, ArithmeticError, IndexError, AttributeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be fitted with these parameters: {' '.join(str(error).split())}") from error
    if not fine:
        raise InputError(f"{name} gives no finite scores with these parameters ({dict(params)})")
    return classifier


def _wrong_type(value: Any, default: Any) -> str:
    """What the value should be, by the default; "" if it is."""
    if default is None or value is None:
        return ""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, (int, float)):
        whole = isinstance(default, int)
        fine = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        return "" if fine else "a whole number" if whole else "a number"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a word"
    texts = isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(item, str) for item in value)
    return "" if texts else "a list of texts, e.g. '[first, second]'"
