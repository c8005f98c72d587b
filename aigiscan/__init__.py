"""aigiscan tells photographs from AI-generated images and says how sure it is, and why.

The names a program needs: :class:`Detector` (``load``, ``scan``, ``save``), :func:`fit`, :class:`EmbeddingStore`, and
:mod:`aigiscan.api` with one call for each command. They are imported when they are first used, so that
``import aigiscan`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aigiscan import api
    from aigiscan.detector.detector import Detector
    from aigiscan.detector.fit import FitResult, FitSettings, fit
    from aigiscan.detector.table import FitTable
    from aigiscan.detector.verdict import Verdict
    from aigiscan.store import EmbeddingStore

__all__ = ["Detector", "EmbeddingStore", "FitResult", "FitSettings", "FitTable", "Verdict", "__version__", "api", "fit"]

_HOMES = {
    "Detector": "aigiscan.detector.detector",
    "EmbeddingStore": "aigiscan.store",
    "FitResult": "aigiscan.detector.fit",
    "FitSettings": "aigiscan.detector.fit",
    "FitTable": "aigiscan.detector.table",
    "Verdict": "aigiscan.detector.verdict",
    "fit": "aigiscan.detector.fit",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "api":
        return import_module("aigiscan.api")
    if name not in _HOMES:
        raise AttributeError(f"module 'aigiscan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
