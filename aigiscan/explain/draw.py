"""Explanations as pictures: bars of words, the parts of a score, heat maps over the image, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.explain.companions import ObjectReading
from aigiscan.explain.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

#: colours of the two directions, the same in every drawing: red towards AI-generated, blue towards real
FAKE_COLOUR, REAL_COLOUR, SIGNED_MAP = "#b2182b", "#2166ac", "RdBu_r"
#: parts that get a bar of their own; the others share one
_BARS = 14


def plain(text: str) -> str:
    """Text that the default font can draw: what is beyond Latin letters is written as its code point."""
    return "".join(c if (c.isprintable() and ord(c) < 0x250) or c in "“”–…\n" else f"\\u{ord(c):04x}" for c in text)


def draw_words(path: Path, words: Mapping[str, Any], title: str) -> None:
    """Bars of the nearest and farthest phrases and tokens of one direction, as a PNG."""
    from matplotlib.figure import Figure

    names = [name for name in ("phrases", "tokens") if words.get(name, {}).get("positive")]
    figure = Figure(figsize=(6.5 * max(1, len(names)), 6.5), layout="constrained")
    figure.suptitle(plain(title))
    for axes, name in zip(figure.subplots(1, max(1, len(names)), squeeze=False)[0], names or [""], strict=True):
        if not name:
            _say(axes, "no words: see words.json")
            axes.axis("off")
            continue
        entries = [*words[name]["positive"], *reversed(words[name]["negative"])]
        labels = [plain(e["text"]) + ("-" if e.get("kind") == "sub-word" else "") for e in entries]
        _bars(axes, labels, [e["cosine"] for e in entries])
        axes.set_title(f"{name}: nearest above, farthest below")
        axes.set_xlabel("cosine similarity with the weights (right: AI-generated)")
    figure.savefig(path, dpi=110)


def draw_explanation(
    path: Path,
    explanation: Explanation,
    *,
    scale: float,
    open_image: Callable[[str], Image | None],
) -> None:
    """One image's explanation as a PNG.

    scale: the contribution at which the colours of the heat map end; give the same for all images of a run so that
    they can be compared. open_image: path → RGB picture or None, for the neighbours.
    """
    from matplotlib.figure import Figure

    known = explanation.neighbours or {}
    shown = {side: list(found)[:5] for side, found in known.items() if found}
    figure = Figure(figsize=(14, 5 + 2.1 * len(shown)), layout="constrained")
    rows = figure.add_gridspec(1 + len(shown), 1, height_ratios=[5] + [2.1] * len(shown))
    top = rows[0].subgridspec(1, 4)
    verdict = {"ai": "AI-generated", "real": "real"}.get(explanation.verdict, explanation.verdict)
    figure.suptitle(
        plain(f"{Path(explanation.path).name}: {verdict}, score {explanation.logit:+.3f}, p_ai {explanation.p_ai:.2f}")
    )
    left, middle, grid, bars = (figure.add_subplot(top[0, i]) for i in range(4))
    _picture(left, explanation)
    _heat(middle, explanation, scale)
    _head_grid(grid, explanation)
    parts = _largest(explanation.parts)
    _bars(bars, list(parts), list(parts.values()))
    bars.set_title(f"parts (sum {explanation.sum_of_parts:+.3f})")
    for line, (side, found) in enumerate(shown.items(), start=1):
        cells = rows[line].subgridspec(1, 5)
        for i, neighbour in enumerate(found):
            axes = figure.add_subplot(cells[0, i])
            axes.axis("off")
            image = open_image(neighbour.path)
            if image is not None:
                axes.imshow(np.asarray(image))
            name = neighbour.generator or Path(neighbour.path).name
            axes.set_title(plain(f"{side} {neighbour.similarity:.3f}\n{name[:28]}"), fontsize=8)
    figure.savefig(path, dpi=100)


def _picture(axes: Axes, explanation: Explanation) -> None:
    axes.axis("off")
    if explanation.picture is None:
        _say(axes, "no picture with patches")
        return
    axes.imshow(explanation.picture)
    if explanation.companions is None:
        axes.set_title("what the encoder saw")
        return
    axes.set_title(plain("\n".join(wrap(explanation.companions.caption, 40)[:4])), fontsize=8, parse_math=False)
    for found in explanation.companions.objects:
        _box(axes, found)


def _box(axes: Axes, found: ObjectReading) -> None:
    """One object's box and phrase, in the colour of the side that it pushed the score to; grey where that is none."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = found.seen
    value = found.contribution
    colour = "0.4" if value is None else FAKE_COLOUR if value >= 0 else REAL_COLOUR
    label = found.phrase if value is None else f"{found.phrase} {value:+.3f}"
    axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.5))
    axes.text(
        x0, y0, plain(label), color="white", fontsize=7, va="bottom", parse_math=False, clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _heat(axes: Axes, explanation: Explanation, scale: float) -> None:
    axes.axis("off")
    if explanation.patches is None or explanation.picture is None:
        _say(axes, "no patches for this detector:\nsee “missing” in the JSON")
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    height, width = explanation.picture.shape[:2]
    grey = np.asarray(explanation.picture, dtype=np.float32).mean(axis=2)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    # Patches that add little let the picture through.
    strength = np.clip(np.abs(explanation.patches) / scale, 0, 1)
    colours = ScalarMappable(Normalize(-scale, scale), SIGNED_MAP)
    axes.imshow(
        colours.to_rgba(explanation.patches, alpha=0.1 + 0.75 * strength),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
    axes.set_title("patches (red: AI-generated)")
    axes.figure.colorbar(colours, ax=axes, shrink=0.7)


def _head_grid(axes: Axes, explanation: Explanation) -> None:
    heads = {
        tuple(map(int, name.split(":")[1:])): value
        for name, value in explanation.parts.items()
        if name.startswith("head:")
    }
    if not heads:
        axes.axis("off")
        _say(axes, "no heads for this detector:\nsee “missing” in the JSON")
        return
    layers, count = 1 + max(layer for layer, _ in heads), 1 + max(head for _, head in heads)
    values = np.full((layers, count), np.nan)
    for (layer, head), value in heads.items():
        values[layer, head] = value
    limit = max(float(np.nanmax(np.abs(values))), 1e-12)
    drawn = axes.imshow(values, cmap=SIGNED_MAP, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.set_title("contribution of each head")
    axes.figure.colorbar(drawn, ax=axes, shrink=0.7)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, transform=axes.transAxes)


def _largest(parts: Mapping[str, float]) -> dict[str, float]:
    """The largest parts in descending order of size, and one bar for the sum of the others."""
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
