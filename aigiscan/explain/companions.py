"""What a caption and each object added to the score of a discrepancy detector, and the words beside either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.features.discrepancy import DiscrepancyView

if TYPE_CHECKING:
    from aigiscan.encoders.companions import Accompanied, Look
    from aigiscan.explain.linear import LinearForm
    from aigiscan.explain.words import WordList

#: modes of the view whose score is a sum over the caption and the objects
_DISTANCES = ("global", "local", "both")


@dataclass(frozen=True, slots=True)
class ObjectReading:
    """One object. box: in the file's upright pixels; seen: in those of the picture that is drawn. contribution: to the
    score; None where the score is no sum over the objects."""

    phrase: str
    box: tuple[float, ...]
    seen: tuple[float, ...]
    contribution: float | None


@dataclass(frozen=True, slots=True)
class CompanionReading:
    """caption, objects: as the detector took them. nearest: ``image`` and ``text`` → phrases nearest to and farthest
    from that side's embedding; empty without phrases."""

    caption: str
    objects: Sequence[ObjectReading]
    nearest: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values with the keys that docs/explain.md lists."""
        objects = [
            {"phrase": o.phrase, "box": [round(x, 2) for x in o.box], "contribution": o.contribution}
            for o in self.objects
        ]
        return {"caption": self.caption, "objects": objects, "nearest": dict(self.nearest)}


def object_part(number: int) -> str:
    """The name of an object's part of the score."""
    return f"object:{number}"


def parts_of(view: DiscrepancyView, look: Look, form: LinearForm, length: float) -> dict[str, float] | None:
    """``caption`` and ``object:0``, ``object:1``, … → what each added to a linear score; exact (TIDY, equations 3–6).

    length: what the form divides the weighted sum by. None where the view is no sum over them (``text``, ``image``).
    """
    if view.mode not in _DISTANCES:
        return None
    image, text = (look.image, look.text) if view.raw else (_unit(look.image), _unit(look.text))
    whole = np.abs(image - text)
    objects = look.locals(raw=view.raw) if view.mode != "global" else np.zeros((0, len(whole)))
    share_whole = {"global": 1.0, "local": 0.0 if len(objects) else 1.0, "both": view.w1}[view.mode]
    share_object = (view.w2 if view.mode == "both" else 1.0) / max(len(objects), 1)
    weights = form.weights / length
    parts = {"caption": share_whole * float(whole.astype(np.float64) @ weights)} if share_whole else {}
    values = share_object * (objects.astype(np.float64) @ weights)
    return parts | {object_part(i): float(value) for i, value in enumerate(values)}


def reading_of(
    prepared: Accompanied, look: Look, parts: Mapping[str, float], phrases: WordList | None, top: int
) -> CompanionReading:
    """The caption, the objects with their parts, and the words nearest to both sides of the comparison."""
    objects = [
        ObjectReading(region.phrase, prepared.frame.origin(region.box), region.box, parts.get(object_part(i)))
        for i, region in enumerate(look.regions)
    ]
    nearest = {}
    if phrases is not None:
        nearest = {"image": phrases.ends(look.image, top)}
        if look.caption:
            nearest["text"] = phrases.ends(look.text, top)
    return CompanionReading(look.caption, objects, nearest)


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), np.finfo(np.float32).tiny))
