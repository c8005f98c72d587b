"""Several parts seen as one store, and written as one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.store import layout
from aigiscan.store.files import DeferringFile, replacing
from aigiscan.store.part import Part


@dataclass(frozen=True, slots=True)
class Union:
    """Which entries of which part make up the store: for each path the last one written counts.

    parts: in the order of writing. For each table: ``part[i]`` and ``local[i]``, the place of its i-th entry; entries
    are sorted by path (bytes).
    """

    parts: Sequence[Part]
    part: Mapping[str, np.ndarray]
    local: Mapping[str, np.ndarray]

    def count(self, table: str) -> int:
        """Number of entries of a table."""
        return len(self.part[table])

    def column(self, table: str, name: str) -> np.ndarray:
        """One column of a table over all parts, in order of path."""
        columns = [p.column(table, name) for p in self.parts]
        if len(columns) == 1 and len(columns[0]) == self.count(table):
            return columns[0]
        if not columns:
            return np.empty(0, dtype=object)
        starts = np.cumsum([0, *(len(c) for c in columns)])
        joined = np.concatenate(columns)
        return joined[starts[self.part[table]] + self.local[table]]

    def read(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Entries ``rows`` (ascending or not) of a channel in their stored type; ``index`` selects on further axes."""
        spec = self.parts[0].specs[channel]
        shape = np.empty(spec.shape, dtype=np.bool_)[index].shape if spec.shape else ()
        out = np.empty((len(rows), *shape), dtype=spec.dtype)
        part, local = self.part[layout.ROWS][rows], self.local[layout.ROWS][rows]
        for k in np.unique(part):
            (where,) = np.nonzero(part == k)
            for slab, places in _slabs(self.parts[k].channel(channel), local[where]):
                data = self.parts[k].channel(channel)[(slab, *index)]
                out[where[places]] = data[local[where[places]] - slab.start]
        return out


def _slabs(dataset: h5py.Dataset, local: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Cut wanted entries into runs that lie in one row of chunks: HDF5 reads slabs fast and lists of rows slowly."""
    rows = dataset.chunks[0] if dataset.chunks else max(1, len(dataset))
    block = local // rows
    for b in np.unique(block):
        (places,) = np.nonzero(block == b)
        yield slice(int(local[places].min()), int(local[places].max()) + 1), places


def unite(parts: Sequence[Part]) -> Union:
    """Find for each path the entry that was written last."""
    if len(parts) == 1:
        # Every part is sorted and has each path once.
        counts = {table: parts[0].count(table) for table in layout.TABLES}
        return Union(
            parts,
            {t: np.zeros(n, dtype=np.int32) for t, n in counts.items()},
            {t: np.arange(n, dtype=np.int64) for t, n in counts.items()},
        )
    tables = list(layout.TABLES)
    paths, part, table, local = [], [], [], []
    for k, p in enumerate(parts):
        for t, name in enumerate(tables):
            column = p.column(name, "path")
            paths.append(column.astype(object))
            part.append(np.full(len(column), k, dtype=np.int32))
            table.append(np.full(len(column), t, dtype=np.int8))
            local.append(np.arange(len(column), dtype=np.int64))
    joined = np.concatenate([np.empty(0, dtype=object), *paths])
    order = np.argsort(joined, kind="stable")  # stable: of equal paths the last written comes last
    ordered = joined[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    kept = order[last]
    all_part, all_table, all_local = (
        np.concatenate([np.empty(0, dtype=np.int64), *a])[kept] for a in (part, table, local)
    )
    return Union(
        parts,
        {name: all_part[all_table == t].astype(np.int32) for t, name in enumerate(tables)},
        {name: all_local[all_table == t].astype(np.int64) for t, name in enumerate(tables)},
    )


def write_union(
    union: Union,
    target: Path,
    tmp_folder: Path,
    fingerprint: Mapping[str, Any],
    specs: Mapping[str, ChannelSpec],
    *,
    keep_dropped: bool,
) -> None:
    """Write a union as one file; the same content gives the same bytes, however it was cut into parts.

    keep_dropped: whether removals are remembered (needed unless the union is everything the store has).
    Memory: one column of a table, or one row of chunks of a channel.
    """
    n = union.count(layout.ROWS)
    with replacing(target, tmp_folder) as tmp, DeferringFile(tmp) as disk, h5py.File(disk, "w") as file:
        layout.write_header(file, fingerprint, specs)
        for table, columns in layout.TABLES.items():
            group = file.create_group(table)
            wanted = table != layout.DROPPED or keep_dropped
            for name, kind in columns.items():
                values = union.column(table, name) if wanted else np.empty(0, dtype=object)
                layout.write_column(group, name, kind, values)
        for name, spec in sorted(specs.items()):
            dataset = layout.create_channel(file, name, n, spec)
            step = dataset.chunks[0]
            for start in range(0, n, step):
                disk.check()
                rows = np.arange(start, min(n, start + step))
                dataset[start : start + len(rows)] = union.read(name, rows)
