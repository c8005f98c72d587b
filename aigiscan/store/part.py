"""One immutable HDF5 file of a store: how it is built in memory, and how it is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.store import layout
from aigiscan.store.files import DeferringFile, replacing

#: bytes of chunks kept per channel at most while neighbouring rows are asked for: one row of chunks, if it fits (all
#: heads of a ViT-L/14: 25 MB)
LOOKUP_CACHE = 32 << 20
#: for those who pass once: room for a few chunks, or HDF5 would read parts of a chunk row by row (ten times slower)
PASSING_CACHE = 256 << 10


class OpenFiles:
    """Keeps at most ``limit`` of some parts open (None: all), those used last: an open file costs HDF5 1.7 MB, and a
    long run leaves dozens. Only the owner of a store may set a limit: from others a closed file may be taken away."""

    def __init__(self, limit: int | None = None) -> None:
        self.lock = threading.RLock()
        self._limit = limit
        self._parts: dict[Part, None] = {}  # in the order of use

    def used(self, part: Part) -> None:
        """Note that this part is open and needed now; closes the one that was not used for longest."""
        self._parts.pop(part, None)
        self._parts[part] = None
        if self._limit is not None and len(self._parts) > self._limit:
            next(iter(self._parts)).close()

    def closed(self, part: Part) -> None:
        """Forget a part."""
        self._parts.pop(part, None)


@dataclass(frozen=True, slots=True)
class PartContent:
    """Everything one part holds. Text columns are object arrays of bytes; every table is sorted by path.

    rows: table columns of n images; channels: n mappings name → array; failures, dropped: the other two tables.
    """

    rows: Mapping[str, np.ndarray]
    channels: Sequence[Mapping[str, np.ndarray]]
    failures: Mapping[str, np.ndarray]
    dropped: Mapping[str, np.ndarray]

    def column(self, table: str, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Entries of one column."""
        tables = {layout.ROWS: self.rows, layout.FAILURES: self.failures, layout.DROPPED: self.dropped}
        return tables[table][name][start:stop]

    def block(self, name: str, rows: slice, *index: slice) -> np.ndarray:
        """A block of one channel."""
        return np.array([channels[name][index] for channels in self.channels[rows]])


def write_part(
    target: Path,
    tmp_folder: Path,
    fingerprint: Mapping[str, Any],
    specs: Mapping[str, ChannelSpec],
    content: PartContent,
) -> None:
    """Write a part that appears under its name whole or not at all."""
    with replacing(target, tmp_folder) as tmp, DeferringFile(tmp) as disk, layout.new_file(disk) as file:
        layout.write_header(file, fingerprint, specs)
        for table in layout.TABLES:
            layout.write_table(file, table, len(content.column(table, "path")), content.column)
        for name, spec in sorted(specs.items()):
            dataset = layout.create_channel(file, name, len(content.rows["path"]), spec)
            for place in layout.channel_blocks(dataset):
                disk.check()
                dataset[place] = content.block(name, *place)


class Part:
    """A part opened for reading; ``chunk_cache`` bytes per channel help those who read a few rows at a time.

    files: which parts stay open. Files of a store never change under a name, so no HDF5 lock is taken (which also makes
    read-only media work).
    """

    def __init__(self, path: Path, chunk_cache: int = PASSING_CACHE, files: OpenFiles | None = None) -> None:
        self.path = path
        self._chunk_cache = chunk_cache
        self._files = files or OpenFiles()
        self._file: h5py.File | None = None
        self._channels: dict[str, h5py.Dataset] = {}
        try:
            with self.opened() as file:
                self.fingerprint, self.specs, self.versions = layout.read_header(file, str(path))
                #: number of parts that this file points at, if it is the index of an unfinished store
                self.points_at = int(file.attrs["unfinished"]) if "unfinished" in file.attrs else None
                self._counts = {table: int(file[f"{table}/path"].shape[0]) for table in layout.TABLES}
        except BaseException:
            self.close()
            raise

    @property
    def is_index(self) -> bool:
        """Whether this file only points at the parts of an unfinished store."""
        return self.points_at is not None

    @contextmanager
    def opened(self) -> Iterator[h5py.File]:
        """The file, which stays open while the context lasts. StoreError if it cannot be read."""
        with self._files.lock:
            if self._file is None:
                self._file = _open(self.path)
            self._files.used(self)
            yield self._file

    def column(self, table: str, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Entries of one column as stored; text as object array ("long text") or S array ("text") of bytes."""
        with self.opened() as file:
            return file[f"{table}/{name}"][start:stop]

    def count(self, table: str) -> int:
        """Number of entries of a table."""
        return self._counts[table]

    def chunk_rows(self, name: str) -> int:
        """Images per chunk of a channel: rows of one chunk are best read together."""
        chunks = self._channel(name).chunks
        return chunks[0] if chunks else max(1, self.count(layout.ROWS))

    def read(self, name: str, rows: slice, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Rows of a channel in their stored type; ``index`` selects on its further axes."""
        with self._files.lock:
            return self._channel(name)[(rows, *index)]

    def _channel(self, name: str) -> h5py.Dataset:
        """A dataset stays open as long as its file, and with it its cache of chunks."""
        with self.opened() as file:
            if name not in self._channels:
                self._channels[name] = self._open_channel(file, name)
            return self._channels[name]

    def _open_channel(self, file: h5py.File, name: str) -> h5py.Dataset:
        dataset = file[name]
        if not dataset.chunks:
            return dataset
        row_bytes = int(np.prod(self.specs[name].shape)) * dataset.dtype.itemsize
        size = min(self._chunk_cache, dataset.chunks[0] * row_bytes * 9 // 8)
        del dataset  # HDF5 takes the size of a cache at the first opening alone
        access = h5p.create(h5p.DATASET_ACCESS)
        slots = 10007 if size > PASSING_CACHE else 521
        access.set_chunk_cache(slots, size, 0.75)  # 0.75: HDF5's own preference for chunks that were read whole
        return h5py.Dataset(h5d.open(file.id, name.encode(), access))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._files.lock:
            self._channels.clear()
            if self._file is not None:
                self._file.close()
                self._file = None
            self._files.closed(self)


def _open(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; make it with 'aigiscan embed PATH -o {path}'") from None
    except OSError as error:
        reason = "no permission to read it" if isinstance(error, PermissionError) else "not a whole HDF5 file"
        raise StoreError(f"cannot read the store {path}: {reason}") from error
    layout.limit_metadata(file)
    return file
