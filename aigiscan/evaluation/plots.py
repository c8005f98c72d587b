"""The plots of an evaluation. matplotlib is imported when one is drawn; no display is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from aigiscan.evaluation.evidence import Curve
    from aigiscan.evaluation.intervals import Interval
    from aigiscan.metrics import ReliabilityBin

#: cells with more rows than this carry no number: it could not be read
_NUMBERED = 20


def heat_map(
    grid: NDArray,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    row_label: str = "trained on",
    column_label: str = "tested on",
    low: float = 0.5,
    high: float = 1.0,
) -> Figure:
    """A matrix of figures in [0, 1]; the papers' layout: trained on downwards, tested on to the right."""
    from matplotlib.figure import Figure

    side = max(4.5, 1.6 + 0.42 * max(grid.shape))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(grid, vmin=low, vmax=high, cmap="viridis")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    axes.set_title(title)
    if max(grid.shape) <= _NUMBERED:
        middle = (low + high) / 2
        for (i, j), value in np.ndenumerate(grid):
            if np.isfinite(value):
                colour = "black" if value > middle else "white"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    return figure


def curves(series: Mapping[str, Mapping[str, Interval]], title: str, ylabel: str, baseline: str = "none") -> Figure:
    """One panel per kind of perturbation (``jpeg:75`` is of kind ``jpeg``), one line per name, intervals shaded.

    series: name → perturbation spec → figure; ``baseline`` is the unperturbed one and begins every panel.
    """
    from matplotlib.figure import Figure

    kinds = list(
        dict.fromkeys(spec.split(":")[0] for by_spec in series.values() for spec in by_spec if spec != baseline)
    )
    figure = Figure(figsize=(3.6 * max(1, len(kinds)), 3.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(kinds)), squeeze=False, sharey=True)[0]
    for axes, kind in zip(panels, kinds, strict=False):
        for i, (name, by_spec) in enumerate(series.items()):
            specs = [s for s in by_spec if s == baseline or s.split(":")[0] == kind]
            values = np.array([[by_spec[s].value, by_spec[s].low, by_spec[s].high] for s in specs])
            axes.plot(range(len(specs)), values[:, 0], marker="o", color=f"C{i}", label=name)
            axes.fill_between(range(len(specs)), values[:, 1], values[:, 2], color=f"C{i}", alpha=0.15)
            axes.set_xticks(range(len(specs)), [s.partition(":")[2] or s for s in specs], fontsize=8)
        axes.set_title(kind)
        axes.set_ylim(0.0, 1.02)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(ylabel)
    if kinds:
        panels[0].legend(fontsize=8)
    figure.suptitle(title)
    return figure


def reliability_diagram(series: Mapping[str, Sequence[ReliabilityBin]], title: str) -> Figure:
    """Observed share of fakes against p_ai; on the diagonal p_ai means what it says."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for i, (name, bins) in enumerate(series.items()):
        axes.plot([b.predicted for b in bins], [b.observed for b in bins], marker="o", color=f"C{i}", label=name)
    axes.set_xlabel("p_ai")
    axes.set_ylabel("share of fakes, both classes weighing the same")
    axes.set_title(title)
    if series:
        axes.legend(fontsize=8)
    return figure


def roc_and_det(series: Mapping[str, Curve]) -> Figure:
    """Two panels: recall against false alarms on a logarithmic axis (ROC), and misses against false alarms on normal
    quantiles (DET; Martin et al., "The DET curve in assessment of detection task performance", 1997)."""
    from matplotlib.figure import Figure
    from scipy.stats import norm

    figure = Figure(figsize=(10.4, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (name, curve) in enumerate(series.items()):
        left.step(curve.false_alarms, curve.recall, where="post", color=f"C{i}", label=name)
        inner = (curve.false_alarms > 0) & (curve.recall < 1)
        with np.errstate(divide="ignore"):
            right.plot(norm.ppf(curve.false_alarms[inner]), norm.ppf(1.0 - curve.recall[inner]), color=f"C{i}")
    left.set_xscale("log")
    left.set_xlim(1e-3, 1.0)
    left.set_ylim(0.0, 1.01)
    left.axvspan(1e-3, 0.05, color="0.93", zorder=0)  # where a detector is used
    left.set_xlabel("share of photographs above the threshold (false alarms)")
    left.set_ylabel("share of fakes above the threshold (recall)")
    left.legend(fontsize=8)
    ticks = np.array([0.01, 0.05, 0.2, 0.5, 0.8, 0.95])
    for axis, label in ((right.xaxis, "false alarms"), (right.yaxis, "misses (1 - recall)")):
        axis.set_ticks(norm.ppf(ticks), [f"{tick:.0%}" for tick in ticks])
        axis.set_label_text(label)
    right.set_xlim(*norm.ppf([0.003, 0.97]))
    right.set_ylim(*norm.ppf([0.003, 0.99]))
    for axes, title in ((left, "ROC"), (right, "DET")):
        axes.set_title(title)
        axes.grid(alpha=0.3)
    return figure
