"""Reading a store: a folder, or one packed file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.encoders import compare_fingerprints
from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec
from aigiscan.encoders.fingerprint import how_to_get
from aigiscan.errors import StoreError
from aigiscan.files import follow_link
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store import layout
from aigiscan.store.files import identity, is_packed, work_folder
from aigiscan.store.folder import Folder, Selection, list_parts
from aigiscan.store.part import Part
from aigiscan.store.table import TABLE_NAME, from_values

# How often what a writer has just replaced is looked for again; each time it has to finish a whole run in between.
_TRIES = 20


class Rows:
    """The row table, sorted by absolute path: each attribute is an array of n values, read at its first use.

    label: 0 real, 1 fake, -1 unknown (int8). width, height (pixels, int32), bytes (int64), mtime_ns (int64).
    The others are object arrays of str ("" unknown): path as it was given (:func:`os.fsdecode` form), location (the
    absolute path), sha256, generator, family, group, split, caption, source, format, provenance.
    """

    def __init__(self, source: Part | Selection) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getattr__(self, name: str) -> np.ndarray:
        kind = layout.COLUMNS.get(name)
        if kind is None:
            raise AttributeError(f"the row table has no column {name}")
        values = np.empty(len(self), dtype=object if kind.endswith("text") else kind)
        known: dict[str, str] = {}  # equal texts share one object: generators and formats repeat n times
        start = 0
        for block in self._source.column(name):
            if kind.endswith("text"):
                block = [known.setdefault(value, value) if len(known) < 4096 else value for value in block]
            values[start : start + len(block)] = block
            start += len(block)
        self.__dict__[name] = values
        return values

    def record(self, i: int) -> ImageRecord:
        """Row i as the record it was made from."""
        return self._row(i)[0]

    def facts(self, i: int) -> FileFacts:
        """What row i knows of its file."""
        return self._row(i)[1]

    def _row(self, i: int) -> tuple[ImageRecord, FileFacts]:
        values = [getattr(self, name)[i] for name in (*layout.RECORD_COLUMNS, *layout.FACT_COLUMNS)]
        return from_values([value.item() if isinstance(value, np.generic) else value for value in values])


class EmbeddingStore:
    """A store opened for reading, as it is now; use it as a context manager or call :meth:`close`.

    path: a folder, or a packed file ``S.h5``; a writer may be at work in it. Errors: StoreError, with one line, if it
    is missing, not a store, of a newer format, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = follow_link(path)
        self._source = _open(self.path)
        self.fingerprint: dict[str, Any] = dict(self._source.fingerprint)
        self.channels: dict[str, ChannelSpec] = dict(self._source.channels)
        self.versions = self._source.versions
        self.rows = Rows(self._source)
        # where the channels are: there, or, after a writer has moved them, the rows of another source
        self._now: tuple[Part | Selection, np.ndarray | None] = (self._source, None)

    def __len__(self) -> int:
        return len(self.rows)

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        for source in (self._source, self._now[0]):
            source.close()

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels, sorted."""
        return sorted(self.channels)

    @property
    def folder(self) -> Folder | None:
        """The folder this is; None: a packed file."""
        return self._source.folder if isinstance(self._source, Selection) else None

    @property
    def files(self) -> list[Path]:
        """The files that make up the store."""
        return self.folder.files if self.folder is not None else [self.path]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def unfinished(self) -> bool:
        """Whether a run that wrote this store was cut (or is still going on)."""
        return self.folder is not None and (is_packed(self.path) or self.folder.unfinished)

    @cached_property
    def failures(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that could not be judged, sorted by absolute path."""
        return [(path, error) for path, error, *_ in self._source.failure_rows()]

    def read(
        self,
        channel: str = CHANNEL_EMBEDDING,
        rows: np.ndarray | Sequence[int] | None = None,
        columns: Sequence[Any] | None = None,
    ) -> np.ndarray:
        """A channel as float32, (n_rows, \\*shape).

        rows: row numbers in any order, or a mask of n booleans; None: all. columns: for a vector channel column
        numbers → (n_rows, len(columns)); for ``heads`` pairs (layer, head) → (n_rows, len(columns), d_head). Columns
        that are not asked for are not read from the disk.
        """
        spec = self._spec(channel)
        chosen = self._rows(rows)
        if columns is None:
            return self.read_stored(channel, chosen).astype(np.float32, copy=False)
        depth = len(spec.shape) - 1 if len(spec.shape) > 1 else len(spec.shape)
        out = np.empty((len(chosen), len(columns), *spec.shape[depth:]), dtype=np.float32)
        for k, column in enumerate(columns):
            place = (int(column),) if np.ndim(column) == 0 else tuple(int(c) for c in column)
            inside = len(place) == depth and all(0 <= c < d for c, d in zip(place, spec.shape, strict=False))
            if not inside:
                raise StoreError(f"channel '{channel}' of {self.path} has shape {spec.shape}: no column {column}")
            out[:, k] = self.read_stored(channel, chosen, place)
        return out

    def _spec(self, channel: str) -> ChannelSpec:
        if channel not in self.channels:
            have = ", ".join(self.channel_names)
            raise StoreError(f"{self.path} has no channel '{channel}' (it has {have}){how_to_get([channel])}")
        return self.channels[channel]

    def _rows(self, rows: np.ndarray | Sequence[int] | None) -> np.ndarray:
        if rows is None:
            return np.arange(len(self))
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            return np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64, copy=False)
        if len(chosen) and not (int(chosen.min()) >= 0 and int(chosen.max()) < len(self)):
            raise StoreError(f"{self.path} has {len(self)} rows: a row number is out of range")
        return chosen

    # -- as a source of rows to write (layout.Source) -----------------------------------------------------------------

    def column(self, name: str) -> Iterator[list]:
        """Entries of one column, in blocks."""
        return self._source.column(name)

    def failure_rows(self) -> list[tuple[str, ...]]:
        """Failures with everything that is known of them."""
        return self._source.failure_rows()

    def read_stored(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Rows of a channel in their stored type; ``index`` selects on its further axes."""
        for _ in range(_TRIES):
            try:
                source, numbers = self._now
                return source.read_stored(channel, rows if numbers is None else numbers[rows], index)
            except FileNotFoundError:
                self._find_again()
        raise StoreError(f"a part of {self.path} is missing; see 'aigiscan stores verify {self.path}'")

    def _find_again(self) -> None:
        """The parts have been merged, or the store was packed: find the same rows where they are now."""
        source = _open(self.path)
        changed = bool(compare_fingerprints(self.fingerprint, source.fingerprint))
        fresh = Rows(source)
        keys = zip(fresh.location, fresh.sha256, strict=True)
        now = {} if changed else {key: number for number, key in enumerate(keys)}
        numbers = [now.get(key, -1) for key in zip(self.rows.location, self.rows.sha256, strict=True)]
        if -1 in numbers:
            raise StoreError(f"{self.path} was changed while it was read; open it again")
        self._now = (source, np.asarray(numbers, dtype=np.int64))


def is_store(path: str | Path) -> bool:
    """Whether there is a store of that name: a packed file (finished or not), or a folder."""
    place = follow_link(path)
    folder = work_folder(place)
    return (is_packed(place) and place.is_file() and place.suffix.lower() in (".h5", ".hdf5")) or (
        folder.is_dir() and ((folder / TABLE_NAME).is_file() or bool(list_parts(folder)))
    )


def _open(path: Path) -> Part | Selection:
    for _ in range(_TRIES):  # a writer may be putting one form in the place of the other
        if not is_store(path):
            break
        try:
            return _open_packed(path) if is_packed(path) else Selection(Folder.to_read(path))
        except FileNotFoundError:
            continue
    raise StoreError(f"{path} does not exist or holds no store; make one with 'aigiscan embed PATH -o {path}'")


def _open_packed(path: Path) -> Part | Selection:
    """What is being written beside a packed file continues it, as long as the file is what it was at the beginning."""
    work = work_folder(path)
    has_table, parts = (work / TABLE_NAME).is_file(), list_parts(work)
    if has_table:
        folder = Folder.to_read(work)
        if folder.table.get("base") == identity(path):
            return Selection(folder)
        folder.close()
    # an older version left an index of the parts under the name of the file
    old = bool(parts) and not has_table
    try:
        part = Part(path)
    except (StoreError, FileNotFoundError):
        if old:
            return Selection(Folder.to_read(work))
        raise
    if part.is_index and (old or len(part)):
        part.close()
        if not old:
            raise StoreError(f"{path} is unfinished and its folder {work} is missing; put it back beside it")
        return Selection(Folder.to_read(work))
    return part
