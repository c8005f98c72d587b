"""The row table of a store: one SQLite file that says of each image what it is and in which part its channels lie.

It is written in WAL mode: a reader keeps the state it began with while a writer goes on, and a kill or a power cut
leaves the last commit. Network file systems have no shared memory for that; there the table has a rollback journal,
and a reader works on a copy of its own.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store import layout

TABLE_NAME = "rows.sqlite"
_NAMES = ", ".join(f'"{name}"' for name in layout.COLUMNS)
# Text is bound as bytes and cast, because names may hold bytes that are not UTF-8.
_VALUES = ", ".join("CAST(? AS TEXT)" if kind.endswith("text") else "?" for kind in layout.COLUMNS.values())
_TYPES = ", ".join(
    f'"{name}" TEXT{" UNIQUE" if name == "location" else ""}' if kind.endswith("text") else f'"{name}" INTEGER'
    for name, kind in layout.COLUMNS.items()
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS parts (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE, rows INTEGER, bytes INTEGER, live INTEGER
);
CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, part INTEGER, place INTEGER, {_TYPES});
CREATE TABLE IF NOT EXISTS failures (path TEXT, error TEXT, location TEXT PRIMARY KEY, sha256 TEXT);
CREATE INDEX IF NOT EXISTS rows_by_content ON rows (bytes, substr(sha256, 1, 16));
CREATE INDEX IF NOT EXISTS rows_by_part ON rows (part);
"""
#: file systems without the shared memory that WAL needs (Linux' names for them; 9p: Windows' drives seen from WSL)
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "9p", "fuse.")


class Known(NamedTuple):
    """A row that was looked up."""

    id: int
    location: str | None
    record: ImageRecord
    facts: FileFacts


