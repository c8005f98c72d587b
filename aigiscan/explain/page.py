"""Explanations as one page: every picture with its score, where it comes from, and the known pictures beside it."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from aigiscan import __version__
from aigiscan.detector.card import of_small
from aigiscan.detector.verdict import VERDICTS
from aigiscan.explain.draw import head_grid, heat_map, largest, object_words, patch_map, side_colour
from aigiscan.explain.explanation import Explanation
from aigiscan.images.thumbnails import Thumbnails
from aigiscan.pages import chunks, data_uri
from aigiscan.pages.listing import listing
from aigiscan.text import printable

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector

#: longer side in pixels of a known picture beside a picture
_NEIGHBOUR_SIDE = 112
#: up to so many explanations stand one below the other; of more there is a list, in which each opens
_IN_FULL = 60


def entry_of(e: Explanation, file: str, side: int) -> dict[str, Any]:
    """What the page shows of one picture, as values that JSON keeps. file: name of its JSON file, beside the page.

    side: longer side in pixels of the picture on the page. Patches are drawn later, when their common scale is known.
    """
    path = printable(e.path)
    made: dict[str, Any] = {"name": Path(path).name, "path": path, "file": file, "error": e.error}
    if e.error:
        return {**made, "verdict": "unreadable"}
    assert e.picture is not None
    grid = head_grid(e.parts)
    heat = heat_map(e, 1.0) if e.patches is None else None
    return {
        **made,
        "verdict": e.verdict,
        "doubt": e.missing.get("verdict", ""),
        "score": e.logit,
        "p_ai": None if math.isnan(e.p_ai) else e.p_ai,
        "picture": data_uri(Thumbnails(side).encode(Image.fromarray(e.picture)), "jpeg"),
        "patches": None if e.patches is None else e.patches.tolist(),
        "heat": None if heat is None else _png(heat),
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
        "neighbours": [
            {
                "side": side,
                "pictures": [
                    {"known": n.path, "name": Path(printable(n.path)).name, "generator": n.generator,
                     "similarity": n.similarity}
                    for n in found
                ],
            }
            for side, found in (e.neighbours or {}).items()
            if found
        ],
        "missing": [item for item in sorted(e.missing.items()) if item[0] != "verdict"],
    }  # fmt: skip


@dataclass
class ExplanationPage:
    """The page of entries that lie elsewhere, most suspicious picture first; only what all need together is held."""

    detector: Detector
    _heads: list[tuple[float, str, str, str]] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    _known: dict[str, int] = field(default_factory=dict)
    _scale: float = 0.0
    _windows: bool = False

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take notice of the next entry."""
        score = -math.inf if entry["error"] else entry["score"]
        self._heads.append((score, entry["name"], entry["verdict"], entry["path"]))
        self._counts[entry["verdict"]] += 1
        if entry["error"]:
            return
        self._missing.update(map(tuple, entry["missing"]))
        if entry["patches"]:
            self._scale = max(self._scale, *(abs(value) for row in entry["patches"] for value in row), 1e-12)
        self._windows |= entry["windows"] is not None
        for row in entry["neighbours"]:
            for near in row["pictures"]:
                self._known.setdefault(near["known"], len(self._known))

    @property
    def scale(self) -> float | None:
        """The contribution of a patch at which colours end, the same for all pictures; None without patches."""
        return self._scale or None

    def html(self, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """The page in pieces. entries: those that were added; each is read once, or twice where there is a list."""
        order = sorted(range(len(self._heads)), key=lambda i: -self._heads[i][0])
        readable = len(order) - self._counts["unreadable"]
        shared = {item for item, count in self._missing.items() if count == readable > 1}
        calibration = self.detector.calibration
        many = len(order) > _IN_FULL
        columns = ("path", "verdict", "p_ai", "score", "note", "error", "thumbnail")
        known = Thumbnails(_NEIGHBOUR_SIDE).of(self._known)
        return chunks(
            "explain.html",
            title=f"Why {self.detector.card.name} judges so",
            detector=self.detector.card.name,
            encoder=self.detector.card.encoder["name"],
            thresholds=[
                (verdict, f"{side} {at:.3g}{more}")
                for verdict, side, at, more in (
                    ("ai", "above", calibration.threshold_ai, of_small(calibration.describe())),
                    ("real", "below", calibration.threshold_real, ""),
                )
                if math.isfinite(at)
            ],
            counts=[(verdict, self._counts[verdict]) for verdict in VERDICTS if self._counts[verdict]],
            contents=[self._heads[i][1:3] for i in order],
            pictures=(self._finished(entries[i], shared) for i in order),
            listing=listing(
                columns,
                ([_value(entries[i], name) for name in columns] for i in order),
                [self._heads[i][3] for i in order],
                judged=True,
            ) if many else None,
            known=[data_uri(data, "jpeg") if data else "" for data in known],
            missing=sorted(shared),
            limits=list(self.detector.card.limits),
            windows=self._windows,
            scale=self.scale,
            version=__version__,
            date=datetime.now(timezone.utc).isoformat(timespec="minutes"),
            command=" ".join(["aigiscan", *sys.argv[1:]]),
        )  # fmt: skip

    def _finished(self, entry: Mapping[str, Any], shared: set[tuple[str, str]]) -> Mapping[str, Any]:
        """The entry with what was known only once all had been seen."""
        if entry["error"]:
            return entry
        heat = _png(patch_map(entry["patches"], self._scale)) if entry["patches"] else entry["heat"]
        rows = [
            {**row, "pictures": [{**near, "number": self._known[near["known"]]} for near in row["pictures"]]}
            for row in entry["neighbours"]
        ]
        missing = [item for item in entry["missing"] if tuple(item) not in shared]
        return {**entry, "heat": heat, "neighbours": rows, "missing": missing}


def _value(entry: Mapping[str, Any], name: str) -> Any:
    """A column of the list."""
    named = {"note": entry.get("doubt") or entry.get("caption", ""), "thumbnail": entry.get("picture", "")}
    return named[name] if name in named else entry.get(name)


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
