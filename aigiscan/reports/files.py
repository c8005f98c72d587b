"""Reports on disk: complete under their name, or resumable under ``NAME.part``; never torn.

Rows go to ``NAME.part``; when the last one is written the file gets its name in one step. A cut run leaves
``NAME.part`` with whole rows (a torn last row is cut off on resuming).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from aigiscan.errors import InputError
from aigiscan.reports.writers import REPORT_FORMATS


def part_path(path: Path) -> Path:
    """Where the rows of an unfinished report lie."""
    return path.with_name(path.name + ".part")


def finished_rows(path: Path, report_format: str) -> tuple[list[str], int]:
    """The ``path`` column of every whole row of a cut report, in order, and the byte length of these rows.

    A row that was cut in the middle (no line end, or an open quote) is not counted.
    """
    raw = part_path(path).read_bytes()
    if report_format == "jsonl":
        names, length = [], 0
        for line in raw.splitlines(keepends=True):
            try:
                names.append(str(json.loads(line)["path"]))
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                names.pop()
                break
            length += len(line)
        return names, length

    header = REPORT_FORMATS[report_format].header()
    if not raw.startswith(header.encode()):
        if header.encode().startswith(raw):
            return [], 0
        raise InputError(f"{part_path(path)} is not an unfinished report of this version: remove it to start anew")
    # A record ends at a line break outside quotes: an even number of quotes so far.
    names, length, pending = [], len(header.encode()), b""
    for line in io.BytesIO(raw[length:]):
        pending += line
        if pending.endswith(b"\n") and pending.count(b'"') % 2 == 0:
            names.append(next(csv.reader(io.StringIO(pending.decode("utf-8"), newline="")))[0])
            length += len(pending)
            pending = b""
    return names, length


@contextlib.contextmanager
def open_report(path: Path, report_format: str, *, keep_bytes: int = 0) -> Iterator[TextIO]:
    """A text file for rows, renamed to ``path`` when the block ends well; on an error the rows stay in ``.part``.

    keep_bytes: length of the finished rows to continue after (0: begin with the header).
    """
    part = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = part.open("r+" if keep_bytes else "w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another -o") from error
    with handle:
        if keep_bytes:
            handle.truncate(keep_bytes)
            handle.seek(0, io.SEEK_END)
        else:
            handle.write(REPORT_FORMATS[report_format].header())
        try:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write {part}: {error.strerror}; finished rows are kept there, --resume continues"
            ) from error
    part.replace(path)
