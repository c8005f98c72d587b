"""Several parts seen as one store, and written as one file."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.store import layout
from aigiscan.store.files import DeferringFile, replacing
from aigiscan.store.part import Part

#: paths read at once of each part that is merged
_ENTRIES = 64


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

    def column(self, table: str, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Entries ``start`` to ``stop`` of one column over all parts, in order of path."""
        part, local = self.part[table][start:stop], self.local[table][start:stop]
        pieces: list[tuple[np.ndarray, np.ndarray]] = []
        for k in np.unique(part):
            (where,) = np.nonzero(part == k)
            wanted = local[where]
            first = int(wanted.min())
            found = self.parts[k].column(table, name, first, int(wanted.max()) + 1)
            if len(found) == len(wanted) == len(part):
                return found  # a stretch of one part, ascending as all parts are
            pieces.append((where, found[wanted - first]))
        if not pieces:
            return np.empty(0, dtype=object if layout.TABLES[table][name].endswith("text") else np.int64)
        out = np.empty(len(part), dtype=max((found.dtype for _, found in pieces), key=lambda dtype: dtype.itemsize))
        for where, found in pieces:
            out[where] = found
        return out

    def read(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Entries ``rows`` (ascending or not) of a channel in their stored type; ``index`` selects on further axes."""
        spec = self.parts[0].specs[channel]
        shape = np.empty(spec.shape, dtype=np.bool_)[index].shape if spec.shape else ()
        out = np.empty((len(rows), *shape), dtype=spec.dtype)
        part, local = self.part[layout.ROWS][rows], self.local[layout.ROWS][rows]
        for k in np.unique(part):
            (where,) = np.nonzero(part == k)
            for slab, places in _slabs(self.parts[k].chunk_rows(channel), local[where]):
                data = self.parts[k].read(channel, slab, index)
                out[where[places]] = data[local[where[places]] - slab.start]
        return out


def _slabs(chunk_rows: int, local: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Cut wanted entries into runs that lie in one row of chunks: HDF5 reads slabs fast and lists of rows slowly."""
    block = local // chunk_rows
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
            {t: np.broadcast_to(np.int32(0), n) for t, n in counts.items()},  # no memory
            {t: np.arange(n, dtype=np.int32) for t, n in counts.items()},
        )
    tables = list(layout.TABLES)
    chosen = {name: (array("H"), array("i")) for name in tables}  # part and place in it, six bytes an entry
    entries = heapq.merge(*(_entries(p, k, t, name) for k, p in enumerate(parts) for t, name in enumerate(tables)))
    before: tuple[bytes, int, int, int] | None = None
    for entry in chain(entries, [None]):
        # of equal paths the one of the last part comes last
        if before is not None and (entry is None or entry[0] != before[0]):
            part, local = chosen[tables[before[2]]]
            part.append(before[1])
            local.append(before[3])
        before = entry
    return Union(
        parts,
        {name: np.frombuffer(part, dtype=np.uint16) for name, (part, _) in chosen.items()},
        {name: np.frombuffer(local, dtype=np.int32) for name, (_, local) in chosen.items()},
    )


def _entries(part: Part, k: int, t: int, table: str) -> Iterator[tuple[bytes, int, int, int]]:
    """(path, number of the part, number of the table, place) of one table, which is sorted."""
    for start in range(0, part.count(table), _ENTRIES):
        paths = part.column(table, "path", start, start + _ENTRIES).tolist()
        for i, path in enumerate(paths, start):
            yield path, k, t, i


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
    Memory: some thousand entries of a column, or a megabyte of a channel at most, plus six bytes per entry.
    """
    n = union.count(layout.ROWS)
    with replacing(target, tmp_folder) as tmp, DeferringFile(tmp) as disk, layout.new_file(disk) as file:
        layout.write_header(file, fingerprint, specs)
        for table in layout.TABLES:
            wanted = table != layout.DROPPED or keep_dropped
            layout.write_table(file, table, union.count(table) if wanted else 0, union.column)
        for name, spec in sorted(specs.items()):
            dataset = layout.create_channel(file, name, n, spec)
            for rows, *index in layout.channel_blocks(dataset):
                disk.check()
                dataset[(rows, *index)] = union.read(name, np.arange(rows.start, rows.stop), tuple(index))
