"""The parts of an evaluation → tables, JSON and plots of the report. One function per part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aigiscan.evaluation import words
from aigiscan.evaluation.confusion import Confusion
from aigiscan.evaluation.heldout import Figures
from aigiscan.evaluation.intervals import MIN_CLUSTERS, Interval, binomial_interval
from aigiscan.evaluation.means import Difference
from aigiscan.evaluation.plots import curves, heat_map, reliability_diagram, roc_and_det
from aigiscan.evaluation.report import EvaluationReport, shown
from aigiscan.evaluation.robustness import CLEAN, QualityCell, RobustnessRow
from aigiscan.evaluation.slices import Slice
from aigiscan.evaluation.transfer import TransferMatrix

#: figures of a cell of the transfer matrix without interval
_OTHERS = {
    "ap": words.AP,
    "recall_5": words.RECALL_5,
    "recall_1": words.RECALL_1,
    "calibrated_accuracy": words.CALIBRATED,
    "validated_accuracy": words.VALIDATED,
    "oracle_accuracy": words.ORACLE,
}
_FIGURES = (words.AUC, words.RECALL_5, words.RECALL_1, words.PARTIAL)

#: share of false alarms that the summary speaks of: the highest promised
SUMMARY_HEADER = (
    "name", words.AUC, words.RECALL_5, words.RECALL_1, words.PARTIAL, words.FLAGGED, words.ECE, words.CLLR,
    words.MIN_CLLR, words.BRIER,
)  # fmt: skip


def file_name(name: str) -> str:
    """A name that can be part of a file name."""
    return "".join(c if c.isalnum() or c in "-_+" else "_" for c in name).strip("_") or "unnamed"


def summary_row(name: str, figures: Figures) -> tuple:
    """One line of the comparison: means over generators; photographs called ai at the highest promised rate."""
    return (
        name, figures.mean_auc, figures.mean_recall_5, figures.mean_recall_1, figures.partial_auc,
        figures.false_alarms[max(figures.rates)], figures.ece, figures.cllr, figures.min_cllr, figures.brier,
    )  # fmt: skip


def terminal_table(figures: Mapping[str, Figures]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows that fit 80 columns; the whole summary is in the files."""
    highest = max(next(iter(figures.values())).rates)
    header = ("", words.AUC, words.RECALL_5, f"{words.FLAGGED}, {100 * highest:g} % promised")
    rows = [
        (name, *map(terse, (f.mean_auc, f.mean_recall_5, f.false_alarms[max(f.rates)]))) for name, f in figures.items()
    ]
    return header, rows


def terse(value: Interval | float) -> str:
    """A figure in at most 17 characters."""
    if not isinstance(value, Interval):
        return shown(value)
    if np.isnan(value.value) or np.isnan(value.low):
        return shown(value.value)
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def write_figures(
    report: EvaluationReport,
    stem: str,
    title: str,
    text: str,
    figures: Mapping[str, Figures],
    seen: Mapping[str, set[str]],
    warnings: Sequence[str] = (),
) -> None:
    """Per-generator and per-source tables of several candidates or detectors, worst first, and how they compare.

    stem: what the files' names begin with. seen: name → generators and sources that its fitting saw (empty sets for
    held-out scores). warnings: what must be known before any figure is read.
    """
    report.section(title, text)
    for warning in warnings:
        report.paragraph(warning, warning=True)
    first = next(iter(figures.values()))
    report.paragraph(
        f"Summary: means over generators, each counting once. Photographs called ai where at most "
        f"{100 * max(first.rates):g} % was promised. Brackets: 95 % intervals over photo sources and generators."
    )
    for name, found in figures.items():
        if found.no_interval:
            few = f"{found.no_interval}: too few for an interval over sources ({MIN_CLUSTERS} are needed)"
            report.paragraph(f"{name}: {few}, so the figures speak of these sources alone.", warning=True)
    report.table(f"{stem}_summary", "Summary", SUMMARY_HEADER, [summary_row(n, f) for n, f in figures.items()])
    report.json(stem, figures)
    bins = {name: found.reliability for name, found in figures.items() if found.reliability}
    if bins:
        report.figure(f"{stem}_reliability", "Does p_ai mean what it says?", reliability_diagram(bins, title))
    curves_of = {name: found.roc for name, found in figures.items() if len(found.roc.recall)}
    if curves_of:
        report.figure(f"{stem}_roc", "Recall against false alarms, all generators together", roc_and_det(curves_of))
    for name, found in figures.items():
        known = seen.get(name, set())
        in_training = ("in training",) if known else ()
        report.table(
            f"{stem}_generators_{file_name(name)}",
            f"{name}: generators, worst first",
            ("generator", "family", "n", words.AUC, words.RECALL_5, words.RECALL_1, words.FOUND, "fakes called real",
             *in_training),
            [
                (g.generator, g.family, g.n, g.auc, g.recall_5, g.recall_1, g.found, g.missed,
                 *_yes_or_no(g.generator, known))
                for g in found.generators
            ],
        )  # fmt: skip
        report.table(
            f"{stem}_sources_{file_name(name)}",
            f"{name}: photo sources, most false alarms first (intervals exact, within each source)",
            ("promised", "source", "n", words.FLAGGED, "uncertain", "called real", *in_training),
            [
                (f"{promised:g}", r.source, r.n, binomial_interval(round(r.ai * r.n), r.n), r.uncertain, r.real,
                 *_yes_or_no(r.source, known))
                for promised, rates in found.rates.items()
                for r in rates
                if r.label == 0
            ],
        )  # fmt: skip


