"""The index of an unfinished store: a small HDF5 file whose datasets are views of the parts beside it.

With it ``S.h5`` can be read with h5py alone at any time of a run; :class:`aigiscan.store.EmbeddingStore` reads the
parts themselves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from aigiscan.encoders.base import ChannelSpec
from aigiscan.store import layout
from aigiscan.store.files import write_whole
from aigiscan.store.part import Part


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What the index has to know of a part: entries per table, and bytes per item of each column."""

    path: Path
    counts: Mapping[str, int]
    widths: Mapping[str, int]


def describe(path: Path) -> PartInfo:
    """Open a part and look."""
    part = Part(path)
    try:
        names = [f"{table}/{name}" for table, columns in layout.TABLES.items() for name in columns]
        with part.opened() as file:
            widths = {name: file[name].dtype.itemsize for name in names}
        return PartInfo(path, {table: part.count(table) for table in layout.TABLES}, widths)
    finally:
        part.close()


def publish_index(
    store: Path,
    folder: Path,
    parts: Sequence[PartInfo],
    fingerprint: Mapping[str, Any],
    specs: Mapping[str, ChannelSpec],
) -> None:
    """Write ``store`` as views of ``parts``, in the order of writing."""
    with h5py.File("index", "w", driver="core", backing_store=False) as file:
        layout.write_header(file, fingerprint, specs)
        file.attrs["unfinished"] = len(parts)
        for table, columns in layout.TABLES.items():
            file.create_group(table)
            for name, kind in columns.items():
                full = f"{table}/{name}"
                width = max((p.widths[full] for p in parts), default=1)
                _view(file, full, table, (), layout.column_dtype(kind, width), parts)
        for name, spec in sorted(specs.items()):
            _view(file, name, layout.ROWS, spec.shape, np.dtype(spec.dtype), parts)
        file.flush()
        image = file.id.get_file_image()
    write_whole(store, image, folder, durable=False)  # a reader who finds it damaged reads the parts


def _view(
    file: h5py.File, name: str, table: str, shape: tuple[int, ...], dtype: Any, parts: Sequence[PartInfo]
) -> None:
    # The low-level calls: h5py's own VirtualLayout takes ten times as long, and this runs once a second.
    n = sum(p.counts[table] for p in parts)
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    start = 0
    for part in parts:
        count = part.counts[table]
        if count:
            place = h5s.create_simple((n, *shape))
            place.select_hyperslab((start, *[0] * len(shape)), (count, *shape))
            properties.set_virtual(place, _source(part.path), name.encode(), h5s.create_simple((count, *shape)))
            start += count
    h5d.create(file.id, name.encode(), h5t.py_create(dtype, logical=True), h5s.create_simple((n, *shape)), properties)


def _source(path: Path) -> bytes:
    # relative to the folder of the index, so that both can be moved together; HDF5 reads a single % as a pattern
    return os.path.join(path.parent.name, path.name).encode("utf-8", "surrogateescape").replace(b"%", b"%%")
