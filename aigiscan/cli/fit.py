"""``aigiscan fit``: labelled pictures in, a detector out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from aigiscan.detector.detector import Detector
    from aigiscan.detector.fit import FitSettings
    from aigiscan.detector.table import FitTable
    from aigiscan.encoders.base import Encoder
    from aigiscan.features.base import FeatureView
    from aigiscan.images.records import FileFacts, ImageRecord

DEFAULT_ENCODER = "lite+spam"


def fit(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH_OR_STORE...",
        help="Labelled folder, CSV manifest, or store (.h5); or stores of the same pictures under several --equalize. "
        "With --calibrate-on: the detector.",
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Detector folder to write. With --calibrate-on the default is DETECTOR itself."
    ),
    encoder: str = typer.Option(
        DEFAULT_ENCODER, "--encoder", "-e", help="Encoder, e.g. lite+spam or ViT-L-14/openai. A store names its own."
    ),
    classifier: str = typer.Option(
        "logistic", "--classifier", "-c", help="Classifier; `aigiscan detectors classifiers` lists them."
    ),
    features: str = typer.Option(
        "embedding", "--features", help="embedding, components:SELECTION.yaml or heads:SELECTION.yaml."
    ),
    equalize: list[str] = typer.Option(
        [],
        "--equalize",
        help="Crop, resize and re-encode every picture alike, e.g. limit:512,jpeg:80. Repeatable: scan uses the first.",
    ),
    C: float | None = typer.Option(None, "--C", help="Inverse strength of the L2 penalty (logistic, svm)."),
    intercept: bool | None = typer.Option(None, "--intercept/--no-intercept", help="Fit a bias term (logistic)."),
    standardize: bool | None = typer.Option(
        None, "--standardize/--no-standardize", help="Scale columns to unit variance first (logistic)."
    ),
    param: list[str] = typer.Option(
        [], "--param", "-p", metavar="KEY=VALUE", help="Any other parameter of the classifier (repeatable)."
    ),
    grid: str = typer.Option(
        "", "--grid", help="paper: tune solver, C and max_iter on validation groups (logistic), then refit."
    ),
    base: list[str] = typer.Option(
        [], "--base", metavar="DETECTOR", help="Base detector of --classifier stacking (repeatable)."
    ),
    from_: str = typer.Option(
        "", "--from", metavar="DETECTOR", help="Go on training this detector on PATH_OR_STORE instead of starting anew."
    ),
    families: Path | None = typer.Option(
        None, "--families", help="YAML map generator: family; multi-class classifiers then learn families."
    ),
    calibrate_on: str = typer.Option(
        "", "--calibrate-on", metavar="FOLDER", help="Folder of your own photographs: new thresholds for DETECTOR."
    ),
    weighting: str = typer.Option("source", "--weighting", help="source, class or none: how much each picture counts."),
    max_fpr: float | None = typer.Option(
        None,
        "--max-fpr",
        min=0.0,
        max=1.0,
        help="At most this share of real photographs may be called ai. Default: 0.01; with --calibrate-on: as it was.",
    ),
    max_miss: float = typer.Option(
        0.05, "--max-miss", min=0.0, max=1.0, help="At most this share of fakes may be called real."
    ),
    folds: int = typer.Option(10, "--folds", min=2, help="Folds that leave out whole generators and photo sources."),
    name: str | None = typer.Option(None, "--name", help="Name in the card. Default: the folder's name."),
    grade: str = typer.Option("", "--grade", help="Words for the card on what may be expected of the detector."),
    description: str = typer.Option("", "--description", help="One line for the card."),
    limit: list[str] = typer.Option([], "--limit", help="A sentence for the card that users must know (repeatable)."),
    batch_size: int = typer.Option(32, "--batch-size", min=1, help="Images encoded at once."),
    workers: int | None = typer.Option(None, "--workers", min=0, help="Threads that read and decode files."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda, cuda:N or mps."),
    precision: str = typer.Option("auto", "--precision", help="auto, fp32, bf16 or fp16."),
    seed: int = typer.Option(0, "--seed", help="Seed of the folds and of the classifier."),
) -> None:
    """Fit a detector; print how it does on generators and photo sources it has not seen; write it with its card."""
    from aigiscan.cli.tables import parse_params

    running = {"batch_size": batch_size, "workers": workers, "device": device}
    if calibrate_on:
        _calibrate(paths, calibrate_on, output, max_fpr, running)
        return
    from aigiscan.detector.detector import Detector, check_target
    from aigiscan.detector.fit import FitSettings
    from aigiscan.detector.fit import fit as fit_detector
    from aigiscan.evaluation.card_metrics import complete_card

    if output is None:
        raise InputError("say where to write the detector: -o FOLDER")
    check_target(output)
    previous = Detector.load(from_) if from_ else None
    options = {"C": C, "fit_intercept": intercept, "standardize": standardize}
    params = {key: value for key, value in options.items() if value is not None} | parse_params(param)
    if families:
        from aigiscan.classifiers.multiclass import load_families

        params["families"] = load_families(families)
    if previous is not None:
        tables = _tables(paths, previous.equalizations, previous.view.channels, running, detector=previous)
        settled = previous.card.classifier
        view, classifier, params = previous.view, settled["name"], dict(settled["params"])
    else:
        tables, view = _tables_and_view(paths, encoder, equalize, features, precision, running)
    if bool(base) != (classifier == "stacking") or (base and len(tables) > 1):
        raise InputError("--classifier stacking and --base DETECTOR go together, with one --equalize")
    if base:
        view = _stacked(base, tables[0])
    if grid:
        params |= _tune(grid, classifier, tables[0], view, params, weighting, seed)
    settings = FitSettings(
        classifier=classifier,
        params=params,
        weighting=weighting,
        max_fpr=0.01 if max_fpr is None else max_fpr,
        max_miss=max_miss,
        folds=folds,
        seed=seed,
        name=name or output.name,
        grade=grade,
        description=description,
        limits=limit,
    )
    result = fit_detector(tables, settings, view, _words(settings, tables[0]), previous)
    detector, heading, rows = complete_card(result)
    detector.save(output)
    console.table(heading, ("measure", "value", "95 % interval"), rows)
    for warning in detector.calibration.warnings:
        console.warn(warning)
    console.note(f"wrote {output}; use it with: aigiscan scan FOLDER --detector {output} > report.csv")


def _tables_and_view(
    paths: list[str], encoder: str, equalize: list[str], features: str, precision: str, running: dict[str, Any]
) -> tuple[list[FitTable], FeatureView]:
    """Tables, one per equalisation, and the feature view, from stores or from pictures."""
    from aigiscan.encoders import create_encoder
    from aigiscan.encoders.base import EncoderOptions
    from aigiscan.features import parse_view
    from aigiscan.store import EmbeddingStore, is_store

    if all(is_store(path) for path in paths):
        if equalize:
            raise InputError("--equalize works on pictures; a store holds embeddings: use `aigiscan embed --equalize`")
        with EmbeddingStore(paths[0]) as store:
            view = parse_view(features, store.fingerprint)
        return _tables(paths, [], view.channels, running), view
    heads = features.startswith("heads:")
    made = create_encoder(encoder, EncoderOptions(device=running["device"], precision=precision, heads=heads))
    view = parse_view(features, made.fingerprint())
    return _tables(paths, equalize, view.channels, running, encoder=made), view


def _tables(
    paths: list[str],
    equalize: Sequence[str],
    channels: Sequence[str],
    running: dict[str, Any],
    *,
    encoder: Encoder | None = None,
    detector: Detector | None = None,
) -> list[FitTable]:
    """Stores as they are (checked against the detector that is to go on training), or pictures embedded."""
    from aigiscan.cli.tables import embed_labelled
    from aigiscan.detector.table import table_from_store
    from aigiscan.store import EmbeddingStore, is_store

    if all(is_store(path) for path in paths):
        tables = []
        for path in paths:
            with EmbeddingStore(path) as store:
                if detector is not None:
                    detector.check_fingerprint(store.fingerprint, f"store {path}")
                tables.append(table_from_store(store, channels))
        return tables
    if len(paths) > 1:
        raise InputError("give one labelled folder or manifest, or only stores; a manifest can name several folders")
    made = encoder or (detector.make_encoder(device=running["device"]) if detector else None)
    assert made is not None
    tables = []
    for spec in equalize or [""]:
        records, facts, table = embed_labelled(paths[0], made, spec, running, quiet=bool(tables))
        if not tables and not spec:
            _short_audit(records, facts)
        tables.append(table)
    return tables


def _short_audit(records: Sequence[ImageRecord], facts: Sequence[FileFacts]) -> None:
    """Say it before anything is fitted if file facts alone tell the label."""
    from aigiscan.images.audit import audit
    from aigiscan.images.measure import Measured

    found = audit([Measured(record, fact) for record, fact in zip(records, facts, strict=True)])
    for line in found.findings:
        console.warn(line)
    if any(fact.tells for fact in found.facts):
        console.warn("fit with --equalize limit:512,jpeg:80, or the detector learns files instead of pictures")


def _stacked(base: list[str], table: FitTable) -> FeatureView:
    from aigiscan.detector.bases import stacked_view
    from aigiscan.detector.detector import Detector

    return stacked_view([Detector.load(path) for path in base], table.encoder, table.equalization)


def _tune(
    grid: str, classifier: str, table: FitTable, view: FeatureView, params: dict[str, Any], weighting: str, seed: int
) -> dict[str, Any]:
    """The paper's grid on validation groups; prints the best settings."""
    from aigiscan.detector.tune import tune_on_paper_grid

    if grid != "paper" or classifier != "logistic":
        raise InputError("--grid knows one grid, 'paper', for --classifier logistic")
    chosen, points = tune_on_paper_grid(table, view, params, weighting=weighting, seed=seed)
    best = sorted(points, key=lambda p: (-p.accuracy, p.log_loss))[:5]
    console.table(
        "grid of the paper (A.3), the five best on validation groups",
        ("solver", "C", "max_iter", "accuracy", "log loss"),
        [(p.solver, str(p.C), p.max_iter, p.accuracy, p.log_loss) for p in best],
    )
    return chosen


