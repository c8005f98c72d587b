"""One immutable HDF5 file of a store: how it is built in memory, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.store import layout

# Chunks that were read once are kept while neighbouring rows are asked for; one row of chunks of ViT-L/14 heads
# is 25 MB. The cache grows only as far as it is used.
_CHUNK_CACHE = 32 << 20


@dataclass(frozen=True, slots=True)
class PartContent:
    """Everything one part holds. Text columns are object arrays of bytes; every table is sorted by path.

    rows: table columns of n images; channels: name → (n, \\*shape); failures, dropped: the other two tables.
    """

    rows: Mapping[str, np.ndarray]
    channels: Mapping[str, np.ndarray]
    failures: Mapping[str, np.ndarray]
    dropped: Mapping[str, np.ndarray]


def build_part(fingerprint: Mapping[str, Any], specs: Mapping[str, ChannelSpec], content: PartContent) -> bytes:
    """The bytes of a part. Built in memory: a full disk then shows as an ordinary error of a plain write, where HDF5
    itself would leave an open file that can neither be written nor closed."""
    n = len(content.rows["path"])
    with h5py.File("part", "w", driver="core", backing_store=False) as file:
        layout.write_header(file, fingerprint, specs)
        layout.create_table(file, layout.ROWS, content.rows)
        layout.create_table(file, layout.FAILURES, content.failures)
        layout.create_table(file, layout.DROPPED, content.dropped)
        for name, spec in sorted(specs.items()):
            layout.create_channel(file, name, n, spec)[...] = content.channels[name]
        file.flush()
        return file.id.get_file_image()


class Part:
    """A part opened for reading. Files of a store never change under a name, so no HDF5 lock is taken (which also
    makes read-only media work)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE, rdcc_nslots=10007)
        except FileNotFoundError:
            raise StoreError(f"{path} does not exist; make it with 'aigiscan embed PATH -o {path}'") from None
        except OSError as error:
            reason = "no permission to read it" if isinstance(error, PermissionError) else "not a whole HDF5 file"
            raise StoreError(f"cannot read the store {path}: {reason}") from error
        try:
            self.fingerprint, self.specs, self.versions = layout.read_header(self.file, str(path))
        except BaseException:
            self.file.close()
            raise
        #: whether this file only points at the parts of an unfinished store
        self.is_index = "unfinished" in self.file.attrs
        self.n_rows = int(self.file[f"{layout.ROWS}/path"].shape[0])

    def column(self, table: str, name: str) -> np.ndarray:
        """One column as stored; text as object array ("long text") or S array ("text") of bytes."""
        return self.file[f"{table}/{name}"][...]

    def count(self, table: str) -> int:
        """Number of entries of a table."""
        return int(self.file[f"{table}/path"].shape[0])

    def channel(self, name: str) -> h5py.Dataset:
        """The dataset of a channel, (n, \\*shape)."""
        return self.file[name]

    def close(self) -> None:
        """Close the file."""
        self.file.close()
