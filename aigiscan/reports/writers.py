"""Verdicts → text lines, CSV or JSON lines, and back: what a cut report holds.

A report is valid UTF-8 whatever the file names are: bytes of a name that are not UTF-8 are written as ``\\xNN``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aigiscan.detector.verdict import REPORT_COLUMNS, Verdict
from aigiscan.errors import InputError
from aigiscan.provenance.claims import as_objects, from_json
from aigiscan.text import csv_line, json_line, printable, safe_cell


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """What is needed again of a row that is in a report. path: as the report spells it. start, stop: its bytes."""

    path: str
    verdict: str
    score: float | None
    start: int
    stop: int


class ReportFormat(Protocol):
    """Rows as text. A row that was cut in the middle is not found by ``rows``."""

    def header(self) -> str:
        """What stands before the rows."""

    def line(self, row: Verdict) -> str:
        """One row with its line end."""

    def spelled(self, path: str) -> str:
        """A path as a reader of the report gets it."""

    def rows(self, raw: bytes) -> Iterator[WrittenRow]:
        """The whole rows of a report, in order; InputError if it is another table."""


def _values(row: Verdict, columns: tuple[str, ...]) -> dict[str, Any]:
    """Column → value, floats rounded so that a rerun gives the same bytes and batch rounding does not show."""

    def rounded(value: float | None, digits: int) -> float | None:
        # + 0.0 turns a rounded -0.0 into 0.0
        return None if value is None else round(value, digits) + 0.0

    values = {name: getattr(row, name) for name in columns}
    values |= {"p_ai": rounded(row.p_ai, 4), "score": rounded(row.score, 4), "p_value": rounded(row.p_value, 5)}
    if row.likelihood_ratio is not None and "likelihood_ratio" in values:
        values["likelihood_ratio"] = float(f"{row.likelihood_ratio:.4g}")
    # a size of 0 would read as a measurement; 0 bytes of an empty file is one
    return values | {name: values[name] or None for name in ("width", "height", *([] if row.error else ["bytes"]))}


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """RFC 4180 with ``\\n`` line ends; the first line names the columns; what is not known is empty.

    excel_safe: text that a spreadsheet would run as a formula gets an apostrophe in front.
    """

    excel_safe: bool = False
    columns: tuple[str, ...] = REPORT_COLUMNS

    def header(self) -> str:
        """The line of column names."""
        return csv_line(self.columns)

    def line(self, row: Verdict) -> str:
        """One row; fields with commas, quotes or line breaks are quoted."""
        return csv_line(_values(row, self.columns).values(), excel_safe=self.excel_safe)

    def spelled(self, path: str) -> str:
        """A path as a CSV reader gets it."""
        return safe_cell(printable(path)) if self.excel_safe else printable(path)

    def rows(self, raw: bytes) -> Iterator[WrittenRow]:
        """A record ends at a line break outside quotes: an even number of quotes so far."""
        header = self.header().encode()
        if not raw.startswith(header):
            if header.startswith(raw):
                return
            raise InputError("it is not a report of this version")
        stop, pending = len(header), b""
        for line in io.BytesIO(raw[stop:]):
            pending += line
            if not pending.endswith(b"\n") or pending.count(b'"') % 2:
                continue
            cells = next(csv.reader(io.StringIO(pending.decode("utf-8"), newline="")))
            values = dict(zip(self.columns, cells, strict=True))
            score = float(values["score"]) if values["score"] else None
            yield WrittenRow(values["path"], values["verdict"], score, stop, stop + len(pending))
            stop, pending = stop + len(pending), b""


@dataclass(frozen=True, slots=True)
class JsonLinesFormat:
    """One JSON object per line: the CSV columns as keys, null where there is no number, and ``claims``."""

    columns: tuple[str, ...] = REPORT_COLUMNS

    def header(self) -> str:
        """No header: every line names its keys."""
        return ""

    def line(self, row: Verdict) -> str:
        """One row."""
        return json_line(_values(row, self.columns) | {"claims": as_objects(from_json(row.claims))})

    def spelled(self, path: str) -> str:
        """A path as a JSON reader gets it."""
        return printable(path)

    def rows(self, raw: bytes) -> Iterator[WrittenRow]:
        """A row is a line that is whole JSON."""
        stop = 0
        for line in raw.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            try:
                values = json.loads(line)
                row = WrittenRow(values["path"], values["verdict"], values["score"], stop, stop + len(line))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError("it is not a report of this version") from error
            yield row
            stop += len(line)


CSV, JSON_LINES = "csv", "jsonl"
#: name for ``--format`` → what makes the format; excel_safe is for CSV alone
REPORT_FORMATS: tuple[str, ...] = (CSV, JSON_LINES)
_BY_SUFFIX = {".jsonl": JSON_LINES, ".ndjson": JSON_LINES}


def choose_format(
    name: str | None, output: Path | None, *, excel_safe: bool = False, columns: tuple[str, ...] = REPORT_COLUMNS
) -> ReportFormat:
    """The format of that name; None: what the name of the output says, else CSV. InputError for an unknown name."""
    chosen = name or _BY_SUFFIX.get("" if output is None else output.suffix.lower(), CSV)
    if chosen not in REPORT_FORMATS:
        raise InputError(f"--format {chosen} is not known: use {' or '.join(REPORT_FORMATS)}")
    if chosen == CSV:
        return CsvFormat(excel_safe, columns)
    if excel_safe:
        raise InputError("--excel-safe is for CSV; JSON lines hold no formulas")
    return JsonLinesFormat(columns)
