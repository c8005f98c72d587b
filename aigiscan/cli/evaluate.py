"""``aigiscan evaluate``: what happens on generators and photographs never seen, under perturbation, and why to doubt.

One function per part; what they compute is in :mod:`aigiscan.evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console, options
from aigiscan.errors import AigiscanError, FitError, InputError

if TYPE_CHECKING:
    from aigiscan.cli.evaluation_inputs import Entry, Inputs
    from aigiscan.evaluation.report import EvaluationReport
    from aigiscan.images.records import ImageRecord

#: duplicates of the audit that are shown as pictures
_SHOWN_DUPLICATES = 12


def evaluate(
    paths: list[str] | None = typer.Argument(
        None, metavar="STORE_OR_FOLDER...", help="Stores, labelled folders or CSV manifests. Several are compared."
    ),
    real: options.Real = [],  # noqa: B006 (Typer copies it)
    fake: options.Fake = [],  # noqa: B006 (Typer copies it)
    output: Path = typer.Option(..., "--output", "-o", help="Folder for CSV, JSON, PNG and index.html."),
    detector: list[str] = typer.Option(
        [], "--detector", "-d", help="Judge with this detector instead of fitting (repeatable: compared)."
    ),
    classifier: list[str] = typer.Option(
        ["logistic"], "--classifier", "-c", help="Classifier to fit (repeatable: compared)."
    ),
    param: options.Param = [],  # noqa: B006
    features: list[str] = typer.Option(
        ["embedding"], "--features", help="Feature view, e.g. components:SELECTION.yaml (repeatable: compared)."
    ),
    encoder: list[str] = typer.Option(
        ["lite+spam"], "--encoder", "-e", help="Encoder for folders (repeatable: compared). A store names its own."
    ),
    equalize: str = typer.Option("", "--equalize", help="For folders: crop, resize and re-encode every picture alike."),
    train_on: str | None = typer.Option(
        None, "--train-on", help="Fit on this store, test on STORE_OR_FOLDER: the training source swapped."
    ),
    transfer: bool | None = typer.Option(
        None,
        "--transfer/--no-transfer",
        help="Matrix: fit on each generator, test on each (default: where there are two).",
    ),
    held_out: bool = typer.Option(
        True, "--held-out/--no-held-out", help="Folds that leave out whole generators and photo sources."
    ),
    audit: bool = typer.Option(False, "--audit", help="Can file facts alone tell the label? Copies, repetitions."),
    robustness: bool = typer.Option(False, "--robustness", help="Curves over JPEG, blur, noise and resizing."),
    quality_matrix: bool = typer.Option(
        False, "--quality-matrix", help="JPEG quality in training × in test (40, 65, 90)."
    ),
    geometry: bool = typer.Option(
        False, "--geometry", help="Mean cosine, IsoScore and t-SNE of the features, before and after removal."
    ),
    spectra: bool = typer.Option(False, "--spectra", help="Average high-pass Fourier spectra per generator."),
    spectra_size: int = typer.Option(128, "--spectra-size", min=16, help="Side of the central square, in pixels."),
    gallery: int = typer.Option(8, "--gallery", min=0, help="Pictures per row of most confident rights and wrongs."),
    families: Path | None = typer.Option(
        None, "--families", help="YAML map generator: family, for averages and multi-class classifiers."
    ),
    min_images: int = typer.Option(
        10, "--min-images", min=4, help="Smaller generators are not in the transfer matrix."
    ),
    max_images: int = typer.Option(400, "--max-images", min=20, help="Images that perturbations are tried on."),
    max_fpr: float = typer.Option(0.05, "--max-fpr", min=0.0, max=1.0, help="Promised share of false alarms."),
    folds: int = typer.Option(10, "--folds", min=2, help="Number of held-out folds."),
    draws: int = typer.Option(1000, "--draws", min=10, help="Bootstrap draws for intervals."),
    grid: str = typer.Option(
        "", "--grid", help="paper: tune solver, C and max_iter for each generator of the transfer matrix (logistic)."
    ),
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    device: options.Device = "auto",
    seed: int = typer.Option(0, "--seed", help="Seed of splits, folds, samples and draws."),
) -> None:
    """Measure detectors, or fit and measure classifiers, on labelled images; write tables, plots and one page."""
    from aigiscan.cli import evaluate_robustness as pictures
    from aigiscan.cli import evaluate_views as views
    from aigiscan.cli.evaluate_detectors import evaluate_detectors
    from aigiscan.cli.evaluation_inputs import load_inputs, make_entries
    from aigiscan.detector.detector import Detector
    from aigiscan.evaluation.report import EvaluationReport
    from aigiscan.images.labels import label_folders
    from aigiscan.store import is_store

    paths = paths or []
    if bool(real or fake) == bool(paths):
        raise InputError("give stores, labelled folders or manifests; or --real PATH and --fake PATH")
    title = ", ".join(Path(p).name or p for p in paths or [*real, *fake])
    report = EvaluationReport(output, f"Evaluation of {title}")
    detectors = {name: Detector.load(name) for name in detector}
    if detectors and (train_on or quality_matrix or grid):
        raise InputError("--train-on, --quality-matrix and --grid fit classifiers; leave out --detector")
    if grid and (grid != "paper" or classifier != ["logistic"]):
        raise InputError("--grid knows one grid, 'paper', for --classifier logistic")
    running = {"batch_size": batch_size, "workers": workers, "device": device}
    channels = _channels(features)
    given: list[str | list[ImageRecord]] = [*paths] if paths else [label_folders(real, fake)]
    stores = sum(isinstance(one, str) and is_store(one) for one in given)
    embedded = 0 if detectors else (len(given) - stores) * len(encoder)
    tables = len(given) if detectors else stores + embedded
    parts = embedded + audit + tables * (spectra + quality_matrix + (len(detectors) or 1) * robustness)
    parts += len(detectors) * tables or (held_out and train_on is None)
    with _written(report), console.whole("evaluate", parts):
        inputs = load_inputs(given, encoder, equalize, channels, families, running, embed=not detectors)
        if audit:
            _audit(report, inputs[0], seed)
        if geometry:
            views.geometry(report, inputs, features, seed=seed)
        if spectra:
            views.spectra(report, inputs, size=spectra_size)
        if detectors:
            unseen = evaluate_detectors(
                report, inputs, detectors, max_fpr=max_fpr, draws=draws, seed=seed, running=running, gallery=gallery
            )
            if robustness:
                pictures.of_detectors(report, unseen, max_images=max_images, draws=draws, seed=seed, running=running)
        else:
            entries = make_entries(inputs, classifier, param, features, families)
            if train_on is not None:
                _train_on(report, entries, train_on, max_fpr=max_fpr, draws=draws, seed=seed)
            elif held_out:
                _held_out(report, entries, folds=folds, max_fpr=max_fpr, draws=draws, seed=seed, gallery=gallery)
            if train_on is None and transfer is not False:
                try:
                    _transfer(
                        report, entries, grid=bool(grid), min_images=min_images, max_fpr=max_fpr, draws=draws, seed=seed
                    )
                except FitError as error:
                    if transfer:
                        raise
                    console.note(f"no transfer matrix: {error}")
            if train_on is None:
                _confusions(report, entries, seed=seed)
            if robustness:
                pictures.of_fits(report, entries, max_images=max_images, draws=draws, seed=seed, running=running)
            if quality_matrix:
                pictures.quality(report, entries, max_images=max_images, seed=seed, running=running)


@contextmanager
def _written(report: EvaluationReport) -> Iterator[None]:
    """The page at the end; of what is done already, where a later part cannot be."""
    try:
        yield
    except AigiscanError:
        if report.parts:
            console.note(f"wrote {report.write()} with what was done before this error")
        raise
    console.note(f"wrote {report.write()}; its tables lie beside it as CSV and JSON")


def _channels(features: list[str]) -> list[str]:
    """Channels that the views need, in one reading."""
    from aigiscan.features import channels_of

    return list(dict.fromkeys(channel for spec in features for channel in channels_of(spec)))


def _audit(report: EvaluationReport, given: Inputs, seed: int) -> None:
    from aigiscan.evaluation.report import CHECKS
    from aigiscan.images.audit import audit
    from aigiscan.images.measure import Measured, measure

    if all(Path(record.path).is_file() for record in given.records):
        found = list(console.track(measure(given.records), total=len(given.records), description="audit"))
    else:
        console.note("some files are gone: the audit knows what the store knows, without JPEG tables and near copies")
        found = [Measured(record, facts) for record, facts in zip(given.records, given.facts, strict=True)]
    result = audit(found, seed=seed)
    report.section(
        "Audit",
        "Can file facts alone tell the label? An AUC near 0.5 is what is wanted; near 1, any figure below may be about "
        "files instead of pictures: equalise (--equalize) before trusting it.",
        place=CHECKS,
    )
    for line in result.findings:
        report.paragraph(line, warning=True)
    report.table(
        "audit_facts",
        "File facts alone, cross-validated",
        ("fact", "AUC", "reals", "fakes"),
        [(f.name, f.auc, f.n_real, f.n_fake) for f in result.facts],
    )
    report.table(
        "audit_duplicates",
        "Files that are the same picture",
        ("kind", "differ in", "files"),
        [(d.kind, ", ".join(d.crosses), " ".join(d.paths)) for d in result.duplicates],
    )
    report.pictures(
        "Files that are the same picture",
        [(path, f"{d.kind}: {path}") for d in result.duplicates[:_SHOWN_DUPLICATES] for path in d.paths[:4]],
    )
    report.table(
        "audit_repetition",
        "Share of a generator's images that have a near copy among its others",
        ("generator", "n", "share"),
        [(r.generator, r.n, r.share) for r in result.repetition],
    )
    report.json("audit", result)
    for line in result.findings:
        console.warn(line)


def _held_out(
    report: EvaluationReport, entries: list[Entry], *, folds: int, max_fpr: float, draws: int, seed: int, gallery: int
) -> None:
    import numpy as np

    from aigiscan.classifiers.folds import left_out
    from aigiscan.cli import evaluate_views as views
    from aigiscan.evaluation.heldout import held_out_figures
    from aigiscan.evaluation.means import Pictures, differences
    from aigiscan.evaluation.write import terminal_table, write_differences, write_figures

    figures, shown = {}, []
    exclude = _choosers(entries)
    for entry in console.track(entries, total=len(entries), description="held out"):
        candidate = entry.candidate.without(exclude)
        scores, of_fold = candidate.held_out_scores(folds, seed)
        shown.append((candidate.name, candidate.paths, scores, candidate.labels, candidate.names))
        figures[candidate.name] = held_out_figures(
            scores, candidate.labels, candidate.names, candidate.groups, candidate.families, units=candidate.sources,
            sides=candidate.sides, max_fprs=sorted({0.01, max_fpr}), draws=draws, seed=seed,
        )  # fmt: skip
    what = left_out(candidate.labels, candidate.sources, of_fold)
    text = (
        f"{what.note[:1].upper()}{what.note[1:]}; groups are kept apart. Thresholds and p_ai are calibrated "
        "without the source they are applied to."
    )
    if exclude:
        text += f" Left out of fitting and measuring, for they chose the features: {', '.join(exclude)}."
    heading = what.heading[:1].upper() + what.heading[1:]
    write_figures(report, "held-out_sources", heading, text, figures, {})
    first = entries[0].candidate.without(exclude)
    if len(shown) > 1 and all(np.array_equal(parts[1], first.paths) for parts in shown):
        pictures = Pictures(first.labels, first.names, first.sources)
        by_name = {parts[0]: parts[2] for parts in shown}
        write_differences(report, "held-out_sources_differences", differences(pictures, by_name, draws, seed))
    for parts in shown:
        views.gallery(report, *parts, count=gallery)
    console.table(what.heading, *terminal_table(figures))


def _choosers(entries: list[Entry]) -> list[str]:
    """Generators that chose the features of any candidate: left out for all, else they would not be comparable."""
    return sorted({name for entry in entries for name in entry.candidate.exclude})


def _transfer(
    report: EvaluationReport,
    entries: list[Entry],
    *,
    grid: bool,
    min_images: int,
    max_fpr: float,
    draws: int,
    seed: int,
) -> None:
    from aigiscan.evaluation import words
    from aigiscan.evaluation.transfer import split_by_source, transfer_matrix
    from aigiscan.evaluation.write import terse, write_transfer

    exclude = _choosers(entries)
    for candidate in (entry.candidate for entry in entries):
        test = split_by_source(candidate.labels, candidate.names, candidate.groups, candidate.splits, seed=seed)
        matrix = transfer_matrix(
            candidate.X, candidate.labels, candidate.names, candidate.families, candidate.groups, test, candidate.fit,
            tune=partial(candidate.tuned_on, seed=seed) if grid else None, min_images=min_images,
            exclude=exclude, max_fpr=max_fpr, draws=min(draws, 500), seed=seed,
        )  # fmt: skip
        write_transfer(report, candidate.name, matrix)
        console.table(
            f"transfer: {candidate.name}",
            ("transfer", "cells", words.ACCURACY, words.AUC, words.RECALL_5),
            [(a.name, a.cells, terse(a.accuracy), terse(a.auc), a.others["recall_5"]) for a in matrix.averages],
        )


def _train_on(
    report: EvaluationReport, entries: list[Entry], train_on: str, *, max_fpr: float, draws: int, seed: int
) -> None:
    from aigiscan.cli.evaluation_inputs import fit_on_store
    from aigiscan.evaluation.heldout import detector_figures
    from aigiscan.evaluation.write import terminal_table, write_figures

    figures, known, said = {}, {}, {}
    exclude = _choosers(entries)
    for entry in entries:
        elsewhere = fit_on_store(entry, train_on, max_fpr=max_fpr, seed=seed)
        if elsewhere.seen.all():
            raise InputError(
                f"{train_on} holds all pictures of {entry.given.name}: give pictures that it does not hold"
            )
        candidate = entry.candidate.select(~elsewhere.seen).without(exclude)
        figures[candidate.name] = detector_figures(
            elsewhere.fitted.decision_function(candidate.X), candidate.labels, candidate.names, candidate.groups,
            elsewhere.calibration, candidate.families, units=candidate.sources, sides=candidate.sides, draws=draws,
            seed=seed,
        )  # fmt: skip
        known[candidate.name] = elsewhere.names
        if elsewhere.seen.any():
            said[candidate.name] = (
                f"{int(elsewhere.seen.sum())} of {len(elsewhere.seen)} pictures of {entry.given.name}"
            )
    text = f"Fitted and calibrated on {train_on} alone, tested here."
    if exclude:
        text += f" Left out, for they chose the features: {', '.join(exclude)}."
    warnings = [f"{name}: {which} are left out, for {train_on} holds them too" for name, which in said.items()]
    stem = "trained_on_another_data_set"
    write_figures(report, stem, "Trained on another data set", text, figures, known, warnings)
    for warning in warnings:
        console.warn(warning)
    console.table(f"trained on {train_on}", *terminal_table(figures))


def _confusions(report: EvaluationReport, entries: list[Entry], *, seed: int) -> None:
    from aigiscan.evaluation.attribution import attribution
    from aigiscan.evaluation.write import write_confusion

    for candidate in (entry.candidate for entry in entries):
        if candidate.make().multiclass:
            note = "Folds by group: every generator is known to the fit, the images and their groups are not."
            write_confusion(report, candidate.name, attribution(candidate, seed=seed), note)
