"""``aigiscan calibrate``: a detector and your own photographs in, the same detector with thresholds for yours out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console, options
from aigiscan.cli.companions import Twins, with_twins
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.calibration import Calibration


def calibrate(
    detector: str = typer.Argument(..., metavar="DETECTOR", help="Detector folder or name."),
    photos: list[str] = typer.Argument(
        ..., metavar="PHOTOS...", help="Folders of your own photographs, none of them AI-generated."
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", metavar="FOLDER", help="Detector to write. Default: DETECTOR itself."
    ),
    max_fpr: float | None = typer.Option(
        None,
        "--max-fpr",
        help="At most this share of photographs like yours may be called ai. Default: what was promised before.",
    ),
    twins: Twins = "",
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    device: options.Device = "auto",
) -> None:
    """Take a detector's threshold for `ai` from your own photographs; say how many of them the old one flagged."""
    from aigiscan.detector.detector import Detector, check_target
    from aigiscan.detector.fit import check_rates
    from aigiscan.detector.recalibrate import recalibrate
    from aigiscan.images.find import find_images
    from aigiscan.runner import run
    from aigiscan.text import printable

    if output is None and not Path(detector).exists():
        raise InputError(f"{detector} is shipped with aigiscan and not overwritten: give -o FOLDER")
    if max_fpr is not None:
        check_rates(max_fpr)
    judge = Detector.load(detector)
    target = check_target(output or detector)
    records = with_twins(find_images(photos), twins)
    if not records:
        raise InputError(f"no image found in {', '.join(photos)}: nothing to calibrate on")
    rows = run(
        records, judge.make_encoder(device=device), equalization=judge.equalization,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    done = recalibrate(judge, console.track(rows, total=len(records), description="calibrate"), max_fpr)
    for path, error in done.unreadable:
        console.warn(f"left out {printable(path)!r}: {error}")
    if done.seen:
        console.warn(f"left out {len(done.seen)} photographs that {detector} was fitted on: they look too real to it")
    if not judge.seen.known:
        console.warn(judge.seen.words([], detector))
    done.detector.save(target)
    before, now = judge.calibration, done.detector.calibration
    console.note(
        f"of your {done.photographs} photographs the old threshold flagged {done.flagged_before} "
        f"({done.flagged_before / done.photographs:.1%}; promised: {before.max_fpr:.3g})"
    )
    console.note(
        f"'ai' now needs {_needed(now)} (before: {_needed(before)}), for at most {now.max_fpr:.3g} of photographs like "
        f"yours; wrote {target}"
    )
    for line in (*now.warnings, now.small_note):
        if line:
            console.warn(line)


def _needed(calibration: Calibration) -> str:
    """The scores that are called ``ai``, in words."""
    cuts = [(calibration.threshold_ai, "")]
    if calibration.small is not None:
        cuts.append((calibration.threshold_ai_small, " of a small picture"))
    found = [f"a score{of} above {cut:.4g}" for cut, of in cuts if math.isfinite(cut)]
    return " or ".join(found) or "more than any score"
