"""The score of one picture as a sum: of a transformer's parts, of groups of columns, of what a caption added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.explain import companions
from aigiscan.features.discrepancy import DiscrepancyView

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.encoders.base import Encoder
    from aigiscan.explain.directions import Directions
    from aigiscan.explain.look import Look

INTERCEPT = "intercept"


class ScoreParts:
    """Takes scores of one detector apart; exact, nothing is fitted."""

    def __init__(self, detector: Detector, encoder: Encoder, directions: Directions) -> None:
        self._view, self._directions = detector.view, directions
        columns = encoder.columns()
        self._features = Groups(detector.view.columns(columns))
        self._members = {m.position: Groups(columns[m.start : m.stop]) for m in directions.members}

    def of(self, look: Look) -> dict[str, float]:
        """Name → contribution; they sum to the score. Empty where the score is no sum."""
        form = self._directions.form
        if form is None:
            return {}
        weighted = form.columns(look.features[None])[0] * form.weights / look.length
        parts = None
        if look.accompanied is not None and isinstance(self._view, DiscrepancyView):
            parts = companions.parts_of(self._view, look.accompanied, form, look.length)
        if parts is None and self._directions.embedding is not None:
            parts = self._of_embedding(look, self._directions.embedding)
        elif parts is None and self._directions.heads:
            blocks = np.split(weighted, len(self._directions.heads))
            named = zip(self._directions.heads, blocks, strict=True)
            parts = {f"head:{layer}:{head}": float(block.sum()) for (layer, head), block in named}
        elif parts is None:
            parts = self._features.sums(weighted)
        return {**parts, INTERCEPT: form.intercept + form.offset / look.length}

    def _of_embedding(self, look: Look, weights: np.ndarray) -> dict[str, float]:
        several = len(look.decompositions) > 1
        parts: dict[str, float] = {}
        for member in self._directions.members:
            own = weights[member.start : member.stop] / look.length
            if member.position not in look.decompositions:
                values = look.channels["embedding"][member.start : member.stop].astype(np.float64) * own
                parts |= self._members[member.position].sums(values)
                continue
            prefix = f"{member.encoder.name}/" if several else ""
            for name, vectors in look.decompositions[member.position].parts():
                parts[prefix + _plain_name(name, member.encoder)] = float(vectors[0].astype(np.float64) @ own)
        return parts


class Groups:
    """Columns by what made them: ``lite:17`` belongs to ``lite``, ``base:mine`` to itself."""

    def __init__(self, columns: Sequence[str]) -> None:
        names = []
        for column in columns:
            maker, _, number = column.rpartition(":")
            names.append(maker if maker and number.isdigit() else column)
        self._places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        self._of = np.array([self._places[name] for name in names], dtype=np.intp)

    def sums(self, values: np.ndarray) -> dict[str, float]:
        """values (columns,) → sum per group."""
        sums = np.bincount(self._of, values, len(self._places)).tolist()
        return dict(zip(self._places, sums, strict=True))


def _plain_name(name: str, encoder: Encoder) -> str:
    """The decomposition's names in the words of docs/explain.md."""
    if name != "initial":
        return name
    assert isinstance(encoder, OpenClipEncoder)
    averaged = encoder.options.pooling == "mean" or encoder.source.config["vision_cfg"].get("pool_type", "tok") == "avg"
    return "tokens" if averaged else "class_token"
