"""Which row of a store already holds a file: by path, size and time, or else by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store.reader import EmbeddingStore


class StoreCache:
    """Look-up of files in a store; thread-safe, about 20 bytes of memory per row.

    ``by_content``: rows that may be found by the content of their file; None: all. (A resumed run leaves out what the
    run before it wrote: otherwise two copies of one picture would be treated differently in a resumed run and in one
    that was never cut.)
    """

    def __init__(self, store: EmbeddingStore, by_content: np.ndarray | None = None) -> None:
        self._store = store
        n = len(store)
        # 32 bits of a hash find the row; what they find is looked at before it is believed.
        keys, prefixes = np.empty(n, dtype=np.uint32), np.empty(n, dtype=np.uint32)
        sizes = np.empty(n, dtype=np.int64)
        start = 0
        for rows in store.blocks:
            stop = start + len(rows)
            facts = zip(rows.path, rows.bytes.tolist(), rows.mtime_ns.tolist(), strict=True)
            keys[start:stop] = [_key(*fact) for fact in facts]
            prefixes[start:stop] = [_prefix(digest) for digest in rows.sha256]
            sizes[start:stop] = rows.bytes
            start = stop
        self._by_path = np.argsort(keys, kind="stable").astype(np.int32)
        self._keys = keys[self._by_path]
        if by_content is not None:
            prefixes, sizes = prefixes[by_content], sizes[by_content]
        order = np.argsort(prefixes, kind="stable").astype(np.int32)
        self._by_sha = order if by_content is None else by_content[order].astype(np.int32)
        self._prefixes = prefixes[order]
        self._sizes = np.unique(sizes)

    def __len__(self) -> int:
        return len(self._keys)

    def unchanged(self, record: ImageRecord) -> int | None:
        """The row of this path if size and modification time are still the same; costs one ``stat``."""
        if not len(self):
            return None
        try:
            # as a string: a Path for every file of a million costs more than the look-up
            stat = os.stat(record.path)  # noqa: PTH116
        except (OSError, ValueError):
            return None
        key = np.uint32(_key(record.path, stat.st_size, stat.st_mtime_ns))
        for i in range(int(np.searchsorted(self._keys, key)), len(self._keys)):
            if self._keys[i] != key:
                break
            row = int(self._by_path[i])
            block, place = self._store.blocks.at(row)
            same = block.bytes[place] == stat.st_size and block.mtime_ns[place] == stat.st_mtime_ns
            if same and block.path[place] == record.path:
                return row
        return None

    def find(self, record: ImageRecord) -> tuple[int, FileFacts] | None:
        """The row that holds this file's content, with the facts of the file, or None.

        A moved or copied file is read and hashed only if a row has its size; it is not decoded.
        """
        row = self.unchanged(record)
        if row is not None:
            return row, self._store.blocks.facts(row)
        return self._same_content(record)

    def read_rows(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """All channels of some rows, name → (len(rows), \\*shape) float32. Not thread-safe."""
        return {name: self._store.read(name, rows=rows) for name in self._store.channel_names}

    def rows_of_content(self, sha256: str) -> list[int]:
        """Rows that hold this content."""
        prefix = np.uint32(_prefix(sha256))
        first, last = np.searchsorted(self._prefixes, prefix), np.searchsorted(self._prefixes, prefix, side="right")
        found = []
        for row in self._by_sha[first:last].tolist():
            block, place = self._store.blocks.at(row)
            if block.sha256[place] == sha256:
                found.append(row)
        return found

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
            return row, replace(self._store.blocks.facts(row), mtime_ns=stat.st_mtime_ns)
        return None


def _key(path: str, size: int, mtime_ns: int) -> int:
    return hash((path, size, mtime_ns)) & 0xFFFFFFFF


def _prefix(sha256: str) -> int:
    return int(sha256[:8] or "0", 16)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
