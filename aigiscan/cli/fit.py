"""``aigiscan fit``: labelled pictures in, a detector out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aigiscan.cli import console, options
from aigiscan.cli.companions import Captions, Objects, Prompt, Twins
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.table import FitTable
    from aigiscan.features.views import FeatureView

DEFAULT_ENCODER = "lite+spam"
MAX_FPR, MAX_MISS = 0.01, 0.05


def fit(
    paths: list[str] = typer.Argument(
        None,
        metavar="[PATH_OR_STORE...]",
        help="Labelled folder or CSV manifest; or stores, of different pictures if there are several.",
    ),
    real: options.Real = [],  # noqa: B006 (Typer copies it)
    fake: options.Fake = [],  # noqa: B006 (Typer copies it)
    also: list[str] = typer.Option(
        [],
        "--also",
        help="Store of the same pictures under another equalisation: fitted on too (repeatable); scan uses the first.",
    ),
    equalize: list[str] = typer.Option(
        [],
        "--equalize",
        help="Crop, resize and re-encode every picture alike, e.g. limit:512,jpeg:80. Repeatable: scan uses the first.",
    ),
    encoder: options.Encoder = DEFAULT_ENCODER,
    classifier: str = typer.Option(
        "logistic", "--classifier", "-c", help="Classifier; `aigiscan detectors classifiers` lists them."
    ),
    features: str = typer.Option(
        "embedding",
        "--features",
        help="embedding, components:SELECTION.yaml, heads:HEADS.yaml, discrepancy (needs --captions), twins.",
    ),
    captions: Captions = "",
    prompt: Prompt = "",
    objects: Objects = "",
    twins: Twins = "",
    C: float | None = typer.Option(None, "--C", help="Inverse strength of the L2 penalty (logistic, svm)."),
    intercept: bool | None = typer.Option(None, "--intercept/--no-intercept", help="Fit a bias term (logistic)."),
    standardize: bool | None = typer.Option(
        None, "--standardize/--no-standardize", help="Scale columns to unit variance first (logistic)."
    ),
    param: options.Param = [],  # noqa: B006 (Typer copies it)
    grid: str = typer.Option(
        "", "--grid", help="paper: tune solver, C and max_iter on validation groups (logistic), then refit."
    ),
    families: Path | None = typer.Option(
        None, "--families", help="YAML map generator: family; multi-class classifiers then learn families."
    ),
    weighting: options.Weighting = "source",
    max_fpr: options.MaybeMaxFpr = None,
    max_miss: options.MaybeMaxMiss = None,
    folds: options.Folds = 10,
    output: Path | None = typer.Option(None, "--output", "-o", metavar="FOLDER", help="Detector to write."),
    name: options.CardName = None,
    grade: str = typer.Option("", "--grade", help="Words for the card on what may be expected."),
    description: str = typer.Option("", "--description", help="One line for the card."),
    limit: list[str] = typer.Option([], "--limit", help="A sentence for the card that users must know (repeatable)."),
    least_side: int = typer.Option(
        0, "--least-side", min=0, help="Scans leave pictures with a shorter side below this uncertain, and say so."
    ),
    smoothest: float = typer.Option(
        0.0,
        "--smoothest",
        min=0.0,
        max=0.5,
        help="Scans leave pictures uncertain that are smoother (blurred, enlarged) than all but this share of the "
        "photographs fitted on, and say so. Needs an encoder with spam.",
    ),
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: str = typer.Option(
        "auto", "--precision", help="auto, fp32, bf16 or fp16.", rich_help_panel=options.RUNNING
    ),
    seed: options.Seed = 0,
    base: list[str] = typer.Option([], "--base", hidden=True),
    from_: str = typer.Option("", "--from", hidden=True),
    calibrate_on: str = typer.Option("", "--calibrate-on", hidden=True),
) -> None:
    """Fit a detector; print how it does on pictures of sources it has not seen; write it with its card."""
    from aigiscan.classifiers.trial import checked_classifier
    from aigiscan.cli.fitting import finish, words_for
    from aigiscan.cli.tables import parse_params
    from aigiscan.detector.detector import check_target
    from aigiscan.detector.fit import FitSettings, check_rates
    from aigiscan.detector.fit import fit as fit_detector

    if calibrate_on or from_ or base:
        running = {"batch_size": batch_size, "workers": workers, "device": device}
        promise = {"weighting": weighting, "max_fpr": max_fpr, "max_miss": max_miss, "folds": folds, "seed": seed}
        _as_before(paths or [], calibrate_on, from_, base, param, output, {"name": name, **promise, **running})
        return
    if output is None:
        raise InputError("say where to write the detector: -o FOLDER")
    check_target(output)
    max_fpr, max_miss = MAX_FPR if max_fpr is None else max_fpr, MAX_MISS if max_miss is None else max_miss
    check_rates(max_fpr, max_miss)
    if classifier == "stacking":
        raise InputError("stacking is a command of its own: aigiscan stack DATA --base DETECTOR --base DETECTOR -o OUT")
    given = {"C": C, "fit_intercept": intercept, "standardize": standardize}
    params = {key: value for key, value in given.items() if value is not None} | parse_params(param)
    if families:
        from aigiscan.classifiers.multiclass import load_families

        params["families"] = load_families(families)
    checked_classifier(classifier, params)
    if grid and (grid != "paper" or classifier != "logistic"):
        raise InputError("--grid knows one grid, 'paper', for --classifier logistic")
    running = {"batch_size": batch_size, "workers": workers, "device": device, "twins": twins}
    beside = (captions, objects, twins, prompt)
    tables, view = _data(paths or [], real, fake, also, equalize, encoder, features, precision, running, beside)
    if grid:
        params |= _tune(tables[0], view, params, weighting, seed)
    settings = FitSettings(
        classifier=classifier, params=params, weighting=weighting, max_fpr=max_fpr, max_miss=max_miss, folds=folds,
        seed=seed, name=name or output.name, grade=grade, description=description, limits=limit,
        least_side=least_side, smoothest=smoothest,
    )  # fmt: skip
    finish(fit_detector(tables, settings, view, words_for(settings, tables[0])), output)


def _data(
    paths: list[str],
    real: list[str],
    fake: list[str],
    also: list[str],
    equalize: list[str],
    encoder: str,
    features: str,
    precision: str,
    running: dict[str, Any],
    beside: tuple[str, str, str, str],
) -> tuple[list[FitTable], FeatureView]:
    """Tables, one per equalisation, and the feature view, from stores or from pictures.

    beside: ``--captions``, ``--objects``, ``--twins``, ``--prompt``.
    """
    from aigiscan.cli.companions import accompany, check_channels
    from aigiscan.cli.fitting import all_stores, picture_tables, store_tables
    from aigiscan.encoders import create_encoder
    from aigiscan.encoders.base import EncoderOptions, captures
    from aigiscan.features import channels_of, parse_view
    from aigiscan.images.find import not_looked_at
    from aigiscan.images.labels import label_folders
    from aigiscan.store import EmbeddingStore

    if bool(real) != bool(fake) or bool(real) == bool(paths):
        raise InputError("give a labelled folder, a manifest or stores; or --real PATH and --fake PATH")
    if paths and all_stores(paths):
        if equalize:
            raise InputError("--equalize works on pictures; a store holds embeddings: use `aigiscan embed --equalize`")
        if any(beside):
            raise InputError("--captions, --objects and --twins are for pictures; a store has been made with its own")
        with EmbeddingStore(paths[0]) as store:
            view = parse_view(features, store.fingerprint)
        return store_tables(paths, also, view.channels), view
    if also:
        raise InputError("--also is for stores; give pictures --equalize several times")
    skipped: Counter[str] = Counter()
    data = label_folders(real, fake, skipped=skipped) if real else paths[0]
    if passed_by := not_looked_at(skipped):
        console.note(passed_by)
    captured = captures(channels_of(features))
    plain = create_encoder(encoder, EncoderOptions(device=running["device"], precision=precision, **captured))
    made = accompany(plain, *beside)
    view = parse_view(features, made.fingerprint())
    check_channels(made, view.channels, features)
    return picture_tables(data, equalize, made, running), view


def _tune(table: FitTable, view: FeatureView, params: dict[str, Any], weighting: str, seed: int) -> dict[str, Any]:
    """The paper's grid on validation groups; prints the best settings."""
    from aigiscan.detector.tune import tune_on_paper_grid

    chosen, points = tune_on_paper_grid(table, view, params, weighting=weighting, seed=seed)
    best = sorted(points, key=lambda p: (-p.accuracy, p.log_loss))[:5]
    console.table(
        "grid of the paper (A.3), the five best on validation groups",
        ("solver", "C", "max_iter", "accuracy", "log loss"),
        [(p.solver, str(p.C), p.max_iter, p.accuracy, p.log_loss) for p in best],
    )
    return chosen


