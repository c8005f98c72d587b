"""Explanations as one page: every picture with its score, where it comes from, and the known pictures beside it."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from aigiscan import __version__
from aigiscan.explain.draw import head_grid, heat_map, largest, object_words, side_colour
from aigiscan.explain.explanation import Explanation
from aigiscan.images.thumbnails import Thumbnails
from aigiscan.pages import data_uri, render
from aigiscan.text import printable, visible

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector

#: longer side in pixels of a picture, and of a known picture beside it
_SIDE, _NEIGHBOUR_SIDE = 320, 112


@dataclass(frozen=True)
class ExplanationPage:
    """What goes on the page. scale: the contribution of a patch at which colours end, the same for all pictures."""

    explanations: Sequence[Explanation]
    detector: Detector
    scale: float = 1.0

    def html(self, files: Sequence[str] = ()) -> str:
        """The page, most suspicious picture first. files: names of the JSON files of the explanations, beside it."""
        shown = list(zip(self.explanations, files or [""] * len(self.explanations), strict=True))
        shown.sort(key=lambda pair: math.inf if pair[0].error else -pair[0].logit)
        readable = [e for e, _ in shown if not e.error]
        missing = Counter(item for e in readable for item in e.missing.items() if item[0] != "verdict")
        shared = {item for item, count in missing.items() if count == len(readable) > 1}
        calibration = self.detector.calibration
        return render(
            "explain.html",
            title=f"Why {self.detector.card.name} judges so",
            detector=self.detector.card.name,
            encoder=self.detector.card.encoder["name"],
            thresholds={
                "ai": f"above {calibration.threshold_ai:.3g}" if math.isfinite(calibration.threshold_ai) else "never",
                "real": f"below {calibration.threshold_real:.3g}"
                if math.isfinite(calibration.threshold_real)
                else "never",
            },
            counts=list(Counter(e.verdict or "unreadable" for e, _ in shown).items()),
            pictures=[self._shown(number, e, file, shared) for number, (e, file) in enumerate(shown)],
            missing=sorted(shared),
            limits=list(self.detector.card.limits),
            windows=any(e.windows is not None for e in readable),
            patches=any(e.patches is not None for e in readable),
            version=__version__,
            date=datetime.now(timezone.utc).isoformat(timespec="minutes"),
            command=visible(" ".join(["aigiscan", *sys.argv[1:]])),
        )

    def _shown(self, number: int, e: Explanation, file: str, shared: set[tuple[str, str]]) -> dict[str, Any]:
        path = printable(e.path)
        made: dict[str, Any] = {"id": f"picture-{number}", "name": Path(path).name, "path": path, "file": file}
        if e.error:
            return {**made, "verdict": "unreadable", "error": e.error}
        assert e.picture is not None
        grid = head_grid(e.parts)
        heat = heat_map(e, self.scale)
        return {
            **made,
            "verdict": e.verdict,
            "error": "",
            "doubt": e.missing.get("verdict", ""),
            "score": e.logit,
            "p_ai": None if math.isnan(e.p_ai) else e.p_ai,
            "picture": data_uri(Thumbnails(_SIDE).encode(Image.fromarray(e.picture)), "jpeg"),
            "heat": None if heat is None else _png(heat),
            "scale": self.scale if e.patches is not None else None,
            "windows": None if e.windows is None else [float(e.windows.scores.min()), float(e.windows.scores.max())],
            "boxes": _boxes(e),
            "caption": "" if e.companions is None else e.companions.caption,
            "parts": _bars(largest(e.parts)),
            "sum": e.sum_of_parts,
            "heads": None if grid is None else {"picture": _png(grid[0]), "limit": grid[1]},
            "words": [
                {
                    "head": f"{h.layer}:{h.head}",
                    "value": h.contribution,
                    "near": "; ".join(w["text"] for w in h.phrases["positive"][:3]),
                    "far": "; ".join(w["text"] for w in h.phrases["negative"][:3]),
                }
                for h in e.heads
                if h.phrases
            ],
            "neighbours": self._neighbours(e),
            "missing": [item for item in sorted(e.missing.items()) if item not in shared and item[0] != "verdict"],
        }

    def _neighbours(self, e: Explanation) -> list[dict[str, Any]]:
        return [
            {
                "side": side,
                "pictures": [
                    {
                        "address": self._known[n.path],
                        "name": Path(printable(n.path)).name,
                        "generator": n.generator,
                        "similarity": n.similarity,
                    }
                    for n in found
                ],
            }
            for side, found in (e.neighbours or {}).items()
            if found
        ]

    @cached_property
    def _known(self) -> Mapping[str, str]:
        """Path of every neighbour → its thumbnail; each file is read once. "" where it is gone."""
        known = (e.neighbours or {} for e in self.explanations)
        paths = list(dict.fromkeys(n.path for sides in known for found in sides.values() for n in found))
        made = Thumbnails(_NEIGHBOUR_SIDE).of(paths)
        return {path: data_uri(data, "jpeg") if data else "" for path, data in zip(paths, made, strict=True)}


def _bars(parts: Mapping[str, float]) -> list[dict[str, Any]]:
    """width: in percent of the largest."""
    most = max([1e-12, *(abs(value) for value in parts.values())])
    return [{"name": name, "value": value, "width": round(100 * abs(value) / most, 1)} for name, value in parts.items()]


def _boxes(e: Explanation) -> list[dict[str, Any]]:
    """Objects in percent of the picture's sides."""
    if e.companions is None or e.picture is None:
        return []
    height, width = e.picture.shape[:2]
    return [
        {
            "left": 100 * o.seen[0] / width,
            "top": 100 * o.seen[1] / height,
            "width": 100 * (o.seen[2] - o.seen[0]) / width,
            "height": 100 * (o.seen[3] - o.seen[1]) / height,
            "words": object_words(o),
            "colour": side_colour(o.contribution),
        }
        for o in e.companions.objects
    ]


def _png(picture: Image.Image) -> str:
    out = BytesIO()
    picture.save(out, "PNG")
    return data_uri(out.getvalue(), "png")
