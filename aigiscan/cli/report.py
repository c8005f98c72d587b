"""``aigiscan report``: a report that exists → one page with thumbnails."""

from __future__ import annotations

from pathlib import Path

import typer

from aigiscan.cli import console, options


def report(
    given: Path = typer.Argument(..., metavar="REPORT", help="Report of a scan, CSV or JSON lines."),
    html: Path = typer.Option(..., "--html", help="Page to write."),
    thumbnails: options.Thumbnails = None,
    explanations: Path | None = typer.Option(
        None,
        "--explanations",
        help="What `aigiscan explain DETECTOR PICTURES -o FOLDER` wrote: shown beside the pictures.",
    ),
) -> None:
    """Show a report as one page that sorts, filters and marks; pictures are looked up under their paths."""
    from aigiscan.files import check_file
    from aigiscan.reports.page import INLINE, ReportPage, read_report

    check_file(html)
    rows, meta = read_report(given)
    if len(rows) > INLINE and thumbnails is None:
        console.note(f"{len(rows)} thumbnails in one page are much to load: --thumbnails FOLDER keeps them beside it")
    missing = sum(not Path(row.path).exists() for row in rows)
    if missing:
        console.warn(f"{missing} of {len(rows)} pictures are not where the report says: they have no thumbnails")
    page = ReportPage(rows, meta, f"Report of {len(rows)} pictures", thumbnails, explanations)
    console.note(f"wrote {page.write(html)}")
