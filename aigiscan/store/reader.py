"""Reading a store: one file, an unfinished file with its parts, or a folder of parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store import layout
from aigiscan.store.files import follow_link, is_folder_store, list_parts, parts_folder
from aigiscan.store.part import LOOKUP_CACHE, OpenFiles, Part
from aigiscan.store.union import Union, unite


class _Column:
    """A column of the row table, read at its first use: text as object array of str, numbers as stored."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, rows: Rows | None, owner: type) -> np.ndarray:
        if rows is None:
            return self  # type: ignore[return-value]
        values = rows._union.column(layout.ROWS, self._name, rows._start, rows._stop)
        if layout.COLUMNS[self._name].endswith("text"):
            values = _decode_column(values)
        rows.__dict__[self._name] = values
        return values


def _decode_column(values: np.ndarray) -> np.ndarray:
    known: dict[bytes, str] = {}  # equal texts share one object: generators and formats repeat n times
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values.tolist()):
        text = known.get(value)
        if text is None:
            text = layout.decode_text(value)
            if len(known) < 4096:
                known[value] = text
        out[i] = text
    return out


class Rows:
    """The row table, sorted by path, or a stretch of it: each attribute is an array of n values.

    label: 0 real, 1 fake, -1 unknown (int8). width, height (pixels, int32), bytes (int64), mtime_ns (int64).
    The others are object arrays of str ("" unknown); path in :func:`os.fsdecode` form.
    """

    path = _Column()
    sha256 = _Column()
    label = _Column()
    generator = _Column()
    family = _Column()
    group = _Column()
    split = _Column()
    source = _Column()
    caption = _Column()
    width = _Column()
    height = _Column()
    format = _Column()
    bytes = _Column()
    mtime_ns = _Column()
    provenance = _Column()

    def __init__(self, union: Union, start: int = 0, stop: int | None = None) -> None:
        self._union = union
        self._start = start
        self._stop = union.count(layout.ROWS) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._start

    def record(self, i: int) -> ImageRecord:
        """Row i as the record it was made from."""
        label = int(self.label[i])
        text = {k: getattr(self, k)[i] for k in ("generator", "family", "group", "split", "source", "caption")}
        return ImageRecord(path=self.path[i], label=None if label < 0 else label, **text)

    def facts(self, i: int) -> FileFacts:
        """What row i knows of its file."""
        numbers = {k: int(getattr(self, k)[i]) for k in ("width", "height", "bytes", "mtime_ns")}
        text = {k: str(getattr(self, k)[i]) for k in ("format", "sha256", "provenance")}
        return FileFacts(**numbers, **text)  # type: ignore[arg-type]


class RowBlocks:
    """Single rows of a long table, asked for in about its order: a few stretches of it are kept. Thread-safe."""

    SIZE, KEPT = 1024, 4

    def __init__(self, union: Union) -> None:
        self._union = union
        self._lock = threading.Lock()
        self._blocks: dict[int, Rows] = {}  # in the order of use

    def at(self, row: int) -> tuple[Rows, int]:
        """The stretch that holds a row, and its number there."""
        number, place = divmod(row, self.SIZE)
        with self._lock:
            block = self._blocks.pop(number, None)
            if block is None:
                last = min(self._union.count(layout.ROWS), (number + 1) * self.SIZE)
                block = Rows(self._union, number * self.SIZE, last)
            self._blocks[number] = block
            if len(self._blocks) > self.KEPT:
                del self._blocks[next(iter(self._blocks))]
        return block, place

    def __iter__(self) -> Iterator[Rows]:
        for start in range(0, self._union.count(layout.ROWS), self.SIZE):
            yield self.at(start)[0]

    def record(self, row: int) -> ImageRecord:
        """As :meth:`Rows.record`."""
        block, place = self.at(row)
        return block.record(place)

    def facts(self, row: int) -> FileFacts:
        """As :meth:`Rows.facts`."""
        block, place = self.at(row)
        return block.facts(place)