def _yes_or_no(name: str, known: set[str]) -> tuple[str, ...]:
    return (("yes" if name in known else "no"),) if known else ()


def write_differences(report: EvaluationReport, name: str, found: Sequence[Difference]) -> None:
    """Paired differences on the same pictures."""
    report.table(
        file_name(name),
        "Differences on the same pictures",
        ("name", "than", "photographs", "fakes", *(f"{column}, more" for column in _FIGURES)),
        [(d.name, d.than, d.n_real, d.n_fake, d.auc, d.recall_5, d.recall_1, d.partial_auc) for d in found],
    )
    report.paragraph(
        "Paired: both are taken on the same draws of the same photo sources and generators, so the interval is that of "
        "the difference. One that does not hold 0 is a difference that other sources would show too."
    )


def write_slices(report: EvaluationReport, stem: str, name: str, found: Sequence[Slice]) -> None:
    """Figures by size, format and camera."""
    report.table(
        f"{stem}_{file_name(name)}",
        f"{name}: by size, format and camera of the file",
        ("fact", "value", "photographs", "fakes", words.FLAGGED, words.FOUND, words.AUC),
        [(s.fact, s.value, s.n_real, s.n_fake, s.flagged, s.found, s.auc) for s in found],
    )


def write_transfer(report: EvaluationReport, name: str, matrix: TransferMatrix) -> None:
    """Cells as CSV, averages, heat maps of accuracy, AUC and recall."""
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
    report.paragraph(
        "Intervals: other pictures of these same generators and photo sources (groups drawn again); none where a side "
        f"has fewer than {MIN_CLUSTERS} groups."
    )
    report.table(
        f"{stem}_averages",
        "Averages over the matrix (Gaintseva et al., table 4)",
        ("transfer", "cells", words.ACCURACY, words.AUC, *_OTHERS.values()),
        [(a.name, a.cells, a.accuracy, a.auc, *(a.others[m] for m in _OTHERS)) for a in matrix.averages],
    )
    for metric, label, low in (
        ("accuracy", words.ACCURACY, 0.5),
        ("auc", words.AUC, 0.0),
        ("recall_5", words.RECALL_5, 0.0),
    ):
        figure = heat_map(matrix.grid(metric), matrix.generators, matrix.generators, f"{name}: {label}", low=low)
        report.figure(f"{stem}_{metric}", f"{name}: {label}", figure)
    report.table(
        f"{stem}_cells",
        "All cells",
        ("train", "test", "photographs", "fakes", words.ACCURACY, "photographs told rightly", "fakes told rightly",
         words.AUC, *_OTHERS.values(), f"{words.FLAGGED}, calibrated", f"{words.FOUND}, calibrated"),
        [
            (c.train, c.test, c.n_real, c.n_fake, c.accuracy, c.real_accuracy, c.fake_accuracy, c.auc,
             *(getattr(c, m) for m in _OTHERS), c.calibrated_false_alarms, c.calibrated_recall)
            for c in matrix.cells
        ],
    )  # fmt: skip
    report.json(stem, matrix)


def write_robustness(report: EvaluationReport, rows: Mapping[str, Sequence[RobustnessRow]], note: str) -> None:
    """Curves of AUC, recall and accuracy, and all figures."""
    report.section("Robustness", note)
    for metric, label in (("auc", words.AUC), ("recall_5", words.RECALL_5), ("accuracy", words.ACCURACY)):
        series = {name: {row.perturbation: getattr(row, metric) for row in found} for name, found in rows.items()}
        report.figure(f"robustness_{metric}", label, curves(series, "", label, CLEAN))
    report.table(
        "robustness",
        "All perturbations",
        (
            "name",
            "perturbation",
            "photographs",
            "fakes",
            words.AUC,
            words.RECALL_5,
            words.ACCURACY,
            words.FLAGGED,
            words.FOUND,
        ),
        [
            (name, r.perturbation, r.n_real, r.n_fake, r.auc, r.recall_5, r.accuracy, r.flagged_real, r.flagged_fake)
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
        ("train quality", "test quality", words.ACCURACY, words.AUC, words.RECALL_5),
        [(c.train, c.test, c.accuracy, c.auc, c.recall_5) for c in cells],
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
