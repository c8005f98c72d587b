"""Foreign text, rows and values → text that a terminal, a CSV reader or a JSON reader takes as it was meant.

Names of files need not be UTF-8, and may hold line breaks and terminal commands. ``printable`` is for files, whose
formats quote what they must; ``visible`` is for people and terminals.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

#: what a terminal would obey or hide rather than show: controls, line separators, marks that reverse the reading order
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: what a spreadsheet takes for a formula at the beginning of a cell (OWASP, "CSV Injection")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str) -> str:
    """The text with what is not UTF-8 (surrogate escapes of undecodable file names) written as ``\\xNN``."""
    if text.isascii():
        return text
    # A lone surrogate that stands for no byte (a JSON escape, a Windows name) is written as \\uNNNN.
    return "".join(c if not "\ud800" <= c <= "\udfff" else _surrogate(c) for c in text)


def _surrogate(c: str) -> str:
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else f"\\u{ord(c):04x}"


def visible(text: str) -> str:
    """As :func:`printable`, and in one line: controls and marks of reading order are written as ``\\xNN``."""
    return _HIDDEN.sub(lambda found: _code(found[0]), printable(text))


def _code(c: str) -> str:
    return _NAMED.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 0x100 else f"\\u{ord(c):04x}")


def csv_line(cells: Iterable[Any], *, excel_safe: bool = False) -> str:
    """One row of RFC 4180 with ``\\n`` at its end. None and NaN are empty cells; text is :func:`printable`.

    excel_safe: text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    return ",".join([_csv_cell(cell, excel_safe) for cell in cells]) + "\n"


def _csv_cell(value: Any, excel_safe: bool) -> str:
    if not isinstance(value, str):
        # NaN is the one number that is not itself
        return "" if value is None or value != value else str(value)
    text = printable(value)
    if excel_safe:
        text = safe_cell(text)
    # csv.writer with "\n" line ends leaves a lone "\r" unquoted, and its own reader then breaks the row there
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def safe_cell(text: str) -> str:
    """The text, with an apostrophe in front if a spreadsheet would run it as a formula."""
    return "'" + text if text.startswith(_FORMULA) else text


def json_line(data: Any) -> str:
    """One line of JSON with its line end; see :func:`plain`."""
    return json.dumps(plain(data), ensure_ascii=False, allow_nan=False) + "\n"


def json_text(data: Any) -> str:
    """Indented JSON for a file; see :func:`plain`."""
    return json.dumps(plain(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(data: Any) -> Any:
    """Dataclasses, arrays, NumPy numbers, paths → what JSON knows; NaN and infinity → None; text printable."""
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if data is None or isinstance(data, (bool, int)):
        return data
    if is_dataclass(data) and not isinstance(data, type):
        return {field.name: plain(getattr(data, field.name)) for field in fields(data)}
    if hasattr(data, "tolist"):  # arrays and their numbers, without importing NumPy here
        return plain(data.tolist())
    if hasattr(data, "items"):
        return {printable(str(key)): plain(value) for key, value in data.items()}
    if isinstance(data, os.PathLike):
        return printable(os.fsdecode(data))
    return [plain(value) for value in data]


def common_folder(paths: Sequence[str]) -> str:
    """The folder that all paths lie in, with a separator at its end; "" if there is none or it is the current one."""
    try:
        found = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # none, or relative and absolute ones
        return ""
    return os.path.join(found, "") if found else ""
