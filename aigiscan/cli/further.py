"""``aigiscan continue`` and ``aigiscan stack``: detectors made from detectors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console, options
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.detector.table import FitTable


def continue_(
    detector: str = typer.Argument(..., metavar="DETECTOR", help="Detector folder or name to go on from."),
    data: list[str] = typer.Argument(
        ..., metavar="DATA...", help="Labelled folder or manifest, or stores, of pictures it has not seen."
    ),
    old: str = typer.Option(
        "", "--old", help="Pictures of its first training: how much of them is forgotten is measured."
    ),
    weighting: options.Weighting = "source",
    max_fpr: float | None = typer.Option(None, "--max-fpr", help="As of fit. Default: the detector's."),
    max_miss: float | None = typer.Option(None, "--max-miss", help="As of fit. Default: the detector's."),
    folds: options.Folds = 10,
    output: options.Detectors = ...,  # type: ignore[assignment]
    name: options.CardName = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
) -> None:
    """Go on training a detector on new pictures; say what it forgot of the old ones."""
    from aigiscan.cli.fitting import data_for, finish
    from aigiscan.detector.detector import Detector, check_target
    from aigiscan.detector.fit import FitSettings
    from aigiscan.detector.fit import fit as fit_detector
    from aigiscan.detector.forgotten import what_was_forgotten

    check_target(output)
    previous = Detector.load(detector).with_rates(max_fpr, max_miss)
    running = {"batch_size": batch_size, "workers": workers, "device": device}
    settled = previous.card.classifier
    settings = FitSettings(
        classifier=settled["name"], params=dict(settled["params"]), weighting=weighting,
        max_fpr=previous.calibration.max_fpr, max_miss=previous.calibration.max_miss, folds=folds, seed=seed,
        name=name or output.name,
    )  # fmt: skip
    tables = data_for(previous, data, running)
    remembered = data_for(previous, [old], running)[0] if old else None
    result = fit_detector(tables, settings, previous.view, previous=previous)
    made = what_was_forgotten(result.detector, previous, remembered)
    finish(replace(result, detector=made), output)
    _tell_forgotten(made, previous, remembered)


def _tell_forgotten(made: Detector, previous: Detector, old: FitTable | None) -> None:
    """Old pictures before and after, or that it is not known."""
    if old is None:
        console.warn(made.card.limits[-1])
        return
    rows = [(what, *values) for what, values in made.card.training["forgotten"]["figures"].items()]
    console.table(f"{len(old)} old pictures, before and after", ("measure", "before", "after"), rows)


def stack(
    data: list[str] = typer.Argument(..., metavar="DATA...", help="Labelled folder or manifest, or stores."),
    base: list[str] = typer.Option(..., "--base", help="Detector to stack (repeatable)."),
    param: options.Param = [],  # noqa: B006 (Typer copies it)
    weighting: options.Weighting = "source",
    max_fpr: options.MaxFpr = 0.01,
    max_miss: options.MaxMiss = 0.05,
    folds: options.Folds = 10,
    output: options.Detectors = ...,  # type: ignore[assignment]
    name: options.CardName = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
) -> None:
    """Fit a meta-classifier on the probabilities of several detectors, whatever encoders they have."""
    from aigiscan.classifiers.trial import checked_classifier
    from aigiscan.cli.fitting import all_stores, finish, picture_tables, store_tables
    from aigiscan.cli.tables import parse_params
    from aigiscan.detector.bases import share_features, stacked_apart, stacked_view
    from aigiscan.detector.detector import Detector, check_target
    from aigiscan.detector.fit import FitSettings, check_rates
    from aigiscan.detector.fit import fit as fit_detector

    check_target(output)
    check_rates(max_fpr, max_miss)
    params = parse_params(param)
    checked_classifier("stacking", params)
    bases = [Detector.load(path) for path in base]
    if len({b.card.name for b in bases}) < len(bases):
        raise InputError("two bases have the same name; give them others with --name")
    running = {"batch_size": batch_size, "workers": workers, "device": device}
    if all_stores(data):
        view = stacked_view(bases, bases[0].card.encoder, bases[0].card.equalization)
        tables = store_tables(data, [], view.channels, bases[0])
        view = stacked_view(bases, tables[0].encoder, tables[0].equalization)
    elif not share_features(bases):
        encoder, view = stacked_apart(bases, device)
        tables = picture_tables(data[0], [], encoder, running)
    else:
        view = stacked_view(bases, bases[0].card.encoder, bases[0].card.equalization)
        widest = max(bases, key=lambda b: "heads" in b.view.channels)  # its encoder gives what all of them need
        spec = [bases[0].card.equalization] if bases[0].card.equalization else []
        tables = picture_tables(data[0], spec, widest.make_encoder(device=device), running)
        view = stacked_view(bases, tables[0].encoder, tables[0].equalization)
    settings = FitSettings(
        classifier="stacking", params=params, weighting=weighting, max_fpr=max_fpr, max_miss=max_miss, folds=folds,
        seed=seed, name=name or output.name,
    )  # fmt: skip
    finish(fit_detector(tables, settings, view), output)