def _words(settings: FitSettings, table: FitTable) -> np.ndarray | None:
    from aigiscan.classifiers import make_classifier
    from aigiscan.cli.tables import text_features

    return text_features(make_classifier(settings.classifier, **dict(settings.params)), table)


def _calibrate(
    paths: list[str], photos: str, output: Path | None, max_fpr: float | None, running: dict[str, Any]
) -> None:
    """New thresholds for a detector from a folder of the user's own photographs."""
    from aigiscan.detector.detector import Detector, check_target
    from aigiscan.detector.recalibrate import recalibrate
    from aigiscan.images.find import find_images
    from aigiscan.runner import run
    from aigiscan.text import printable

    if len(paths) != 1:
        raise InputError("--calibrate-on takes one detector: aigiscan fit --calibrate-on FOLDER DETECTOR -o NEW")
    if output is None and not Path(paths[0]).exists():
        raise InputError(f"{paths[0]} is shipped with aigiscan and not overwritten: give -o FOLDER")
    detector = Detector.load(paths[0])
    target = check_target(output or paths[0])
    records = find_images([photos])
    if not records:
        raise InputError(f"no image found in {photos}: nothing to calibrate on")
    rows = run(
        records,
        detector.make_encoder(device=running["device"]),
        equalization=detector.equalization,
        batch_size=running["batch_size"],
        workers=running["workers"],
    )
    tracked = console.track(rows, total=len(records), description="calibrate")
    done = recalibrate(detector, tracked, max_fpr)
    for path, error in done.unreadable:
        console.warn(f"left out {printable(path)!r}: {error}")
    if done.seen:
        console.warn(f"left out {len(done.seen)} photographs that {paths[0]} was fitted on: they look too real to it")
    if not detector.seen.known:
        console.warn(detector.seen.words([], paths[0]))
    done.detector.save(target)
    before, now = detector.calibration, done.detector.calibration
    share = done.flagged_before / done.photographs
    console.note(
        f"of your {done.photographs} photographs the old threshold flagged {done.flagged_before} ({share:.1%}; "
        f"promised: {before.max_fpr:.3g})"
    )
    console.note(
        f"'ai' now needs a score above {now.threshold_ai:.4g} (before: {before.threshold_ai:.4g}), for at most "
        f"{now.max_fpr:.3g} of photographs like yours; wrote {target}"
    )
    for warning in now.warnings:
        console.warn(warning)
