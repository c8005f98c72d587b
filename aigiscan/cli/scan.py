"""``aigiscan scan``: folders, files, lists or stores in; a verdict per image out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.detector.verdict import Verdict
    from aigiscan.runner import Encoded

BUILTIN = "builtin"
_SHOWN_FAILURES = 10


def scan(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH...",
        help="Folders, files, a .txt list, a CSV manifest, a store (.h5), or - for a list on standard input.",
    ),
    detector: str | None = typer.Option(
        None,
        "--detector",
        "-d",
        help="Detector folder, or a name from `aigiscan detectors list`. Default: the built-in one.",
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write the report here instead of to standard output."
    ),
    report_format: str = typer.Option("csv", "--format", "-f", help="csv or jsonl."),
    table: bool = typer.Option(False, "--table", help="Also show the verdicts as a table on standard error."),
    resume: bool = typer.Option(False, "--resume", help="Continue a cut report: keep the finished rows of -o FILE."),
    cache: Path | None = typer.Option(
        None, "--cache", help="Store to take known embeddings from and to add new ones to."
    ),
    include: list[str] = typer.Option(
        [], "--include", help="Only files whose path below PATH matches this glob (repeatable)."
    ),
    exclude: list[str] = typer.Option(
        [], "--exclude", help="Skip files whose path below PATH matches this glob (repeatable)."
    ),
    fail_on: list[str] = typer.Option(
        [], "--fail-on", help="Exit with 1 if a verdict is this one: ai, uncertain, unreadable (repeatable)."
    ),
    batch_size: int = typer.Option(32, "--batch-size", min=1, help="Images encoded at once."),
    workers: int | None = typer.Option(
        None, "--workers", min=0, help="Threads that read and decode files (default: by the number of cores)."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda, cuda:N or mps."),
    precision: str | None = typer.Option(
        None, "--precision", help="auto, fp32, bf16 or fp16. Default: the one the detector was fitted with."
    ),
    max_pixels: int | None = typer.Option(
        None, "--max-pixels", min=1, help="Files with more pixels are not decoded but reported."
    ),
) -> None:
    """Judge every image: ai, real, uncertain or unreadable. CSV on standard output, notes on standard error."""
    from aigiscan.detector.detector import Detector
    from aigiscan.detector.verdict import VERDICTS
    from aigiscan.reports.writers import REPORT_FORMATS

    if report_format not in REPORT_FORMATS:
        raise InputError(f"--format {report_format} is not known: use {' or '.join(REPORT_FORMATS)}")
    for value in fail_on:
        if value not in VERDICTS:
            raise InputError(f"--fail-on {value} is not a verdict: use one of {', '.join(VERDICTS)}")
    if resume and output is None:
        raise InputError("--resume continues a report file: give it with -o FILE")
    chosen = Detector.load(detector or BUILTIN)
    if detector is None and chosen.card.grade:
        console.note(f"no --detector given: using the built-in one, {chosen.card.grade}: {chosen.card.description}")
    for warning in chosen.calibration.warnings:
        console.warn(warning)

    start = time.perf_counter()
    source = _Source(
        paths, include=include, exclude=exclude,
        options={"batch_size": batch_size, "workers": workers, **({"max_pixels": max_pixels} if max_pixels else {})},
    )  # fmt: skip
    formatter = REPORT_FORMATS[report_format]
    shown: list[Verdict] = []
    counts: Counter[str] = Counter()
    failures: list[Verdict] = []  # the first of them

    with _destination(output, report_format, resume, source) as write:
        encoded = source.encoded(chosen, device=device, precision=precision, cache=cache)
        for row in console.track(chosen.judge(encoded), total=source.total, description="scan"):
            write(formatter.line(row))
            counts[row.verdict] += 1
            if table:
                shown.append(row)
            if row.error and len(failures) < _SHOWN_FAILURES:
                failures.append(row)
    if table:
        _show(shown)
    if sys.stderr.isatty():
        _summarise(counts, failures, time.perf_counter() - start)
    if any(counts[value] for value in fail_on):
        raise typer.Exit(1)


class _Source:
    """What to scan: records to be opened and encoded, or the rows of stores that already are."""

    def __init__(self, paths: list[str], *, include: list[str], exclude: list[str], options: dict) -> None:
        from aigiscan.images.find import find_images
        from aigiscan.images.listing import Listing
        from aigiscan.store import is_store

        self.stores = [path for path in paths if path != "-" and is_store(path)]
        rest = [path for path in paths if path not in self.stores]
        self.options = options
        self.records = Listing(())
        if rest:
            self.records = find_images(rest, include=include, exclude=exclude, stdin=sys.stdin)
            if not self.records and not self.stores:
                raise InputError(f"no image found in {', '.join(rest)}: nothing to scan")
        self.done: set[str] = set()

    @property
    def total(self) -> int | None:
        """Number of rows to come, None where stores are read (their own length is added as they are opened)."""
        return None if self.stores else len(self.records)

    def skip(self, printed_paths: Iterable[str]) -> None:
        """Leave out what a cut report already holds."""
        from aigiscan.images.listing import Listing
        from aigiscan.text import printable

        self.done = set(printed_paths)
        self.records = Listing(record for record in self.records if printable(record.path) not in self.done)

    def encoded(
        self, detector: Detector, *, device: str, precision: str | None, cache: Path | None
    ) -> Iterator[Encoded]:
        """Encoded images in sorted path order: stores first, then files."""
        from aigiscan.detector.stored import encoded_from_store
        from aigiscan.embedding import EmbedSettings, encode
        from aigiscan.text import printable

        for path in self.stores:
            for row in encoded_from_store(detector, path):
                if printable(row.record.path) not in self.done:
                    yield row
        if self.records:
            encoder = detector.make_encoder(device=device, precision=precision)
            settings = EmbedSettings(equalization=detector.card.equalization, **self.options)
            yield from encode(self.records, encoder, settings, cache=cache)


@contextlib.contextmanager
def _destination(output: Path | None, report_format: str, resume: bool, source: _Source) -> Iterator:
    """A function that takes report lines; to standard output, flushed by the chunk, or to a file that is never torn."""
    from aigiscan.reports.files import finished_rows, open_report, part_path
    from aigiscan.reports.writers import REPORT_FORMATS

    if output is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        sys.stdout.write(REPORT_FORMATS[report_format].header())
        try:
            yield sys.stdout.write
        finally:
            sys.stdout.flush()
        return
    kept = 0
    if resume:
        if output.exists():
            raise InputError(f"{output} is complete: nothing to resume; leave out --resume to scan again")
        if part_path(output).exists():
            names, kept = finished_rows(output, report_format)
            source.skip(names)
            console.note(f"continuing {output}: {len(names)} rows are already there")
    with open_report(output, report_format, keep_bytes=kept) as handle:
        yield handle.write


def _show(rows: list[Verdict]) -> None:
    from aigiscan.text import printable

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    console.table(
        "verdicts",
        ("path", "verdict", "p_ai", "p_value", "note"),
        [(printable(r.path), r.verdict, cell(r.p_ai), cell(r.p_value), r.error or r.provenance) for r in rows],
    )


def _summarise(counts: Counter[str], failures: list[Verdict], seconds: float) -> None:
    from aigiscan.detector.verdict import VERDICT_UNREADABLE, VERDICTS
    from aigiscan.text import printable

    total = sum(counts.values())
    parts = ", ".join(f"{counts[v]} {v}" for v in VERDICTS)
    console.note(f"{total} images: {parts}; {total / max(seconds, 1e-9):.1f} images/s")
    for row in failures:
        console.note(f"unreadable: {printable(row.path)!r}: {row.error}")
    if (more := counts[VERDICT_UNREADABLE] - len(failures)) > 0:
        console.note(f"… and {more} more unreadable files (see the report)")
