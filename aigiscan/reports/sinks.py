"""Where verdicts go as they come, a batch at a time: a stream, or a screen (a report on disk: reports/files.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from aigiscan.detector.verdict import Verdict
from aigiscan.errors import InputError
from aigiscan.files import cannot_write, is_straight, reason
from aigiscan.reports.files import Arrangement


class Sink(Protocol):
    """Takes the rows of a batch."""

    def write(self, rows: Sequence[Verdict]) -> None:
        """Take them; what can be shown at once is out when this returns."""


class StreamSink:
    """Rows as bytes through a function that writes; rows that are to be sorted wait until :meth:`finish`."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        line: Callable[[Verdict], bytes],
        arrangement: Arrangement,
        header: str = "",
    ) -> None:
        self._write, self._line, self._arrangement = write, line, arrangement
        self._waiting: list[Verdict] = []
        write(header.encode())

    def write(self, rows: Sequence[Verdict]) -> None:
        """Write those that are shown, or keep them to be sorted."""
        self._waiting += [row for row in rows if self._arrangement.shows(row.verdict)]
        if not self._arrangement.sorts:
            self.finish()

    def finish(self) -> None:
        """Write what was kept."""
        self._waiting.sort(key=lambda row: self._arrangement.key(row.score))
        self._write(b"".join(map(self._line, self._waiting)))
        self._waiting = []


def name_line(row: Verdict) -> bytes:
    """The bytes that the file system has for a name, and a NUL: for ``xargs -0``."""
    return os.fsencode(row.path) + b"\0"


class ScreenSink:
    """Keeps what a table shows: all rows, or the most suspicious ``most`` of them."""

    def __init__(self, arrangement: Arrangement, most: int) -> None:
        self._arrangement, self._most = arrangement, most
        self._rows: list[Verdict] = []
        self.left_out = 0

    def write(self, rows: Sequence[Verdict]) -> None:
        """Keep those that may be shown."""
        self._rows += [row for row in rows if self._arrangement.shows(row.verdict)]
        if len(self._rows) > 2 * self._most:
            self.rows()

    def rows(self) -> list[Verdict]:
        """The rows to be shown, in their order."""
        self._rows.sort(key=lambda row: self._arrangement.key(row.score))
        self.left_out += max(0, len(self._rows) - self._most)
        del self._rows[self._most :]
        return self._rows


class StraightFile:
    """What is no regular file (a device, a FIFO), written as rows come. InputError in one line if it takes no more."""

    def __init__(self, path: Path) -> None:
        assert is_straight(path)
        self._path = path
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {reason(error)}") from error

    def close(self) -> None:
        """Close it."""
        self._file.close()
