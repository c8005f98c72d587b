"""The parts of an evaluation → tables, JSON and plots of the report. One function per part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aigiscan.evaluation.confusion import Confusion
from aigiscan.evaluation.heldout import Figures
from aigiscan.evaluation.plots import curves, heat_map, reliability_diagram
from aigiscan.evaluation.report import EvaluationReport
from aigiscan.evaluation.robustness import CLEAN, QualityCell, RobustnessRow
from aigiscan.evaluation.transfer import TransferCell, TransferMatrix

SUMMARY_HEADER = (
    "name", "mean AUC", "mean TPR@1%FPR", "mean TPR@5%FPR", "pooled AUC", "ECE", "Brier",
    "false alarms", "worst source", "there",
)  # fmt: skip


def file_name(name: str) -> str:
    """A name that can be part of a file name."""
    return "".join(c if c.isalnum() or c in "-_+" else "_" for c in name).strip("_") or "unnamed"


def summary_row(name: str, figures: Figures) -> tuple:
    """One line of the comparison; false alarms at the highest promised rate."""
    overall, worst, source = figures.false_alarms(max(figures.rates))
    return (
        name, figures.mean_auc, figures.mean_tpr_1, figures.mean_tpr_5, figures.pooled_auc, figures.ece, figures.brier,
        overall, source, worst,
    )  # fmt: skip


def write_figures(
    report: EvaluationReport, title: str, text: str, figures: Mapping[str, Figures], seen: Mapping[str, set[str]]
) -> None:
    """Per-generator and per-source tables of several candidates or detectors, worst first, and how they compare.

    seen: name → generators and sources that its fitting saw (empty sets for held-out scores).
    """
    report.section(title, text)
    highest = max(next(iter(figures.values())).rates)
    report.paragraph(
        f"False alarms: share of photographs called ai where at most {highest:.0%} was promised, over all photographs "
        "and in the source where it was highest."
    )
    stem = file_name(title.lower().replace(" ", "_"))
    report.table(f"{stem}_summary", "Summary", SUMMARY_HEADER, [summary_row(n, f) for n, f in figures.items()])
    report.json(stem, figures)
    bins = {name: found.reliability for name, found in figures.items() if found.reliability}
    if bins:
        report.figure(f"{stem}_reliability", "Does p_ai mean what it says?", reliability_diagram(bins, title))
    for name, found in figures.items():
        known = seen.get(name, set())
        report.table(
            f"{stem}_generators_{file_name(name)}",
            f"{name}: generators, worst first",
            ("generator", "family", "n", "AUC", "TPR@1%FPR", "TPR@5%FPR", "called ai", "called real", "in training"),
            [
                (g.generator, g.family, g.n, g.auc, g.tpr_1, g.tpr_5, g.found, g.missed,
                 "yes" if g.generator in known else "no")
                for g in found.generators
            ],
        )  # fmt: skip
        report.table(
            f"{stem}_sources_{file_name(name)}",
            f"{name}: photo sources, most false alarms first",
            ("promised", "source", "n", "called ai", "uncertain", "called real", "in training"),
            [
                (f"{promised:g}", r.source, r.n, r.ai, r.uncertain, r.real, "yes" if r.source in known else "no")
                for promised, rates in found.rates.items()
                for r in rates
                if r.label == 0
            ],
        )


def write_transfer(report: EvaluationReport, name: str, matrix: TransferMatrix) -> None:
    """Cells as CSV, averages, heat maps of accuracy, AUC and TPR@5 %."""
    stem = f"transfer_{file_name(name)}"
    report.section(
        f"Transfer: {name}",
        "Fitted on each generator's fakes and the photographs of the training side, tested on each generator's fakes "
        "and the photographs of the test side; the split keeps groups whole and is the same for all. Accuracy is "
        "balanced. The oracle's threshold is chosen on the test images themselves and is no result.",
    )
    if matrix.left_out:
        left = ", ".join(f"{g} ({why})" for g, why in sorted(matrix.left_out.items()))
        report.paragraph(f"Left out: {left}.")
    report.table(
        f"{stem}_averages",
        "Averages over the matrix (Gaintseva et al., table 4)",
        ("transfer", "cells", "accuracy", "AUC", "AP", "TPR@1%FPR", "TPR@5%FPR", "accuracy, calibrated", "oracle"),
        [
            (a.name, a.cells, a.accuracy, a.auc, *(a.others[m] for m in ("ap", "tpr_1", "tpr_5", "calibrated_accuracy",
             "oracle_accuracy")))
            for a in matrix.averages
        ],
    )  # fmt: skip
    for metric, label, low in (
        ("accuracy", "balanced accuracy", 0.5),
        ("auc", "AUC", 0.0),
        ("tpr_5", "TPR at 5 % FPR", 0.0),
    ):
        figure = heat_map(matrix.grid(metric), matrix.generators, matrix.generators, f"{name}: {label}", low=low)
        report.figure(f"{stem}_{metric}", f"{name}: {label}", figure)
    plain_columns = [f for f in TransferCell.__dataclass_fields__ if f not in ("train", "test")]
    report.table(
        f"{stem}_cells",
        "All cells",
        ("train", "test", *plain_columns),
        [(c.train, c.test, *(getattr(c, f) for f in plain_columns)) for c in matrix.cells],
    )
    report.json(stem, matrix)


def write_robustness(report: EvaluationReport, rows: Mapping[str, Sequence[RobustnessRow]], note: str) -> None:
    """Curves of AUC and recall, and all figures."""
    report.section("Robustness", note)
    for metric, label in (("auc", "AUC"), ("tpr_5", "TPR at 5 % FPR"), ("accuracy", "balanced accuracy")):
        series = {name: {row.perturbation: getattr(row, metric) for row in found} for name, found in rows.items()}
        report.figure(f"robustness_{metric}", label, curves(series, "", label, CLEAN))
    report.table(
        "robustness",
        "All perturbations",
        ("name", "perturbation", "reals", "fakes", "AUC", "TPR@5%FPR", "accuracy", "reals flagged", "fakes flagged"),
        [
            (name, r.perturbation, r.n_real, r.n_fake, r.auc, r.tpr_5, r.accuracy, r.flagged_real, r.flagged_fake)
            for name, found in rows.items()
            for r in found
        ],
    )
    report.json("robustness", rows)


def write_quality(report: EvaluationReport, name: str, cells: Sequence[QualityCell], note: str) -> None:
    """The report's table 1."""
    report.section(f"JPEG quality in training and test: {name}", note)
    qualities = sorted({cell.train for cell in cells})
    stem = f"quality_{file_name(name)}"
    report.table(
        stem,
        "Fitted on one quality, tested on another",
        ("train quality", "test quality", "accuracy", "AUC", "TPR@5%FPR"),
        [(c.train, c.test, c.accuracy, c.auc, c.tpr_5) for c in cells],
    )
    grid = np.array(
        [[next(c.accuracy for c in cells if (c.train, c.test) == (a, b)) for b in qualities] for a in qualities]
    )
    names = [str(q) for q in qualities]
    title = f"{name}: balanced accuracy"
    sides = ("JPEG quality in training", "JPEG quality in test")
    report.figure(stem, title, heat_map(grid, names, names, title, row_label=sides[0], column_label=sides[1]))
    report.json(stem, cells)


def write_confusion(report: EvaluationReport, name: str, found: Confusion, note: str) -> None:
    """Confusion matrix and accuracy per class, worst first."""
    stem = f"confusion_{file_name(name)}"
    report.section(f"Attribution: {name}", note, f"{found.accuracy:.1%} of all images were named rightly.")
    title = f"{name}: share of each row"
    figure = heat_map(
        found.shares(), found.names, found.names, title, row_label="truth", column_label="said to be", low=0.0
    )
    report.figure(stem, "Confusion matrix", figure)
    report.table(
        f"{stem}_classes",
        "Worst first",
        ("class", "n", "named rightly", "real or not rightly", "mostly taken for"),
        [(c.name, c.n, c.accuracy, c.binary_accuracy, c.mostly) for c in found.classes],
    )
    report.table(
        stem,
        "Counts",
        ("truth", *found.names),
        [(n, *line) for n, line in zip(found.names, found.counts.tolist(), strict=True)],
    )
    report.json(stem, found)
