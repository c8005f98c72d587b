"""Which row of a store already holds a file: by path, size and time, or else by content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store.reader import EmbeddingStore


class StoreCache:
    """Look-up of files in a store; thread-safe, about 50 bytes of memory per row.

    ``by_content``: rows that may be found by the content of their file; None: all. (A resumed run leaves out what the
    run before it wrote: otherwise two copies of one picture would be treated differently in a resumed run and in one
    that was never cut.)
    """

    def __init__(self, store: EmbeddingStore, by_content: np.ndarray | None = None) -> None:
        self._store = store
        rows = store.rows
        n = len(rows)
        # Python's own 64-bit hash: a false match needs equal size and time as well
        hashes = np.fromiter((hash(path) for path in rows.path), dtype=np.int64, count=n)
        rows.__dict__.pop("path", None)  # 100 bytes a row that nobody needs now
        self._by_path = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._by_path]
        self._bytes, self._mtime_ns = rows.bytes, rows.mtime_ns
        content = np.arange(n) if by_content is None else np.asarray(by_content, dtype=np.int64)
        digests = store._union.column("rows", "sha256")[content]
        prefixes = np.fromiter((int(d[:16] or b"0", 16) for d in digests), dtype=np.uint64, count=len(content))
        order = np.argsort(prefixes, kind="stable")
        self._by_sha, self._prefixes = content[order], prefixes[order]
        self._sizes = np.unique(self._bytes[content])
        if n:
            rows.facts(0)  # reads the columns now, not in several threads at once

    def __len__(self) -> int:
        return len(self._hashes)

    def unchanged(self, record: ImageRecord) -> int | None:
        """The row of this path if size and modification time are still the same; costs one ``stat``."""
        if not len(self):
            return None
        try:
            stat = Path(record.path).stat()
        except (OSError, ValueError):
            return None
        row = self._row_of_path(record.path)
        if row is None or self._bytes[row] != stat.st_size or self._mtime_ns[row] != stat.st_mtime_ns:
            return None
        return row

    def find(self, record: ImageRecord) -> tuple[int, FileFacts] | None:
        """The row that holds this file's content, with the facts of the file, or None.

        A moved or copied file is read and hashed only if a row has its size; it is not decoded.
        """
        row = self.unchanged(record)
        if row is not None:
            return row, self._store.rows.facts(row)
        return self._same_content(record)

    def read_rows(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """All channels of some rows, name → (len(rows), \\*shape) float32. Not thread-safe."""
        return {name: self._store.read(name, rows=rows) for name in self._store.channel_names}

    def rows_of_content(self, sha256: str) -> list[int]:
        """Rows that hold this content."""
        prefix = np.uint64(int(sha256[:16], 16))
        first, last = np.searchsorted(self._prefixes, prefix), np.searchsorted(self._prefixes, prefix, side="right")
        return [int(row) for row in self._by_sha[first:last] if self._store.rows.sha256[row] == sha256]

    def _row_of_path(self, path: str) -> int | None:
        i = int(np.searchsorted(self._hashes, hash(path)))
        if i < len(self._hashes) and self._hashes[i] == hash(path):
            return int(self._by_path[i])
        return None

    def _same_content(self, record: ImageRecord) -> tuple[int, FileFacts] | None:
        try:
            stat = Path(record.path).stat()
            i = int(np.searchsorted(self._sizes, stat.st_size))
            if i == len(self._sizes) or self._sizes[i] != stat.st_size or not Path(record.path).is_file():
                return None
            digest = _sha256(record.path)
        except (OSError, ValueError):
            return None  # the loader will open it again and say why not
        for row in self.rows_of_content(digest):
            return row, replace(self._store.rows.facts(row), mtime_ns=stat.st_mtime_ns)
        return None


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
