"""Feature views: channels → one matrix with named columns. The registry: one line per view, imported when it is used.

A new view is one class in one file and one line here; tests/features holds what every view must do.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aigiscan.errors import DetectorError, InputError

if TYPE_CHECKING:
    import numpy as np

    from aigiscan.features.base import FeatureView

#: kind → "module:class"
VIEWS: dict[str, str] = {
    "embedding": "aigiscan.features.views:EmbeddingView",
    "components": "aigiscan.features.views:ComponentsView",
    "heads": "aigiscan.features.views:HeadsView",
    "layers": "aigiscan.features.layers:LayersView",
    "discrepancy": "aigiscan.features.discrepancy:DiscrepancyView",
    "twins": "aigiscan.features.discrepancy:TwinsView",
}


def view_class(kind: str) -> type[FeatureView]:
    """The class registered under a kind; KeyError if there is none."""
    module, _, name = VIEWS[kind].partition(":")
    found: type[FeatureView] = getattr(import_module(module), name)
    return found


def parse_view(spec: str, fingerprint: Mapping[str, Any]) -> FeatureView:
    """A view from its name on the command line, such as ``embedding`` or ``components:selection.yaml``.

    fingerprint: of the encoder that the features come from; a selection made on another encoder is refused. Raises
    InputError in one line for an unknown name or a file that is not a selection.
    """
    found, argument = _named(spec)
    return found.from_name(argument, fingerprint)


def channels_of(spec: str) -> tuple[str, ...]:
    """The channels that the view of that name needs; nothing is read for it. InputError for an unknown name."""
    found, argument = _named(spec)
    return found.channels_of(argument)


def _named(spec: str) -> tuple[type[FeatureView], str]:
    kind, _, argument = spec.partition(":")
    if kind not in VIEWS:
        raise InputError(f"--features {spec} is not known: use {', '.join(view_class(kind).usage for kind in VIEWS)}")
    return view_class(kind), argument


def view_from_saved(params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> FeatureView:
    """Inverse of :meth:`FeatureView.params` and :meth:`FeatureView.arrays`."""
    kind = params.get("kind")
    if kind not in VIEWS:
        raise DetectorError(f"feature view {kind!r} is not known to this version of aigiscan; update aigiscan")
    return view_class(str(kind)).from_saved(params, arrays)
