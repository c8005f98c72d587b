"""``aigiscan scan``: folders, files, lists or stores in; a verdict per image out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from aigiscan.cli import console, options
from aigiscan.cli.claims import provenance_reader
from aigiscan.cli.companions import Twins
from aigiscan.cli.scan_claims import any_says_ai, claim_batches
from aigiscan.cli.scan_outputs import Outputs
from aigiscan.cli.scan_source import Source
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.detector.verdict import Verdict

BUILTIN = "builtin"
_CLAIMS_AI = "claims-ai"


def scan(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH...",
        help="Folders, files, a .txt list, a CSV manifest, a store (.h5), or - for a list on standard input.",
    ),
    include: options.Include = [],  # noqa: B006 (Typer copies it)
    exclude: options.Exclude = [],  # noqa: B006
    all_files: options.AllFiles = False,
    max_pixels: options.MaxPixels = None,
    twins: Twins = "",
    detector: str | None = typer.Option(
        None,
        "--detector",
        "-d",
        help="Detector folder, or a name from `aigiscan detectors list`. Default: the built-in one.",
    ),
    precision: str | None = typer.Option(
        None,
        "--precision",
        help="auto, fp32, bf16 or fp16. Default: the one the detector was fitted with.",
        rich_help_panel=options.MODEL,
    ),
    max_fpr: float | None = typer.Option(
        None,
        "--max-fpr",
        help="At most this share of photographs may be called ai. Default: the detector's (see detectors show).",
    ),
    max_miss: float | None = typer.Option(
        None,
        "--max-miss",
        help="At most this share of AI-generated pictures may be called real. Default: the detector's.",
    ),
    fdr: float | None = typer.Option(
        None,
        "--fdr",
        help="Instead of --max-fpr: at most this share of all that is called ai are photographs. Rows come at the end.",
    ),
    prior: float | None = typer.Option(
        None,
        "--prior",
        help="p_ai for this share of AI-generated pictures, and a column likelihood_ratio. Default: 0.5, no column.",
    ),
    output: Path | None = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FILE",
        help="Write the report here; what made it goes into FILE.meta.json. Default: a table on a terminal, else CSV "
        "on standard output.",
    ),
    report_format: str | None = typer.Option(
        None, "--format", "-f", help="csv or jsonl (JSON lines). Default: by the name of FILE, else csv."
    ),
    html: Path | None = typer.Option(
        None,
        "--html",
        help="Also one page with thumbnails that sorts, filters and marks; see `aigiscan report` for one later.",
    ),
    thumbnails: options.Thumbnails = None,
    excel_safe: bool = typer.Option(
        False, "--excel-safe", help="Put an apostrophe before text that a spreadsheet would run as a formula."
    ),
    only: list[str] = typer.Option([], "--only", help="Only rows of these verdicts, e.g. ai,unreadable."),
    sort: str | None = typer.Option(
        None, "--sort", help="path, or p_ai: most suspicious first. Default: p_ai for a table, path for a report."
    ),
    table: bool = typer.Option(False, "--table", help="Also show a table on standard error."),
    print0: bool = typer.Option(False, "--print0", help="Print names alone, each with a NUL behind it, for xargs -0."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No table, bar, notes or warnings: errors alone."),
    fail_on: list[str] = typer.Option(
        [],
        "--fail-on",
        help="Exit with 1 if a verdict is one of these: ai, uncertain, unreadable; or claims-ai: a file says AI.",
    ),
    provenance_only: bool = typer.Option(
        False, "--provenance-only", help="No model: what files claim of their origin, thousands a second."
    ),
    deep: options.Deep = False,
    hashed: bool = typer.Option(False, "--hash", help="With claims alone: also the sha256, which reads whole files."),
    personal: bool = typer.Option(False, "--personal", help="Also say serial numbers and positions."),
    c2pa_trust: options.C2paTrust = [],  # noqa: B006
    online: options.Online = False,
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on with the report in -o FILE: a cut one, or a complete one to which new pictures are added.",
    ),
    cache: options.Cache = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    isolate: options.Isolate = False,
    time_limit: options.TimeLimit = 60.0,
    device: options.Device = "auto",
    backend: options.Backend = "local",
    scheduler: options.Scheduler = "",
) -> None:
    """Judge every image: ai, real, uncertain or unreadable. A table on a terminal; CSV to a pipe or a file."""
    from aigiscan.detector.verdict import report_columns
    from aigiscan.reports.files import Arrangement
    from aigiscan.reports.meta import MadeBy
    from aigiscan.reports.terminal import summary
    from aigiscan.reports.writers import choose_format

    if quiet:
        console.set_verbosity(-1)
    promise = Promise(max_fpr, max_miss, fdr, prior)
    on_screen = not (output or report_format or print0 or excel_safe or quiet) and sys.stdout.isatty()
    wanted, failing = _verdicts("--only", only), _verdicts("--fail-on", fail_on, _CLAIMS_AI)
    if sort not in (None, "path", "p_ai"):
        raise InputError(f"--sort {sort} is not known: use path or p_ai")
    if resume and output is None:
        raise InputError("--resume continues a report file: give it with -o FILE")
    options.check_backend(backend, scheduler)
    if scheduler and cache is None:
        raise InputError("--backend dask needs --cache STORE, in a place that all machines see: workers write there")
    _check_promise(promise, resume=resume, judged=not provenance_only, models=bool(detector or cache))
    if (deep or hashed) and not provenance_only:
        raise InputError("--deep and --hash go with --provenance-only: a scan that judges does both anyway")
    reader = provenance_reader(c2pa_trust, online=online, personal=personal, say=provenance_only)
    chosen = None if provenance_only else _detector(detector, promise)
    columns = report_columns(prior=prior is not None, notes=chosen is not None and chosen.view.has_notes)
    form = choose_format(report_format, output, excel_safe=excel_safe, columns=columns)

    start = time.perf_counter()
    running: dict[str, Any] = {
        "batch_size": batch_size,
        "workers": workers,
        "reader": reader,
        "isolate": time_limit if isolate else None,
        **({"max_pixels": max_pixels} if max_pixels else {}),
    }
    source = Source(paths, include=include, exclude=exclude, all_files=all_files, twins=twins, running=running)
    if provenance_only and source.stores:
        raise InputError(f"{source.stores[0]} is a store: --provenance-only reads files")
    made_by = MadeBy.of(
        chosen,
        {
            "columns": list(columns), "format": type(form).__name__, "excel_safe": excel_safe, "only": list(wanted),
            "prior": prior, "fdr": fdr, "precision": precision, "max_pixels": max_pixels,
            "provenance": {**reader.options(), "deep": deep, "hash": hashed},
        },
    )  # fmt: skip
    outputs = Outputs(form, Arrangement(wanted, sort or "path"))
    with outputs:
        if output is not None:
            outputs.add_file(output, made_by, resume, source, batch_size)
        if print0:
            outputs.add_names()
        elif output is None and not on_screen:
            outputs.add_stdout()
        if html is not None:
            outputs.add_page(html, thumbnails, made_by)
        if on_screen or table:
            outputs.add_table(sys.stdout if on_screen else sys.stderr, Arrangement(wanted, sort or "p_ai"))
        if chosen is None:
            verdicts = claim_batches(source.records, reader, deep=deep, hashed=hashed)
        else:
            batches = source.batches(chosen, device=device, precision=precision, cache=cache, scheduler=scheduler)
            verdicts = (list(chosen.judge_batch(batch)) for batch in batches)
        small = _write(outputs, verdicts, source.total, fdr, chosen.calibration.small_side if chosen else 0)
    if chosen is not None and small and (note := chosen.calibration.small_note):
        console.note(f"{small} small pictures: {note}")
    seconds = time.perf_counter() - start
    if sys.stderr.isatty():
        _tell(outputs, chosen, fdr, seconds, tabled=on_screen or table)
    elif output is not None or html is not None:
        console.note(summary(outputs.counts, seconds))  # one line for the log of a nightly run
    claimed = outputs.claim_ai
    if _CLAIMS_AI in failing and not claimed:  # a report keeps claims as words: those of its rows are read anew
        claimed = any_says_ai(source.skipped, reader, deep=deep or chosen is not None)
    if any(outputs.counts[value] for value in failing) or (claimed and _CLAIMS_AI in failing):
        raise typer.Exit(1)


class Promise(NamedTuple):
    """The rates asked for; None: as the detector has them."""

    max_fpr: float | None = None
    max_miss: float | None = None
    fdr: float | None = None
    prior: float | None = None


def _check_promise(promise: Promise, *, resume: bool, judged: bool, models: bool) -> None:
    """InputError in one line for rates that do not go with the rest. models: whether what judges was named."""
    if promise.fdr is not None and (promise.max_fpr is not None or resume):
        raise InputError(
            "--fdr sets the threshold for the whole folder at the end: leave out --max-fpr and --resume (--cache keeps "
            "what is encoded)"
        )
    if not judged and (models or promise != Promise()):
        raise InputError(
            "--provenance-only judges nothing: leave out --detector, --cache and the options of the promise"
        )


def _detector(name: str | None, promise: Promise) -> Detector:
    from aigiscan.detector.detector import Detector

    max_fpr = promise.max_fpr if promise.fdr is None else promise.fdr
    chosen = Detector.load(name or BUILTIN).with_rates(max_fpr, promise.max_miss, promise.prior)
    if name is None and chosen.card.grade:
        console.note(f"no --detector given: using the built-in one, {chosen.card.grade}: {chosen.card.description}")
    for warning in chosen.calibration.warnings:
        console.warn(warning)
    return chosen


def _write(outputs: Outputs, batches: Iterable[list[Verdict]], total: int, fdr: float | None, small_side: int) -> int:
    """All rows, as they come or, under a false-discovery rate, at the end; how many are of small pictures."""
    from aigiscan.detector.calibration import is_small
    from aigiscan.detector.discovery import at_discovery_rate

    waiting: list[Verdict] = []
    small = 0
    if fdr is not None:
        console.note("--fdr needs all p-values: the report is written when the last picture is judged")
    with console.bar("scan", total, rows_on_terminal=outputs.uses_stdout and sys.stdout.isatty()) as advance:
        for rows in batches:
            small += int(is_small([min(v.width, v.height) for v in rows], small_side).sum())
            if fdr is None:
                outputs.write(rows)
            else:
                waiting += rows
            advance(len(rows))
    if fdr is not None:
        outputs.write(at_discovery_rate(waiting, fdr))
    return small


def _tell(outputs: Outputs, detector: Detector | None, fdr: float | None, seconds: float, *, tabled: bool) -> None:
    """What somebody at a terminal wants to know in the end."""
    from aigiscan.reports.terminal import meaning, summary

    console.note(summary(outputs.counts, seconds))
    if not tabled:
        outputs.tell_failures()
    if detector is None:
        console.note("claims can be forged and stripped: no claim means nothing")
    else:
        console.note(meaning(detector.calibration, outputs.counts.total() - outputs.counts["unreadable"], fdr))


def _verdicts(option: str, given: Sequence[str], *more: str) -> tuple[str, ...]:
    """Verdicts (and what else an option takes) of one that takes several, apart or with commas between."""
    from aigiscan.detector.verdict import VERDICTS

    known = (*VERDICTS, *more)
    values = tuple(value for item in given for value in item.split(",") if value)
    for value in values:
        if value not in known:
            raise InputError(f"{option} {value} is not a verdict: use one of {', '.join(known)}")
    return values
