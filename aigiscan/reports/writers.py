"""Verdicts → text lines: CSV and JSON lines.

A report is valid UTF-8 whatever the file names are: bytes of a name that are not UTF-8 are written as ``\\xNN``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aigiscan.detector.verdict import REPORT_COLUMNS, Verdict
from aigiscan.text import csv_line, json_line


def _values(row: Verdict) -> dict[str, Any]:
    """Column → value, floats rounded so that a rerun gives the same bytes and batch rounding does not show."""

    def rounded(value: float | None, digits: int) -> float | None:
        # + 0.0 turns a rounded -0.0 into 0.0
        return None if value is None else round(value, digits) + 0.0

    values = {name: getattr(row, name) for name in REPORT_COLUMNS}
    values |= {"p_ai": rounded(row.p_ai, 4), "score": rounded(row.score, 4), "p_value": rounded(row.p_value, 5)}
    unknown = {name: "" for name in ("width", "height", "bytes") if not values[name]}
    if row.error:  # a size of 0 would read as a measurement; 0 bytes of an empty file is one
        unknown.pop("bytes", None)
        values |= unknown
    return values


class CsvFormat:
    """RFC 4180 with ``\\n`` line ends; the first line names the columns."""

    suffix = ".csv"

    @staticmethod
    def header() -> str:
        """The line of column names."""
        return csv_line(REPORT_COLUMNS)

    @staticmethod
    def line(row: Verdict) -> str:
        """One row; fields with commas, quotes or line breaks are quoted."""
        return csv_line(_values(row).values())


class JsonLinesFormat:
    """One JSON object per line, same keys as the CSV columns; null where there is no number."""

    suffix = ".jsonl"

    @staticmethod
    def header() -> str:
        """No header: every line names its keys."""
        return ""

    @staticmethod
    def line(row: Verdict) -> str:
        """One row."""
        return json_line(_values(row))


REPORT_FORMATS: dict[str, type[CsvFormat] | type[JsonLinesFormat]] = {"csv": CsvFormat, "jsonl": JsonLinesFormat}
Writer = Callable[[Verdict], None]
