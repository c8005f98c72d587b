"""Feature views by name: ``embedding``, ``components:FILE``, ``heads:FILE``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigiscan.errors import InputError
from aigiscan.features.views import EmbeddingView, FeatureView

KNOWN_VIEWS = ("embedding", "components:SELECTION.yaml", "heads:HEADS.yaml")


def parse_view(spec: str, fingerprint: Mapping[str, Any]) -> FeatureView:
    """A view from its name on the command line.

    fingerprint: of the encoder that the features come from; a selection made on another encoder is refused. Raises
    InputError in one line for an unknown name or a file that is not a selection.
    """
    kind, _, name = spec.partition(":")
    if kind == "embedding" and not name:
        return EmbeddingView()
    if kind in ("components", "heads") and name:
        from aigiscan.search.views import view_from_selection

        return view_from_selection(kind, Path(name), fingerprint)
    raise InputError(f"--features {spec} is not known: use {', '.join(KNOWN_VIEWS)}")