class RowTable:
    """SQL and nothing else; :class:`aigiscan.store.folder.Folder` has the rules.

    A row whose ``location`` is NULL was superseded or dropped in this run; its numbers can still be asked for until
    the run ends.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.sql = connection
        self.sql.text_factory = layout.decode_text

    @classmethod
    def new(cls, path: Path | str) -> RowTable:
        """An empty table; path "": for the moment, on the disk only if it grows."""
        table = cls(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        table.sql.executescript(_SCHEMA)
        return table

    @classmethod
    def to_write(cls, folder: Path) -> RowTable:
        """Open the table of a folder, and give it the columns that are newer than it."""
        path = folder / TABLE_NAME
        table = cls(sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False))
        table._check(path)
        table.sql.execute(f"PRAGMA journal_mode = {'DELETE' if on_network(folder) else 'WAL'}")
        # a commit is on the disk before the files that it no longer names are removed
        table.sql.execute("PRAGMA synchronous = FULL")
        for name in layout.COLUMNS.keys() - table.columns():
            kind = "TEXT" if layout.COLUMNS[name].endswith("text") else "INTEGER"
            table.sql.execute(f"ALTER TABLE rows ADD COLUMN \"{name}\" {kind} DEFAULT '{layout.DEFAULTS[name]}'")
        return table

    @classmethod
    def beside(cls, folder: Path) -> RowTable:
        """A second connection, that always sees the last commit."""
        return cls(sqlite3.connect(folder / TABLE_NAME, timeout=60, isolation_level=None, check_same_thread=False))

    @classmethod
    def to_read(cls, folder: Path) -> RowTable:
        """Open the table of a folder as it is now; what is written later is not seen. FileNotFoundError if none."""
        path = folder / TABLE_NAME
        if not path.exists():
            raise FileNotFoundError(path)
        uri = path.absolute().as_uri()
        try:
            table = cls(_snapshot(f"{uri}?mode=rw"))
        except sqlite3.OperationalError as error:
            if not path.exists():
                raise FileNotFoundError(path) from error
            if path.with_name(TABLE_NAME + "-wal").exists():
                raise
            table = cls(_snapshot(f"{uri}?immutable=1"))  # a place that cannot be written, so nobody does
        table._check(path)
        return table

    def _check(self, path: Path) -> None:
        layout.check_format(self.sql.execute("PRAGMA user_version").fetchone()[0], path)

    def close(self) -> None:
        """Close it; what was not committed is lost."""
        self.sql.close()

    def begin(self) -> None:
        """Begin a transaction if none is open."""
        if not self.sql.in_transaction:
            self.sql.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction, if there is one."""
        if self.sql.in_transaction:
            self.sql.execute("COMMIT")

    # -- header -------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Any:
        """A fact of the store, None if it has none."""
        found = self.sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def state(self, key: str, value: Any) -> None:
        """State a fact."""
        self.sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True)))

    def set_header(
        self, fingerprint: Mapping[str, Any], channels: Mapping[str, ChannelSpec], versions: Mapping[str, str]
    ) -> None:
        """Whose numbers these are."""
        self.state("fingerprint", fingerprint)
        self.state("channels", layout.channels_to_json(channels))
        self.state("versions", versions)
        self.sql.execute(f"PRAGMA user_version = {layout.FORMAT}")

    # -- rows ---------------------------------------------------------------------------------------------------------

    def columns(self) -> set[str]:
        """Columns this table has; one of an older version has fewer."""
        return {name for _, name, *_ in self.sql.execute("PRAGMA table_info(rows)")}

    def insert(self, part: int, place: int, values: Iterable[Any]) -> None:
        """Add a row (values in the order of :data:`aigiscan.store.layout.COLUMNS`); what had its location loses it, a
        failure too."""
        bound = [layout.encode_text(value) if isinstance(value, str) else value for value in values]
        self.vacate(layout.decode_text(bound[0]))
        self.sql.execute(f"INSERT INTO rows (part, place, {_NAMES}) VALUES (?, ?, {_VALUES})", (part, place, *bound))

    def update(self, row: int, values: Mapping[str, Any]) -> None:
        """Change some columns of a row."""
        names = ", ".join(
            f'"{name}" = {"CAST(? AS TEXT)" if isinstance(value, str) else "?"}' for name, value in values.items()
        )
        bound = [layout.encode_text(value) if isinstance(value, str) else value for value in values.values()]
        self.sql.execute(f"UPDATE rows SET {names} WHERE id = ?", (*bound, row))

    def vacate(self, location: str) -> None:
        """Take its location from the row or failure that has it."""
        place = (layout.encode_text(location),)
        self.sql.execute("UPDATE rows SET location = NULL WHERE location = CAST(? AS TEXT)", place)
        self.sql.execute("DELETE FROM failures WHERE location = CAST(? AS TEXT)", place)

    def stands(self, location: str, sha256: str) -> bool:
        """Whether the row of a location stays although its file failed: unless new bytes were read (sha256 "": none).
        A disk that is not there takes no row away, nor does a smaller --max-pixels."""
        query = "SELECT sha256 FROM rows WHERE location = CAST(? AS TEXT)"
        known = self.sql.execute(query, (layout.encode_text(location),)).fetchone()
        return known is not None and sha256 in ("", known[0])

    def fail(self, path: str, error: str, location: str, sha256: str) -> None:
        """Note a failure, if the row of its location does not stand."""
        if not self.stands(location, sha256):
            self.vacate(location)
            texts = [layout.encode_text(text) for text in (path, error, location, sha256)]
            self.sql.execute(f"INSERT INTO failures VALUES ({', '.join(['CAST(? AS TEXT)'] * 4)})", texts)

    def failure(self, location: str) -> tuple[str, str] | None:
        """(error, sha256) of the failure of a location."""
        query = "SELECT error, sha256 FROM failures WHERE location = CAST(? AS TEXT)"
        return self.sql.execute(query, (layout.encode_text(location),)).fetchone()

    def failures(self) -> list[tuple[str, ...]]:
        """(path, error, location, sha256) of each failure, sorted by location."""
        return list(self.sql.execute("SELECT path, error, location, sha256 FROM failures ORDER BY location"))

    def drop(self, row: int) -> None:
        """Remove a row."""
        self.sql.execute("UPDATE rows SET location = NULL WHERE id = ?", (row,))

    def sweep(self) -> int:
        """Forget the rows that lost their location; returns how many."""
        return self.sql.execute("DELETE FROM rows WHERE location IS NULL").rowcount

    # -- look-up ------------------------------------------------------------------------------------------------------

    def at(self, location: str) -> Known | None:
        """The row of a file."""
        return next(self._known("location = CAST(? AS TEXT)", (layout.encode_text(location),)), None)

    def of_content(self, size: int, sha256: str) -> list[Known]:
        """All rows that hold a content, in the order of writing."""
        condition = "bytes = ? AND substr(sha256, 1, 16) = ? AND sha256 = ? ORDER BY id"
        return list(self._known(condition, (size, sha256[:16], sha256)))

    def has_size(self, size: int) -> bool:
        """Whether any row is of a file of so many bytes."""
        return self.sql.execute("SELECT 1 FROM rows WHERE bytes = ? LIMIT 1", (size,)).fetchone() is not None

    def _known(self, condition: str, values: tuple) -> Iterator[Known]:
        for row, location, *found in self.sql.execute(f"SELECT id, {_NAMES} FROM rows WHERE {condition}", values):
            yield Known(row, location, *from_values(found))

    def places(self, rows: Iterable[int]) -> list[tuple[int, int]]:
        """(part, place) of some rows by their id."""
        query = "SELECT part, place FROM rows WHERE id = ?"
        return [self.sql.execute(query, (row,)).fetchone() for row in rows]

    # -- parts --------------------------------------------------------------------------------------------------------

    def parts(self, *, live: bool = True) -> dict[int, tuple[str, int, int]]:
        """Number → (name, rows, bytes) of the parts in use, or of those that are not any more."""
        found = self.sql.execute("SELECT number, name, rows, bytes FROM parts WHERE live = ? ORDER BY number", (live,))
        return {number: tuple(values) for number, *values in found}

    def add_part(self, name: str, rows: int, size: int) -> int:
        """Name a part as being in use; returns its number."""
        query = "INSERT OR REPLACE INTO parts (name, rows, bytes, live) VALUES (?, ?, ?, 1)"
        return int(self.sql.execute(query, (name, rows, size)).lastrowid or 0)

    def all_parts(self) -> dict[int, tuple[str, int, int]]:
        """Every part there ever was: a name is never given again."""
        return self.parts() | self.parts(live=False)

    def retire(self, numbers: Iterable[int]) -> None:
        """Some parts are in use no more."""
        self.sql.executemany("UPDATE parts SET live = 0 WHERE number = ?", [(number,) for number in numbers])

    def forget_parts(self, numbers: Iterable[int]) -> None:
        """Some parts and their rows are gone."""
        self.sql.executemany("DELETE FROM rows WHERE part = ?", [(number,) for number in numbers])

    def retire_empty_parts(self) -> None:
        """Parts of which no row is left are in use no more."""
        self.sql.execute("UPDATE parts SET live = 0 WHERE NOT EXISTS (SELECT 1 FROM rows WHERE part = number)")

    def sparse_parts(self) -> list[int]:
        """Parts of whose rows less than half are in use."""
        query = "SELECT number FROM parts WHERE live AND rows > 2 * (SELECT count(*) FROM rows WHERE part = number)"
        return [number for (number,) in self.sql.execute(query)]

    def clear(self) -> None:
        """Forget all rows, failures and parts."""
        for change in ("DELETE FROM rows", "DELETE FROM failures", "UPDATE parts SET live = 0"):
            self.sql.execute(change)

    def move(self, rows: Sequence[int], part: int) -> None:
        """These rows now lie in another part, in this order."""
        moved = ((part, place, row) for place, row in enumerate(rows))
        self.sql.executemany("UPDATE rows SET part = ?, place = ? WHERE id = ?", moved)


