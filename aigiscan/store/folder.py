"""A folder of parts and its row table: the form in which a store is written, and in which it may stay.

No file that is there is ever changed: rows come as a new part, which is on the disk before the table names it, and
small parts are merged into a new one before they go. A part that the table does not name (its writer was killed, or
was another machine of a cluster) is taken over when the folder is opened for writing; without a table all are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.encoders import compare_fingerprints
from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.files import TMP_SUFFIX, replacing, uninterrupted
from aigiscan.store import layout
from aigiscan.store.files import locate
from aigiscan.store.part import OpenParts, Part
from aigiscan.store.table import TABLE_NAME, RowTable, damaged

_PART = re.compile(r"part-(\d{8})\.h5")
#: of an older version: session and, if it had not finished, number
_OLD_PART = re.compile(r"g(\d{6})(?:-(\d{6}))?\.h5")
FIRST_PART = "part-00000000.h5"
# Sixteen parts below a size are merged into one, so that even millions of images leave dozens of files; the largest
# stay as they are, and every row is written four times at most.
FAN_IN = 16
_LEVELS = (1 << 20, 16 << 20, 256 << 20)


def list_parts(folder: Path) -> list[str]:
    """Names of the parts of a folder in the order of writing."""
    try:
        keys = {name: key for name in os.listdir(folder) if (key := _part_key(name)) is not None}
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(keys, key=keys.__getitem__)


def _part_key(name: str) -> tuple[int, int, int] | None:
    if found := _PART.fullmatch(name):
        return 1, int(found[1]), 0
    if found := _OLD_PART.fullmatch(name):  # a session's finished part comes before what is left over of it
        return 0, int(found[1]), int(found[2] or 0)
    return None


class Folder:
    """A folder store opened: to read (its state of now stays), or to write (which one process may at a time)."""

    def __init__(self, path: Path, table: RowTable) -> None:
        self.path, self.table, self.open_parts = path, table, OpenParts()
        self.fingerprint: dict[str, Any] = table.get("fingerprint")
        self.channels = layout.channels_from_json(table.get("channels"))
        self.versions: dict[str, str] = table.get("versions")
        #: size and time of the packed file that this folder continues
        self.base: list[int] | None = table.get("base")
        self._next = 0

    @classmethod
    def to_read(cls, path: Path) -> Folder:
        """As it is now; FileNotFoundError if there is none."""
        if not (path / TABLE_NAME).exists() and list_parts(path):  # an older version's, or the table was lost
            return cls._from_parts(path, RowTable.new(""))
        try:
            return cls(path, RowTable.to_read(path))
        except sqlite3.Error as error:
            raise damaged(path, error) from error

    @classmethod
    def to_write(cls, path: Path) -> Folder:
        """With all parts that are there taken over, and what killed writers left removed."""
        for name in os.listdir(path):
            if name.endswith(TMP_SUFFIX):
                (path / name).unlink(missing_ok=True)
        try:
            folder = cls(path, RowTable.to_write(path))
            with uninterrupted():
                folder.table.begin()
                folder._take_over_parts()
                folder.table.commit()
        except sqlite3.DatabaseError as error:
            raise damaged(path, error) from error
        folder.remove_retired()
        return folder

    @classmethod
    def make(
        cls,
        path: Path,
        fingerprint: Mapping[str, Any],
        channels: Mapping[str, ChannelSpec],
        base: Sequence[int] | None = None,
    ) -> None:
        """Give a folder its table, whole or not at all, with what the parts hold that lie there already.

        base: size and time of the packed file that this folder continues.
        """
        with replacing(path / TABLE_NAME) as tmp:
            table = RowTable.new(tmp)
            table.begin()
            if list_parts(path):
                cls._from_parts(path, table).open_parts.close()
            else:
                table.set_header(fingerprint, channels, layout.versions())
            table.state("base", base)
            table.commit()
            table.close()

    @classmethod
    def _from_parts(cls, path: Path, table: RowTable) -> Folder:
        parts = list_parts(path)
        if not parts:  # a writer was clearing the folder: what it held is packed by now
            raise FileNotFoundError(path)
        first = Part(path / parts[0])
        table.set_header(first.fingerprint, first.channels, first.versions)
        first.close()
        folder = cls(path, table)
        folder._take_over_parts()
        return folder

    def close(self) -> None:
        """Close everything; what was not committed is lost."""
        self.open_parts.close()
        self.table.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: name for number, (name, *_) in self.table.parts().items()}

    @property
    def files(self) -> list[Path]:
        """The files that make up the store."""
        table = self.path / TABLE_NAME
        return [*([table] if table.exists() else []), *(self.path / name for name in self._names.values())]

    @property
    def unfinished(self) -> bool:
        """Whether a run was cut, or is going on."""
        return bool(self.table.get("unfinished")) or any("-" in n and n.startswith("g") for n in self._names.values())

    def read(self, channel: str, parts: np.ndarray, places: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Entries of a channel in their stored type, by number of part and place in it.

        FileNotFoundError if a part has gone: it was merged, or the store was packed, after this was opened.
        """
        spec = self.channels[channel]
        shape = np.empty(spec.shape, dtype=np.bool_)[index].shape if spec.shape else ()
        out = np.empty((len(parts), *shape), dtype=spec.dtype)
        for number in np.unique(parts):
            (where,) = np.nonzero(parts == number)
            part = self.open_parts.get(self.path / self._names[int(number)])
            out[where] = part.read_stored(channel, places[where], index)
        return out

    # -- writing ------------------------------------------------------------------------------------------------------

    def next_name(self) -> str:
        """A name for the next part, never given before."""
        if not self._next:
            known = [*list_parts(self.path), *(name for name, *_ in self.table.all_parts().values())]
            self._next = max((key[1] for name in known if (key := _part_key(name)) and key[0]), default=0)
        self._next += 1
        return f"part-{self._next:08d}.h5"

    def adopt(self, name: str) -> int:
        """Take the rows and failures of a part into the table; returns the part's number. Nothing is committed.

        StoreError if another encoder made it.
        """
        file = self.path / name
        part = self.open_parts.get(file)
        different = compare_fingerprints(self.fingerprint, part.fingerprint)
        if different or part.channels != self.channels:
            raise StoreError(f"{file} was made with another encoder than the rest of the store; move it away")
        number = self.table.add_part(name, len(part), file.stat().st_size)
        self.__dict__.pop("_names", None)
        dropped = [path for (path,) in part.table(layout.DROPPED, ["path"])]
        if part.is_old:  # of its paths, wherever they were given from, the last entry counted, whatever it was
            paths = (path for block in part.column("path") for path in block)
            for path in chain(paths, dropped, (failed for failed, *_ in part.failure_rows())):
                self.table.vacate(path)
                self.table.vacate(locate(path))
        blocks = zip(*(part.column(column) for column in layout.COLUMNS), strict=True)
        for place, values in enumerate(row for block in blocks for row in zip(*block, strict=True)):
            if values[0]:  # else it was superseded when parts were merged
                self.table.insert(number, place, values)
        for failure in part.failure_rows():
            self.table.fail(*failure)
        return number

    def _take_over_parts(self) -> None:
        known = {name for name, *_ in self.table.all_parts().values()}
        for name in list_parts(self.path):
            if name not in known:
                self.adopt(name)
        missing = [n for n, (name, *_) in self.table.parts().items() if not (self.path / name).exists()]
        self.table.forget_parts(missing)
        self.table.sweep()
        self.table.retire_empty_parts()
        self.__dict__.pop("_names", None)

    def tidy(self) -> None:
        """Merge what has become many; nothing may be uncommitted."""
        lowest = 0
        for limit in _LEVELS:
            small = [n for n, (_, _, size) in self.table.parts().items() if lowest <= size < limit]
            if len(small) >= FAN_IN:
                self.merge(small)
            lowest = limit

    def merge(self, numbers: Sequence[int]) -> None:
        """Write the rows of some parts as one new part, and remove those."""
        chosen = Selection(self, f"part IN ({', '.join(map(str, numbers))})", failures=False)
        name = self.next_name()
        ids = chosen.ids()
        if ids:
            layout.write_file(self.path / name, chosen)
        with uninterrupted():
            self.table.begin()
            if ids:
                merged = self.table.add_part(name, len(ids), (self.path / name).stat().st_size)
                self.table.move(ids, merged)
            self.table.retire(numbers)
            self.table.commit()
        self.remove_retired()

    def finish(self) -> None:
        """End a run: forget superseded rows, and merge the parts of which they were more than half."""
        self.table.begin()
        if self.table.sweep():
            self.table.retire_empty_parts()
            sparse = self.table.sparse_parts()
            self.table.commit()
            if sparse:
                self.merge(sparse)
        self.table.begin()
        if self.table.get("unfinished"):
            self.table.state("unfinished", False)
        self.table.commit()
        self.remove_retired()

    def become(self, source: layout.Source) -> None:
        """Hold what a source holds instead, in one commit."""
        name = self.next_name()
        self.table.retire([self.table.add_part(name, 0, 0)])  # if a kill comes before the commit it is a leftover
        layout.write_file(self.path / name, source)
        with uninterrupted():
            self.table.begin()
            self.table.clear()
            self.table.set_header(source.fingerprint, source.channels, layout.versions())
            self.fingerprint, self.channels = dict(source.fingerprint), dict(source.channels)
            self.adopt(name)
            self.table.commit()
        self.remove_retired()

    def remove_retired(self) -> None:
        """Remove the files of parts that are in use no more; one that is open on Windows goes another time."""
        self.__dict__.pop("_names", None)
        there = set(os.listdir(self.path))
        for name, *_ in self.table.parts(live=False).values():
            if name in there:
                self.open_parts.close(self.path / name)
                with contextlib.suppress(PermissionError):
                    (self.path / name).unlink(missing_ok=True)


