"""The explanation of one image, as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aigiscan.explain.companions import CompanionReading
from aigiscan.explain.neighbours import Neighbour
from aigiscan.explain.windows import WindowScores
from aigiscan.text import printable


@dataclass(frozen=True, slots=True)
class HeadReading:
    """One attention head: what it added to the score, and the phrases nearest to what it wrote for this image."""

    layer: int
    head: int
    contribution: float
    phrases: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """Why an image has its score.

    logit: the score; higher = more likely AI-generated. parts: name → signed contribution; they sum to ``logit``
    (``head:L:H``, ``mlp:L``, ``bias:L``, ``class-token``, … for a transformer whose direction is known; one number per
    group of columns else; ``intercept`` always). patches: (rows, columns), contribution of each patch of the picture
    through all heads; None where that has no meaning. class_token_share: what the heads took from the class token
    itself (with ``patches`` the sum of all heads). windows: where there are no patches, the scores of windows. picture:
    RGB uint8 (h, w, 3): what the encoder saw, of which the patches are the tiles, or the whole picture, made small.
    companions: the caption, the objects and what each added; None for other detectors. neighbours: ``real`` and
    ``fake`` → nearest known images; None without a store. missing: part → why there is none. error: why the image could
    not be judged (everything else is empty then).
    """

    path: str
    logit: float = float("nan")
    p_ai: float = float("nan")
    verdict: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    heads: Sequence[HeadReading] = ()
    patches: np.ndarray | None = None
    class_token_share: float | None = None
    windows: WindowScores | None = None
    picture: np.ndarray | None = None
    neighbours: Mapping[str, Sequence[Neighbour]] | None = None
    companions: CompanionReading | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def sum_of_parts(self) -> float:
        """Σ parts: equal to ``logit`` up to float rounding."""
        return float(sum(self.parts.values()))

    def to_json(self) -> dict[str, Any]:
        """Plain values with the keys that docs/explain.md lists; undecodable file names as ``\\xNN``."""
        path = printable(self.path)
        if self.error:
            return {"path": path, "error": self.error}
        neighbours = None
        if self.neighbours is not None:
            neighbours = {
                side: [
                    {"path": printable(n.path), "similarity": round(n.similarity, 6), "generator": n.generator}
                    for n in found
                ]
                for side, found in self.neighbours.items()
            }
        return {
            "path": path,
            "verdict": self.verdict,
            "p_ai": None if math.isnan(self.p_ai) else round(self.p_ai, 4),
            "logit": self.logit,
            "sum_of_parts": self.sum_of_parts,
            "parts": dict(self.parts),
            "heads": [
                {"head": f"{h.layer}:{h.head}", "contribution": h.contribution, "phrases": h.phrases}
                for h in self.heads
            ],
            "patches": None if self.patches is None else [[float(v) for v in row] for row in self.patches],
            "class_token_share": self.class_token_share,
            "windows": None if self.windows is None else self.windows.to_json(),
            "neighbours": neighbours,
            **({} if self.companions is None else self.companions.to_json()),
            "missing": dict(self.missing),
        }