def to_values(location: str, record: ImageRecord, facts: FileFacts) -> list[Any]:
    """A row in the order of :data:`aigiscan.store.layout.COLUMNS`."""
    own = [getattr(record, name) for name in layout.RECORD_COLUMNS]
    own[layout.RECORD_COLUMNS.index("label")] = -1 if record.label is None else record.label
    return [location, *own, *(getattr(facts, name) for name in layout.FACT_COLUMNS)]


def from_values(values: list[Any]) -> tuple[ImageRecord, FileFacts]:
    """The inverse of :func:`to_values`, without the location."""
    split = len(layout.RECORD_COLUMNS)
    record = dict(zip(layout.RECORD_COLUMNS, values[:split], strict=True))
    record["label"] = None if record["label"] < 0 else record["label"]
    return ImageRecord(**record), FileFacts(*values[split:])


def _snapshot(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN")
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on the state is that of now
        if mode == "wal" or "immutable" in uri:
            return connection
        copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.backup(copy)
    except BaseException:
        connection.close()
        raise
    connection.close()
    return copy


def on_network(folder: Path) -> bool:
    """Whether a folder lies on a network file system, as far as the system tells."""
    if sys.platform == "win32":
        return str(folder.absolute()).startswith("\\\\")
    try:
        with open("/proc/self/mounts", "rb") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return False
    real = os.path.realpath(os.fsencode(folder))
    above = [(point, kind) for point, kind in mounts if os.path.commonpath([point, real]) == point]
    return bool(above) and max(above)[1].decode().startswith(_NETWORK)


def damaged(folder: Path, error: sqlite3.Error) -> StoreError:
    """What to do with a table that cannot be read."""
    return StoreError(
        f"cannot read {folder / TABLE_NAME}: {error}; move it away and embed again: rows come back from the parts"
    )
