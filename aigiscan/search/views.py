"""Feature views by name: ``embedding``, ``components:FILE``, ``heads:FILE``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.encoders.fingerprint import compare_fingerprints
from aigiscan.errors import InputError
from aigiscan.features.views import ComponentsView, EmbeddingView, FeatureView, HeadsView
from aigiscan.search.selection import COMPONENTS, Selection, load_selection

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
        return _from_selection(kind, Path(name), fingerprint)
    raise InputError(f"--features {spec} is not known: use {', '.join(KNOWN_VIEWS)}")


def _from_selection(kind: str, path: Path, fingerprint: Mapping[str, Any]) -> FeatureView:
    selection = load_selection(path)
    if selection.kind != kind:
        raise InputError(f"{path} is a selection of {selection.kind}: use --features {selection.kind}:{path}")
    # Neither the treatment of the pictures nor bf16 against fp32 changes what a column or a head is.
    known = {"equalization": "", "precision": ""}
    different = compare_fingerprints({**selection.fingerprint, **known}, {**fingerprint, **known})
    if different:
        raise InputError(f"{path} was made on another encoder: {'; '.join(different)}; make it again on this one")
    if kind == COMPONENTS:
        return ComponentsView(selection.columns, selection.generators)
    return HeadsView(selection.heads, head_factors(selection, fingerprint), selection.generators)


def head_factors(selection: Selection, fingerprint: Mapping[str, Any]) -> np.ndarray:
    """R of the kept heads, (k, d_head, min(d_head, d)): needs the encoder's weights, but runs nothing through it."""
    from aigiscan.search.heads import factors_of

    factors = factors_of(fingerprint)
    return np.stack([factors[layer, head] for layer, head in selection.heads])