class Selection:
    """Some rows of a folder, sorted by location: all of them, or those of some parts
    (:class:`aigiscan.store.layout.Source`)."""

    def __init__(self, folder: Folder, condition: str = "location IS NOT NULL", *, failures: bool = True) -> None:
        self.folder = folder
        self.fingerprint, self.channels, self.versions = folder.fingerprint, folder.channels, folder.versions
        self._condition = f"WHERE {condition} ORDER BY location, id"
        self._failures = failures

    def __len__(self) -> int:
        return len(self._places[0])

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        found = self.folder.table.sql.execute(f"SELECT part, place FROM rows {self._condition}")
        pairs = np.fromiter((number for pair in found for number in pair), dtype=np.int32)
        return pairs[0::2], pairs[1::2]

    def ids(self) -> list[int]:
        """The rows' numbers in the table."""
        return [row for (row,) in self.folder.table.sql.execute(f"SELECT id FROM rows {self._condition}")]

    def column(self, name: str) -> Iterator[list]:
        """Entries of one column, in blocks."""
        if name in self.folder.table.columns():
            cursor = self.folder.table.sql.execute(f'SELECT "{name}" FROM rows {self._condition}')
            while block := cursor.fetchmany(layout.TABLE_BLOCK):
                default = layout.DEFAULTS[name]
                yield [default if value is None else value for (value,) in block]
        else:
            yield [layout.DEFAULTS[name]] * len(self)

    def failure_rows(self) -> list[tuple[str, ...]]:
        """Entries of :data:`aigiscan.store.layout.FAILURE_COLUMNS`."""
        return self.folder.table.failures() if self._failures else []

    def read_stored(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Rows of a channel in their stored type; ``index`` selects on its further axes."""
        parts, places = self._places
        return self.folder.read(channel, parts[rows], places[rows], index)

    def close(self) -> None:
        """Close the folder."""
        self.folder.close()


def link(file: Path, name: Path) -> None:
    """Give a file another name that stays when the first is given to another file."""
    try:
        os.link(file, name)
    except OSError:  # a file system without hard links
        with replacing(name) as tmp:
            shutil.copyfile(file, tmp)