def _as_before(
    paths: list[str],
    calibrate_on: str,
    from_: str,
    base: list[str],
    param: list[str],
    output: Path | None,
    given: dict[str, Any],
) -> None:
    """Spellings of versions before, for one release: what is asked for is done, and the new spelling said."""
    from aigiscan.cli.calibrate import calibrate
    from aigiscan.cli.further import continue_, stack

    to = "" if output is None else f" -o {output}"
    if calibrate_on:
        if len(paths) != 1:
            raise InputError("calibrating takes one detector: aigiscan calibrate DETECTOR PHOTOS -o NEW")
        console.note(f"the spelling is now: aigiscan calibrate {paths[0]} {calibrate_on}{to}")
        running = {key: given[key] for key in ("batch_size", "workers", "device")}
        calibrate(paths[0], [calibrate_on], output, max_fpr=given["max_fpr"], **running)
        return
    if output is None:
        raise InputError("say where to write the detector: -o FOLDER")
    if from_:
        console.note(f"the spelling is now: aigiscan continue {from_} {' '.join(paths)}{to}")
        continue_(from_, paths, old="", output=output, **given)
        return
    console.note(f"the spelling is now: aigiscan stack {' '.join(paths)} --base {' --base '.join(base)}{to}")
    rates: dict[str, Any] = {"max_fpr": given.pop("max_fpr") or MAX_FPR, "max_miss": given.pop("max_miss") or MAX_MISS}
    stack(paths, base, param, output=output, **rates, **given)
