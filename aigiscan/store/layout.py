"""What a store file looks like inside: its columns, its channels, its attributes. docs/store.md says it in words."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from aigiscan import __version__
from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError

FORMAT = 1

#: columns of the row table, in order: numpy dtype, or "text" (stored with a fixed width) or "long text" (variable)
COLUMNS: dict[str, str] = {
    "path": "long text",
    "sha256": "text",
    "label": "int8",
    "generator": "text",
    "family": "text",
    "group": "text",
    "split": "text",
    "source": "text",
    "caption": "long text",
    "width": "int32",
    "height": "int32",
    "format": "text",
    "bytes": "int64",
    "mtime_ns": "int64",
    "provenance": "text",
}
FAILURE_COLUMNS: dict[str, str] = {"path": "long text", "error": "long text"}
DROPPED_COLUMNS: dict[str, str] = {"path": "long text"}

ROWS, FAILURES, DROPPED = "rows", "failures", "dropped"
TABLES: dict[str, dict[str, str]] = {ROWS: COLUMNS, FAILURES: FAILURE_COLUMNS, DROPPED: DROPPED_COLUMNS}
#: names a channel cannot have, because tables have them
RESERVED = frozenset(TABLES)

# One vector channel is cut into blocks of columns, so that one component over all images does not read the others;
# eight float32 columns x 1,024 images are 32 KiB, large enough to read whole rows at the speed of the disk.
VECTOR_CHUNK = (1024, 8)
# One head over all images: its d_head numbers x 512 images (64 KiB at d_head 64 and float16).
HEADS_CHUNK_ROWS = 512


#: entries of a table that are read or written at once
TABLE_BLOCK = 1024
#: bytes of a channel that are read or written at once
CHANNEL_BLOCK = 256 << 10
METADATA_CACHE = 128 << 10
#: (table, column, first, last + 1) → entries: numbers, or bytes as an object or S array
ColumnReader = Callable[[str, str, int, int], np.ndarray]


def chunk_shape(n: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk of a channel (n, \\*shape): few images' worth of padding at the end, one head or few columns wide."""
    target = HEADS_CHUNK_ROWS if len(shape) > 1 else VECTOR_CHUNK[0]
    pieces = max(1, math.ceil(n / target))
    rows = max(1, math.ceil(n / pieces))
    if not shape:
        return (rows,)
    if len(shape) == 1:
        return rows, max(1, min(VECTOR_CHUNK[1], shape[0]))
    return rows, *([1] * (len(shape) - 1)), shape[-1]


def column_dtype(kind: str, width: int) -> Any:
    """HDF5 type of a column; text is UTF-8 bytes (paths: the bytes of the file system)."""
    if kind == "long text":
        return h5py.string_dtype("utf-8")
    if kind == "text":
        return h5py.string_dtype("utf-8", max(1, width))
    return np.dtype(kind)


def write_table(parent: h5py.Group, table: str, n: int, column: ColumnReader) -> None:
    """Write one table of n entries, ``TABLE_BLOCK`` at a time, without time stamps: equal content gives equal bytes."""
    group = parent.create_group(table)
    for name, kind in TABLES[table].items():
        blocks = [(start, min(n, start + TABLE_BLOCK)) for start in range(0, n, TABLE_BLOCK)]
        width = max((_longest(column(table, name, *ends)) for ends in blocks), default=1) if kind == "text" else 0
        dtype = column_dtype(kind, width)
        dataset = group.create_dataset(name, shape=(n,), dtype=dtype, track_times=False)
        for start, stop in blocks:
            values = column(table, name, start, stop)
            # the view carries h5py's mark for UTF-8, without which HDF5 refuses to convert
            dataset[start:stop] = values.astype(f"S{max(1, width)}").view(dtype) if kind == "text" else values


def _longest(values: np.ndarray) -> int:
    return max(map(len, values.tolist()), default=1)


