"""Explanations as pictures: bars of words, heat maps over the image, the grid of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.explain.companions import ObjectReading
from aigiscan.explain.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

#: colours of the two directions, the same in every drawing: red towards AI-generated, blue towards real
FAKE_COLOUR, REAL_COLOUR = "#b2182b", "#2166ac"
#: parts that get a bar of their own; the others share one
_BARS = 14


def plain(text: str) -> str:
    """Text that the default font can draw: what is beyond Latin letters is written as its code point."""
    return "".join(c if (c.isprintable() and ord(c) < 0x250) or c in "“”–…\n" else f"\\u{ord(c):04x}" for c in text)


def draw_words(path: Path, words: Mapping[str, Any], title: str) -> None:
    """Bars of the nearest and farthest phrases and tokens of one direction, as a PNG; there must be some."""
    from matplotlib.figure import Figure

    names = [name for name in ("phrases", "tokens") if words.get(name, {}).get("positive")]
    figure = Figure(figsize=(6.5 * len(names), 6.5), layout="constrained")
    figure.suptitle(plain(title))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        entries = [*words[name]["positive"], *reversed(words[name]["negative"])]
        labels = [plain(e["text"]) + ("-" if e.get("kind") == "sub-word" else "") for e in entries]
        _bars(axes, labels, [e["cosine"] for e in entries])
        axes.set_title(f"{name}: nearest above, farthest below")
        axes.set_xlabel("cosine similarity with the weights (right: AI-generated)")
    figure.savefig(path, dpi=110)


def heat_map(explanation: Explanation, scale: float) -> Image | None:
    """What a place adds as an RGBA picture of one pixel per patch or cell, to be laid over the picture; None for none.

    Red is towards AI-generated, blue towards real; what adds little is transparent. scale: the contribution of a patch
    at which colours end; give the same for all images of a run so that they can be compared. Cells of windows are shown
    against the mean of the picture, because their scores have no common zero.
    """
    from PIL import Image as images

    if explanation.patches is not None:
        return patch_map(explanation.patches, scale)
    if explanation.windows is not None:
        cells = explanation.windows.cells()
        values = cells - cells.mean()
        values = values / max(float(np.abs(values).max()), 1e-12)
    else:
        return None
    return images.fromarray(_colours(values, 0.1), "RGBA")


def patch_map(patches: Sequence[Sequence[float]] | np.ndarray, scale: float) -> Image:
    """Contributions of patches (rows, columns) as a picture of one pixel each; scale: as in :func:`heat_map`."""
    from PIL import Image as images

    return images.fromarray(_colours(np.asarray(patches) / scale, 0.1), "RGBA")


def head_grid(parts: Mapping[str, float]) -> tuple[Image, float] | None:
    """(one pixel per head, layers downwards; the contribution at which colours end); None without heads."""
    from PIL import Image as images

    heads = {tuple(map(int, name.split(":")[1:])): v for name, v in parts.items() if name.startswith("head:")}
    if not heads:
        return None
    values = np.zeros((1 + max(layer for layer, _ in heads), 1 + max(head for _, head in heads)))
    for (layer, head), value in heads.items():
        values[layer, head] = value
    limit = max(float(np.abs(values).max()), 1e-12)
    return images.fromarray(_colours(values / limit, 0.0), "RGBA"), limit


def _colours(values: np.ndarray, least: float) -> np.ndarray:
    """(rows, columns) in −1…1 → RGBA uint8: the side as colour, the size as opacity of ``least`` to 0.8."""
    sides = np.where((values >= 0)[..., None], _rgb(FAKE_COLOUR), _rgb(REAL_COLOUR))
    opacity = 255 * (least + (0.8 - least) * np.clip(np.abs(values), 0, 1))
    return np.concatenate([sides, opacity[..., None]], axis=2).round().astype(np.uint8)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def draw_explanation(path: Path, explanation: Explanation, *, scale: float | None) -> None:
    """The picture, and beside it the picture in grey under its map and the boxes of its objects, as a PNG.

    scale: as in :func:`heat_map`; None where that of the patches is not known yet: then the picture alone.
    """
    from PIL import Image as images
    from PIL import ImageDraw

    assert explanation.picture is not None
    picture = images.fromarray(explanation.picture)
    grey = picture.convert("L").convert("RGBA")
    drawn = None if explanation.patches is not None and scale is None else heat_map(explanation, scale or 1.0)
    if drawn is not None:
        grey.alpha_composite(drawn.resize(picture.size, images.Resampling.NEAREST))
    if explanation.companions is not None:
        pen = ImageDraw.Draw(grey)
        for found in explanation.companions.objects:
            pen.rectangle(found.seen, outline=side_colour(found.contribution), width=2)
            pen.text((found.seen[0] + 3, found.seen[1] + 2), plain(object_words(found)), fill="white")
    both = drawn is not None or explanation.companions is not None
    sheet = images.new("RGB", (picture.width * (1 + both), picture.height))
    sheet.paste(picture)
    if both:
        sheet.paste(grey.convert("RGB"), (picture.width, 0))
    sheet.save(path, compress_level=1)


def side_colour(value: float | None) -> str:
    """The colour of the side that a contribution pushed the score to; grey where there is none."""
    return "#666666" if value is None else FAKE_COLOUR if value >= 0 else REAL_COLOUR


def object_words(found: ObjectReading) -> str:
    """An object's phrase and what it added."""
    return found.phrase if found.contribution is None else f"{found.phrase} {found.contribution:+.3f}"


def largest(parts: Mapping[str, float]) -> dict[str, float]:
    """The largest parts in descending order of size, and one entry for the sum of the others."""
    order = sorted(parts, key=lambda name: -abs(parts[name]))
    shown = {name: parts[name] for name in order[:_BARS]}
    if len(order) > _BARS:
        shown[f"{len(order) - _BARS} others"] = sum(parts[name] for name in order[_BARS:])
    return shown


def _bars(axes: Axes, labels: Sequence[str], values: Sequence[float]) -> None:
    places = np.arange(len(values))
    axes.barh(places, values, color=[FAKE_COLOUR if v >= 0 else REAL_COLOUR for v in values])
    axes.set_yticks(places)
    axes.set_yticklabels(labels, fontsize=7, parse_math=False)  # a token may be a dollar sign
    axes.axvline(0, color="black", linewidth=0.6)
    axes.invert_yaxis()
