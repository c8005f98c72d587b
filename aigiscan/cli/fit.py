"""``aigiscan fit``: labelled pictures in, a detector out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.table import FitTable

DEFAULT_ENCODER = "lite+spam"


def fit(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH_OR_STORE...",
        help="Labelled folder, CSV manifest, or store (.h5); or stores of the same pictures under several --equalize.",
    ),
    output: Path = typer.Option(..., "--output", "-o", help="Detector folder to write."),
    encoder: str = typer.Option(
        DEFAULT_ENCODER, "--encoder", "-e", help="Encoder, e.g. lite+spam or ViT-L-14/openai. A store names its own."
    ),
    classifier: str = typer.Option(
        "logistic", "--classifier", "-c", help="Classifier; `aigiscan detectors classifiers` lists them."
    ),
    features: str = typer.Option(
        "embedding", "--features", help="embedding, components:SELECTION.yaml or heads:HEADS.yaml."
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
    weighting: str = typer.Option("source", "--weighting", help="source, class or none: how much each picture counts."),
    max_fpr: float = typer.Option(
        0.01, "--max-fpr", min=0.0, max=1.0, help="At most this share of real photographs may be called ai."
    ),
    max_miss: float = typer.Option(
        0.01, "--max-miss", min=0.0, max=1.0, help="At most this share of fakes may be called real."
    ),
    folds: int = typer.Option(10, "--folds", min=2, help="Folds that leave out whole generators and photo sources."),
    name: str | None = typer.Option(None, "--name", help="Name in the card. Default: the folder's name."),
    grade: str = typer.Option("", "--grade", help="Words for the card on what may be expected of the detector."),
    description: str = typer.Option("", "--description", help="One line for the card."),
    batch_size: int = typer.Option(32, "--batch-size", min=1, help="Images encoded at once."),
    workers: int | None = typer.Option(None, "--workers", min=0, help="Threads that read and decode files."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda, cuda:N or mps."),
    precision: str = typer.Option("auto", "--precision", help="auto, fp32, bf16 or fp16."),
    seed: int = typer.Option(0, "--seed", help="Seed of the folds and of the classifier."),
) -> None:
    """Fit a detector; print how it does on generators and photo sources it has not seen; write it with its card."""
    from aigiscan.detector.fit import FitSettings
    from aigiscan.detector.fit import fit as fit_detector
    from aigiscan.store import is_store

    params: dict = {"C": C, "fit_intercept": intercept, "standardize": standardize}
    params = {key: value for key, value in params.items() if value is not None} | _parse_params(param)
    if all(is_store(path) for path in paths):
        if equalize:
            raise InputError("--equalize works on pictures; a store holds embeddings: use `aigiscan embed --equalize`")
        tables, view = _read(paths, features)
    elif len(paths) > 1:
        raise InputError("give one labelled folder or manifest, or only stores; a manifest can name several folders")
    else:
        tables, view = _embed(
            paths[0],
            encoder,
            equalize or [""],
            features,
            device=device,
            precision=precision,
            batch_size=batch_size,
            workers=workers,
        )
    settings = FitSettings(
        classifier=classifier, params=params, weighting=weighting, max_fpr=max_fpr, max_miss=max_miss,
        folds=folds, seed=seed, name=name or output.name, grade=grade, description=description,
    )  # fmt: skip
    from aigiscan.evaluation.card_metrics import complete_card

    result = fit_detector(tables, settings, view)
    detector, rows = complete_card(result)
    detector.save(output)
    console.table("held-out generators and photo sources", ("measure", "value", "95 % interval"), rows)
    for warning in detector.calibration.warnings:
        console.warn(warning)
    console.note(f"wrote {output}; use it with: aigiscan scan FOLDER --detector {output} > report.csv")


def _parse_params(given: list[str]) -> dict:
    import yaml

    values = {}
    for item in given:
        key, separator, value = item.partition("=")
        if not separator:
            raise InputError(f"--param {item} is not KEY=VALUE")
        values[key] = yaml.safe_load(value)
    return values


def _view(features: str, fingerprint: dict):
    from aigiscan.features.parse import parse_view

    return parse_view(features, fingerprint)


def _read(paths: list[str], features: str) -> tuple[list[FitTable], object]:
    from aigiscan.detector.table import table_from_store
    from aigiscan.store import EmbeddingStore

    tables = []
    for path in paths:
        with EmbeddingStore(path) as store:
            view = _view(features, store.fingerprint)
            tables.append(table_from_store(store, view.channels))
    return tables, view


def _embed(
    path: str, encoder_name: str, specs: list[str], features: str, **options: object
) -> tuple[list[FitTable], object]:
    """Embed a labelled folder or manifest once per equalisation; unreadable files are told and left out."""
    from aigiscan.detector.table import table_from_rows
    from aigiscan.encoders import create_encoder
    from aigiscan.encoders.base import EncoderOptions
    from aigiscan.images.equalize import Equalization
    from aigiscan.images.labels import find_labelled
    from aigiscan.reports.writers import printable
    from aigiscan.runner import run

    records = find_labelled(path)
    heads = features.startswith("heads:")
    made = create_encoder(
        encoder_name, EncoderOptions(device=str(options["device"]), precision=str(options["precision"]), heads=heads)
    )
    view = _view(features, made.fingerprint())
    tables = []
    for number, spec in enumerate(specs):
        equalization = Equalization.parse(spec) if spec else None
        rows = run(
            records, made, batch_size=options["batch_size"], workers=options["workers"], equalization=equalization
        )
        kept = []
        for row in console.track(rows, total=len(records), description=f"embed {spec}".strip()):
            if row.channels is not None:
                kept.append((row.record, row.facts, row.channels))
            elif number == 0:
                console.warn(f"left out {printable(row.record.path)!r}: {row.error}")
        tables.append(table_from_rows(kept, made, equalization.spec if equalization else ""))
    return tables, view