def new_file(disk: Any) -> h5py.File:
    """A file to write; without a cache of chunks, because each is written once and whole."""
    file = h5py.File(disk, "w", rdcc_nbytes=0)
    limit_metadata(file)
    return file


def limit_metadata(file: h5py.File) -> None:
    """Keep HDF5's cache of an open file's structures (and of texts of variable length) from growing to its 32 MB."""
    config = file.id.get_mdc_config()
    config.max_size = config.initial_size = METADATA_CACHE
    config.min_size = METADATA_CACHE // 2
    file.id.set_mdc_config(config)


def create_channel(parent: h5py.Group, name: str, n: int, spec: ChannelSpec) -> h5py.Dataset:
    """An empty channel dataset (n, \\*shape) in the chunking of this format; every element will be written once."""
    return parent.create_dataset(
        name,
        shape=(n, *spec.shape),
        dtype=spec.dtype,
        chunks=chunk_shape(n, spec.shape),
        maxshape=(None, *spec.shape),
        track_times=False,
    )


def channel_blocks(dataset: h5py.Dataset) -> Iterator[tuple[slice, ...]]:
    """Cut a channel (n, \\*shape) into blocks of whole chunks, ``CHANNEL_BLOCK`` bytes each: (rows, first axis)."""
    step = dataset.chunks[0]
    rows = [slice(start, min(len(dataset), start + step)) for start in range(0, len(dataset), step)]
    if dataset.ndim == 1:
        yield from ((r,) for r in rows)
        return
    n, wide = dataset.shape[1], dataset.chunks[1]
    column_bytes = step * dataset.dtype.itemsize * math.prod(dataset.shape[2:])
    across = max(1, CHANNEL_BLOCK // (wide * column_bytes)) * wide
    for r in rows:
        for start in range(0, n, across):
            yield r, slice(start, min(n, start + across))


def write_header(file: h5py.File, fingerprint: Mapping[str, Any], specs: Mapping[str, ChannelSpec]) -> None:
    """Format number, encoder fingerprint, channel list and versions as attributes of the file."""
    file.attrs["format"] = FORMAT
    file.attrs["fingerprint"] = json.dumps(fingerprint, sort_keys=True, ensure_ascii=False)
    file.attrs["channels"] = json.dumps({k: [list(s.shape), s.dtype] for k, s in sorted(specs.items())})
    file.attrs["versions"] = json.dumps(
        {
            "aigiscan": __version__,
            "h5py": h5py.version.version,
            "hdf5": h5py.version.hdf5_version,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
    )


def read_header(file: h5py.File, path: str) -> tuple[dict[str, Any], dict[str, ChannelSpec], dict[str, str]]:
    """Fingerprint, channels and versions of an open file; StoreError if it is not a store of this format."""
    if "format" not in file.attrs or "fingerprint" not in file.attrs:
        raise StoreError(f"{path} is an HDF5 file but not an aigiscan store; give another name")
    if int(file.attrs["format"]) > FORMAT:
        raise StoreError(
            f"{path} has store format {int(file.attrs['format'])}, this aigiscan reads up to {FORMAT}; upgrade aigiscan"
        )
    specs = {k: ChannelSpec(tuple(shape), dtype) for k, (shape, dtype) in json.loads(file.attrs["channels"]).items()}
    return json.loads(file.attrs["fingerprint"]), specs, json.loads(file.attrs["versions"])


def check_specs(specs: Mapping[str, ChannelSpec]) -> None:
    """Refuse channels that a file cannot hold under their own name."""
    for name in specs:
        if name in RESERVED or "/" in name or not name:
            raise StoreError(f"a channel cannot be called '{name}'; rename it")


def encode_text(values: list[str]) -> np.ndarray:
    """Strings → object array of bytes; surrogate escapes become the file system's own bytes again."""
    out = np.empty(len(values), dtype=object)
    out[:] = [v.encode("utf-8", "surrogateescape") for v in values]
    return out


def decode_text(value: bytes) -> str:
    """The inverse of :func:`encode_text` for one value."""
    return value.decode("utf-8", "surrogateescape")