class EmbeddingStore:
    """A store opened for reading; use it as a context manager or call :meth:`close`.

    path: ``S.h5`` (finished, or unfinished with its folder of parts) or a folder of parts. Errors: StoreError, with
    one line, if it is missing, not a store, of a newer format, or damaged. at_once: how many of its files are kept
    open, for the writer of the store (:class:`aigiscan.store.part.OpenFiles`).
    """

    def __init__(self, path: str | Path, at_once: int | None = None) -> None:
        self.path = follow_link(path)
        self._parts = _open_parts(self.path, OpenFiles(at_once))
        first = self._parts[0]
        self.fingerprint: dict[str, Any] = first.fingerprint
        self.channels: dict[str, ChannelSpec] = first.specs
        self.versions = first.versions
        for part in self._parts[1:]:
            if part.fingerprint != first.fingerprint or part.specs != first.specs:
                self.close()
                raise StoreError(f"{part.path} was made with another encoder than {first.path}; move it away")
        self._union = unite([p for p in self._parts if not p.is_index] or self._parts)
        self.rows = Rows(self._union)
        self.blocks = RowBlocks(self._union)

    def __len__(self) -> int:
        return len(self.rows)

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        for part in self._parts:
            part.close()

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels, sorted."""
        return sorted(self.channels)

    @property
    def files(self) -> list[Path]:
        """The files that make up the store."""
        return [part.path for part in self._parts]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(part.path.stat().st_size for part in self._parts)

    @property
    def unfinished(self) -> bool:
        """Whether a run that wrote this store was cut (or is still going on)."""
        return any(p.is_index or ("-" in p.path.stem and p.path.parent == parts_folder(self.path)) for p in self._parts)

    @cached_property
    def failures(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that could not be judged, sorted by path."""
        paths, errors = (self._union.column(layout.FAILURES, name) for name in ("path", "error"))
        return [(layout.decode_text(p), layout.decode_text(e)) for p, e in zip(paths, errors, strict=True)]

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
            return self._union.read(channel, chosen).astype(np.float32, copy=False)
        depth = len(spec.shape) - 1 if len(spec.shape) > 1 else len(spec.shape)
        out = np.empty((len(chosen), len(columns), *spec.shape[depth:]), dtype=np.float32)
        for k, column in enumerate(columns):
            place = (int(column),) if np.ndim(column) == 0 else tuple(int(c) for c in column)
            inside = len(place) == depth and all(0 <= c < d for c, d in zip(place, spec.shape, strict=False))
            if not inside:
                raise StoreError(f"channel '{channel}' of {self.path} has shape {spec.shape}: no column {column}")
            out[:, k] = self._union.read(channel, chosen, place)
        return out

    def _spec(self, channel: str) -> ChannelSpec:
        if channel not in self.channels:
            hint = "; embed again with --heads into a new store" if channel in ("heads", "sigma") else ""
            raise StoreError(f"{self.path} has no channel '{channel}' (it has {', '.join(self.channel_names)}){hint}")
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


def _open_parts(path: Path, files: OpenFiles) -> list[Part]:
    """The parts that count: a finished file alone; else what lies in the folder of parts."""
    folder = parts_folder(path)
    if is_folder_store(path):
        parts = list_parts(folder)
        if not parts:
            raise StoreError(f"{path} does not exist or holds no store; make one with 'aigiscan embed PATH -o {path}'")
        return [Part(p, LOOKUP_CACHE, files) for p in parts]
    parts = list_parts(folder)
    if not path.exists() and parts:
        return [Part(p, LOOKUP_CACHE, files) for p in parts]
    try:
        main = Part(path, LOOKUP_CACHE, files)
    except StoreError:
        if not parts:
            raise
        return [Part(p, LOOKUP_CACHE, files) for p in parts]  # an index that a power cut damaged
    if not main.is_index:
        return [main]  # parts beside a finished file are what a killed writer had no time to remove
    if main.points_at and not parts:
        main.close()
        raise StoreError(f"{path} is unfinished and its folder {folder} is missing; put it back beside it")
    if not parts:
        return [main]
    main.close()
    return [Part(p, LOOKUP_CACHE, files) for p in parts]
