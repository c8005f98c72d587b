"""Records in the order of their paths, however many there are: sorted in runs, which lie on disk if they are many."""

from __future__ import annotations

import heapq
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import islice
from typing import IO

from aigiscan.errors import InputError
from aigiscan.files import reason
from aigiscan.images.records import ImageRecord

#: records sorted in memory at once (half a MB); a listing of no more than these never touches the disk
RUN = 2048
#: records read at once of each run that is merged; a million images are 489 runs
BLOCK = 16


_FIELDS = fields(ImageRecord)


class Listing:
    """Image records sorted by ``key`` of their path, of equal ones the first given first; can be gone through again.

    Memory does not grow with the number of records: beyond :data:`RUN` of them they lie in a temporary file without a
    name, about 100 bytes each, which goes when the listing goes.
    """

    def __init__(self, records: Iterable[ImageRecord], key: Callable[[str], bytes] = os.fsencode) -> None:
        self._key = key
        self._count = 0
        self._runs: list[tuple[int, int]] = []  # first and last byte in the file
        self._file: IO[bytes] | None = None
        self._small: list[ImageRecord] = []
        rest = iter(records)
        while run := list(islice(rest, RUN)):
            run.sort(key=self._key_of)
            self._count += len(run)
            if self._runs or len(run) == RUN:
                self._keep(run)
            else:
                self._small = run

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ImageRecord]:
        if not self._runs:
            return iter(self._small)
        return heapq.merge(*(self._read(*ends) for ends in self._runs), key=self._key_of)

    def _key_of(self, record: ImageRecord) -> bytes:
        return self._key(record.path)

    def _keep(self, run: list[ImageRecord]) -> None:
        if self._file is None:
            self._file = _temporary_file()
        start = self._file.seek(0, os.SEEK_END)
        try:
            for i in range(0, len(run), BLOCK):
                # JSON keeps the escapes of names that are not UTF-8, and runs no code when it is read
                self._file.write(json.dumps([_values(record) for record in run[i : i + BLOCK]]).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"the list of files does not fit into {tempfile.gettempdir()}: {reason(error)}; set TMPDIR"
            ) from error
        self._runs.append((start, self._file.tell()))

    def _read(self, place: int, end: int) -> Iterator[ImageRecord]:
        assert self._file is not None
        while place < end:
            self._file.seek(place)
            line = self._file.readline()
            place += len(line)
            for values in json.loads(line):
                yield ImageRecord(*values)


def one_of_each(
    records: Iterable[ImageRecord], same: Callable[[str], str] = os.path.abspath, *, last: bool = False
) -> Listing:
    """Records sorted by path, of those whose ``same(path)`` is equal only the first (or the last) given."""

    def chosen() -> Iterator[ImageRecord]:
        together = Listing(records, key=lambda path: os.fsencode(same(path)))
        kept: ImageRecord | None = None
        for record in together:
            if kept is not None and same(record.path) != same(kept.path):
                yield kept
                kept = None
            if kept is None or last:
                kept = record
        if kept is not None:
            yield kept

    return Listing(chosen())


def _values(record: ImageRecord) -> list[str | int | None]:
    if record == ImageRecord(record.path):  # a walk knows nothing else
        return [record.path]
    return [getattr(record, field.name) for field in _FIELDS]


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return io.BytesIO()  # nowhere to write: 100 bytes of memory per record
