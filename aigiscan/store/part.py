"""Files of a store opened for reading: one, and the few of many that are kept open."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p

from aigiscan.errors import StoreError
from aigiscan.files import reason
from aigiscan.store import layout
from aigiscan.store.files import locate

#: bytes of chunks kept per channel at most while neighbouring rows are asked for: one row of chunks, if it fits (all
#: heads of a ViT-L/14: 25 MB)
_CHUNK_CACHE = 32 << 20
#: files open at once: each costs 1.7 MB and its caches, and some systems allow 256
AT_ONCE = 8


class Part:
    """One file, opened: a packed store, or a part of one (:class:`aigiscan.store.layout.Source`).

    Files never change under a name, so no HDF5 lock is taken (which also makes read-only media work). Errors:
    FileNotFoundError; StoreError with one line if it is no whole store file, or of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._datasets: dict[str, h5py.Dataset] = {}
        self._lock = threading.RLock()
        try:
            self.file = h5py.File(path, "r", locking=False)
        except FileNotFoundError:
            raise
        except OSError as error:
            denied = isinstance(error, PermissionError) or error.errno in (errno.EMFILE, errno.ENFILE)
            raise StoreError(
                f"cannot read the store {path}: {reason(error) if denied else 'not a whole HDF5 file'}"
            ) from error
        try:
            with self._damage_told():
                self._read_attributes()
        except BaseException:
            self.close()
            raise

    def _read_attributes(self) -> None:
        layout.limit_metadata(self.file)
        attributes = self.file.attrs
        if "format" not in attributes or "fingerprint" not in attributes:
            raise StoreError(f"{self.path} is an HDF5 file but not an aigiscan store; give another name")
        layout.check_format(int(attributes["format"]), self.path)
        self.fingerprint = json.loads(attributes["fingerprint"])
        self.channels = layout.channels_from_json(json.loads(attributes["channels"]))
        self.versions = json.loads(attributes["versions"])
        #: dataset → sha256 of its content; older versions wrote none
        self.digests: dict[str, str] = json.loads(attributes.get("digests", "{}"))
        #: whether an older version left this as views of the parts of an unfinished store
        self.is_index = "unfinished" in attributes
        #: whether an older version wrote it, which knew images by their path as given
        self.is_old = "rows/location" not in self.file
        self._count = len(self.file["rows/path"])

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        """What h5py raises on a damaged file, and what damaged values lead into, is a StoreError."""
        try:
            yield
        except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:120]
            raise StoreError(f"{self.path} is damaged ({detail}); restore it or embed again") from error

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._datasets.clear()
            self.file.close()

    def column(self, name: str) -> Iterator[list]:
        """A column of the row table, in blocks; its default where an older version wrote none."""
        if name == "location" and self.is_old:
            blocks = zip(*(self.column(known) for known in ("path", "bytes", "mtime_ns")), strict=True)
            return ([_old_location(*row) for row in zip(*block, strict=True)] for block in blocks)
        return self._blocks(layout.ROWS, name, len(self), layout.DEFAULTS[name])

    def table(self, table: str, names: list[str]) -> Iterator[tuple]:
        """Rows of another table; "" where an older version wrote no such column."""
        with self._damage_told():
            n = len(self.file[f"{table}/path"]) if f"{table}/path" in self.file else 0
        for blocks in zip(*(self._blocks(table, name, n, "") for name in names), strict=True):
            yield from zip(*blocks, strict=True)

    def _blocks(self, table: str, name: str, n: int, default: Any) -> Iterator[list]:
        with self._damage_told():
            dataset = self.file.get(f"{table}/{name}")
        for start in range(0, n, layout.TABLE_BLOCK):
            stop = min(n, start + layout.TABLE_BLOCK)
            if dataset is None:
                yield [default] * (stop - start)
                continue
            with self._lock, self._damage_told():
                values = dataset[start:stop]
                texts = values.dtype.kind in "OS"
                block = [layout.decode_text(v) for v in values.tolist()] if texts else values.tolist()
            yield block

    def failure_rows(self) -> list[tuple[str, ...]]:
        """Entries of :data:`aigiscan.store.layout.FAILURE_COLUMNS`."""
        found = self.table(layout.FAILURES, list(layout.FAILURE_COLUMNS))
        return [(path, error, location or locate(path), sha256) for path, error, location, sha256 in found]

    def read_stored(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Rows of a channel in their stored type, in the order asked for; ``index`` selects on its further axes."""
        spec = self.channels[channel]
        shape = np.empty(spec.shape, dtype=np.bool_)[index].shape if spec.shape else ()
        out = np.empty((len(rows), *shape), dtype=spec.dtype)
        with self._lock, self._damage_told():
            dataset = self._channel(channel)
            # HDF5 reads slabs fast and lists of rows slowly: one slab per row of chunks
            block = rows // (dataset.chunks[0] if dataset.chunks else max(1, len(self)))
            for b in np.unique(block):
                (where,) = np.nonzero(block == b)
                start = int(rows[where].min())
                slab = dataset[(slice(start, int(rows[where].max()) + 1), *index)]
                out[where] = slab[rows[where] - start]
        return out

    def _channel(self, name: str) -> h5py.Dataset:
        """A dataset stays open as long as its file, and with it its cache of chunks."""
        if name not in self._datasets:
            dataset = self.file[name]
            if dataset.chunks:
                row_bytes = int(np.prod(self.channels[name].shape)) * dataset.dtype.itemsize
                size = min(_CHUNK_CACHE, dataset.chunks[0] * row_bytes * 9 // 8)
                del dataset  # HDF5 takes the size of a cache at the first opening alone
                access = h5p.create(h5p.DATASET_ACCESS)
                access.set_chunk_cache(10007, size, 0.75)  # 0.75: HDF5's preference for chunks that were read whole
                dataset = h5py.Dataset(h5d.open(self.file.id, name.encode(), access))
            self._datasets[name] = dataset
        return self._datasets[name]


class OpenParts:
    """Parts by their path, the last used of them open."""

    def __init__(self) -> None:
        self._open: dict[Path, Part] = {}  # in the order of use

    def get(self, path: Path) -> Part:
        """The part, opened if it is not; closes the one that was not used for longest."""
        part = self._open.pop(path, None)
        if part is None:
            while len(self._open) >= AT_ONCE:
                self.close(next(iter(self._open)))
            part = Part(path)
        self._open[path] = part
        return part

    def close(self, path: Path | None = None) -> None:
        """Close one, or all."""
        for name in [path] if path is not None else list(self._open):
            part = self._open.pop(name, None)
            if part is not None:
                part.close()


def _old_location(path: str, size: int, mtime_ns: int) -> str:
    """Where a row of an older version lies: a relative path is believed only if that file is there. If not, the row is
    known by its content alone."""
    location = locate(path)
    if not os.path.isabs(path):
        try:
            stat = os.stat(location)  # noqa: PTH116
        except (OSError, ValueError):
            return path
        if (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns):
            return path
    return location
