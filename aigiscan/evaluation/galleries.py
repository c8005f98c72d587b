"""Galleries of a detector's most confident rights and wrongs (Gaintseva et al., table 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.files import write_json
from aigiscan.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image

#: pixels: side of one picture on the sheet
_TILE = 128


@dataclass(frozen=True, slots=True)
class Gallery:
    """Row numbers, most confident first: what was right and wrong on either side of the threshold."""

    real_right: list[int]
    real_wrong: list[int]
    fake_right: list[int]
    fake_wrong: list[int]

    def cells(self) -> dict[str, list[int]]:
        """Name → row numbers, in the order of the sheet."""
        return {
            "real, taken as real": self.real_right,
            "real, taken as AI-generated": self.real_wrong,
            "AI-generated, found": self.fake_right,
            "AI-generated, missed": self.fake_wrong,
        }


def pick(scores: np.ndarray, labels: np.ndarray, *, threshold: float = 0.0, count: int = 8) -> Gallery:
    """The ``count`` rows farthest from ``threshold`` in each of the four cells.

    scores (n,): higher = more likely AI-generated; at or above the threshold counts as AI-generated. labels (n,): 0
    real, 1 fake; other values are left out. Ties go to the lower row number.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)

    def chosen(mask: np.ndarray, sign: float) -> list[int]:
        rows = np.flatnonzero(mask)
        return rows[np.argsort(-sign * scores[rows], kind="stable")[:count]].tolist()

    real, fake, flagged = labels == 0, labels == 1, scores >= threshold
    return Gallery(
        chosen(real & ~flagged, -1), chosen(real & flagged, 1), chosen(fake & flagged, 1), chosen(fake & ~flagged, -1)
    )


def write_gallery(
    out: Path,
    gallery: Gallery,
    paths: Sequence[str] | np.ndarray,
    scores: np.ndarray,
    *,
    generators: Sequence[str] | np.ndarray | None = None,
    name: str = "gallery",
    open_image: Callable[[str], Image | None] | None = None,
) -> dict[str, Any]:
    """Write ``NAME.png`` (contact sheet, one row of pictures per cell) and ``NAME.json``; return the JSON.

    JSON: cell → list of ``{path, score, generator}``, most confident first. open_image: path → RGB picture or None (a
    missing file leaves a grey tile); by default files are decoded as ``scan`` does.
    """
    from PIL import Image, ImageDraw, ImageOps

    out.mkdir(parents=True, exist_ok=True)
    opener = open_image or _decode
    cells = gallery.cells()
    across = max((len(rows) for rows in cells.values()), default=0) or 1
    caption, gap = 14, 4
    height = len(cells) * (_TILE + 2 * caption + gap)
    sheet = Image.new("RGB", (across * (_TILE + gap) + gap, height), "white")
    draw = ImageDraw.Draw(sheet)
    result: dict[str, Any] = {}
    for line, (title, rows) in enumerate(cells.items()):
        top = line * (_TILE + 2 * caption + gap)
        draw.text((gap, top + 1), title if rows else f"{title}: none", fill="black")
        result[title] = []
        for k, row in enumerate(rows):
            left = gap + k * (_TILE + gap)
            image = opener(str(paths[row]))
            tile = (
                Image.new("RGB", (_TILE, _TILE), "lightgrey") if image is None else ImageOps.fit(image, (_TILE, _TILE))
            )
            sheet.paste(tile, (left, top + caption))
            generator = "" if generators is None else str(generators[row])
            text = f"{float(scores[row]):+.2f} {generator}"
            draw.text((left, top + caption + _TILE), text[:20], fill="black")
            result[title].append(
                {"path": printable(str(paths[row])), "score": float(scores[row]), "generator": generator}
            )
    sheet.save(out / f"{name}.png")
    write_json(out / f"{name}.json", result)
    return result


def _decode(path: str) -> Image | None:
    from aigiscan.images.decode import decode
    from aigiscan.images.records import ImageRecord

    return decode(ImageRecord(path)).pixels
