"""Which row of a store already holds a file: by path, size and time, or else by content."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aigiscan.encoders.fingerprint import record_fields
from aigiscan.files import file_sha256
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store.files import locate
from aigiscan.store.folder import Folder
from aigiscan.store.table import Known, RowTable


class StoreCache:
    """Look-up in a folder that is being written (:class:`aigiscan.loader.Cache`); what was found can be read until the
    run ends, whatever becomes of its row. :meth:`find` may be called in any thread; it has a connection of its own."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._table = RowTable.beside(folder.path)
        self._lock = threading.Lock()
        self._fields = record_fields(folder.channels)

    def close(self) -> None:
        """Close the connection."""
        self._table.close()

    def find(self, record: ImageRecord) -> tuple[int, FileFacts] | None:
        """The row that holds this file's content, with the facts of the file, or None.

        A moved or copied file is read and hashed only if a row has its size; it is not decoded.
        """
        try:
            found = os.stat(record.path)  # noqa: PTH116 (a Path for every file of a million costs more)
            with self._lock:
                known = self._table.at(locate(record.path))
                if known is not None and is_unchanged(known, found) and agrees(record, known.record, self._fields):
                    return known.id, known.facts
                if not stat.S_ISREG(found.st_mode) or not self._table.has_size(found.st_size):
                    return None
            digest = file_sha256(record.path)
        except (OSError, ValueError):
            return None  # the loader will open it again and say why not
        with self._lock:
            same = [k for k in self._table.of_content(found.st_size, digest) if agrees(record, k.record, self._fields)]
        return (same[0].id, replace(same[0].facts, mtime_ns=found.st_mtime_ns)) if same else None

    def read_rows(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """All channels of some rows, name → (len(rows), \\*shape) float32. Called by the writer's thread alone."""
        with self._lock:
            parts, places = np.asarray(self._table.places(rows), dtype=np.int64).reshape(-1, 2).T
        return {
            name: self._folder.read(name, parts, places).astype(np.float32, copy=False)
            for name in sorted(self._folder.channels)
        }


def agrees(record: ImageRecord, known: ImageRecord, fields: Sequence[str]) -> bool:
    """Whether what lies beside a picture now is what a row's channels were made of. fields: those that they depend on.

    Where nothing lies beside it, the row has what a model found.
    """
    return all(getattr(record, name) in ("", getattr(known, name)) for name in fields)


def is_unchanged(known: Known, found: os.stat_result) -> bool:
    """Whether a file still has the size and time its row was made with."""
    return known.facts.bytes == found.st_size and known.facts.mtime_ns == found.st_mtime_ns
