"""Pictures of a search: score curves, and scores of heads by layer. Drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aigiscan.errors import InputError
from aigiscan.search.features import PairResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_curves(results: Sequence[PairResult], score: str, path: Path) -> None:
    """Score against the number of components removed (paper 000, figure 5), one panel per pair."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.6 * len(results)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(results), 1))
    for axes, result in zip(panels, results, strict=True):
        for direction, colour in zip(result.directions, ("tab:blue", "tab:orange"), strict=True):
            curve = [direction.baseline, *direction.scores]
            label = f"{direction.train} → {direction.test}: {direction.baseline:.3f}, best {max(curve):.3f}"
            axes.plot(range(len(curve)), curve, color=colour, label=label)
            axes.axvline(direction.best_step, color=colour, linestyle=":", linewidth=1)
        axes.set_xlabel("components removed")
        axes.set_ylabel(score)
        axes.set_title(f"{result.pair[0]} and {result.pair[1]}: {len(result.kept)} components kept", fontsize=10)
        axes.legend(fontsize=8)
    _save(figure, path)


def plot_heads(grid: np.ndarray, kept: Sequence[tuple[int, ...]], title: str, score: str, path: Path) -> None:
    """Layer × head heat map of the scores of single heads; the kept ones are framed. grid: (layers, heads)."""
    from matplotlib.figure import Figure

    layers, heads = grid.shape
    figure = Figure(figsize=(2.2 + 0.34 * heads, 1.6 + 0.28 * layers), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(grid, cmap="viridis", aspect="auto")
    for layer, head in kept:
        axes.plot(head, layer, marker="s", markersize=11, markerfacecolor="none", markeredgecolor="red")
    axes.set_xticks(range(heads), [str(i) for i in range(heads)], fontsize=7)
    axes.set_yticks(range(layers), [str(i) for i in range(layers)], fontsize=7)
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.set_title(title, fontsize=10)
    figure.colorbar(drawn, ax=axes, label=score)
    _save(figure, path)


def plot_layers(scores: np.ndarray, kept: Sequence[int], title: str, score: str, path: Path) -> None:
    """Score of single layers over depth; the kept ones are marked. scores: (layers,)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(scores)), scores, marker="o", markersize=4)
    axes.plot(list(kept), scores[list(kept)], "s", markersize=9, markerfacecolor="none", markeredgecolor="red")
    axes.set_xlabel("layer")
    axes.set_ylabel(score)
    axes.set_title(title, fontsize=10)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for an unknown file type
        raise InputError(f"cannot write {path}: {error}") from error
