"""What a store file looks like inside: its columns, its channels, its attributes. docs/store.md says it in words."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from aigiscan import __version__
from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.files import replacing, uninterrupted
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store.files import DeferringFile

FORMAT = 1

# Every field of the two records is a column; a new field is a new column, in old stores with its default. Text has a
# fixed width, numbers are int64, unless it says here otherwise.
LONG = "long text"
_KINDS = {
    **dict.fromkeys(("path", "caption", "objects", "twin", "claims"), LONG),
    "label": "int8",
    "width": "int32",
    "height": "int32",
}
RECORD_COLUMNS = [field.name for field in fields(ImageRecord) if field.name != "error"]
FACT_COLUMNS = [field.name for field in fields(FileFacts)]
#: columns of the row table → numpy dtype, "text", or "long text" (of variable width in a file)
COLUMNS: dict[str, str] = {"location": LONG} | {
    field.name: _KINDS.get(field.name, "text" if field.type == "str" else "int64")
    for field in (*fields(ImageRecord), *fields(FileFacts))
    if field.name != "error"
}
FAILURE_COLUMNS: dict[str, str] = dict.fromkeys(("path", "error", "location", "sha256"), LONG)
#: what a file of an older version, which lacks a column, has in it
DEFAULTS: dict[str, Any] = {name: "" if kind.endswith("text") else 0 for name, kind in COLUMNS.items()} | {"label": -1}

ROWS, FAILURES, DROPPED = "rows", "failures", "dropped"
#: names a channel cannot have, because tables have them
_RESERVED = frozenset((ROWS, FAILURES, DROPPED))

# One vector channel is cut into blocks of columns, so that one component over all images does not read the others;
# eight float32 columns x 1,024 images are 32 KiB, large enough to read whole rows at the speed of the disk.
_VECTOR_CHUNK = (1024, 8)
# One head over all images: its d_head numbers x 512 images (64 KiB at d_head 64 and float16).
_HEADS_CHUNK_ROWS = 512
#: bytes of a channel, and entries of a column, that are read or written at once
_CHANNEL_BLOCK = 256 << 10
TABLE_BLOCK = 4096
_METADATA_CACHE = 128 << 10


class Source(Protocol):
    """Rows and channels to be written: a buffer, some parts, or a whole store."""

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Of the encoder."""

    @property
    def channels(self) -> Mapping[str, ChannelSpec]:
        """What there is of each image."""

    def __len__(self) -> int:
        """Number of rows."""

    def column(self, name: str) -> Iterator[list]:
        """Entries of one column of the row table, in blocks."""

    def failure_rows(self) -> list[tuple[str, ...]]:
        """Entries of :data:`FAILURE_COLUMNS`."""

    def read_stored(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Rows of a channel in their stored type; ``index`` selects on its further axes."""


def write_file(target: Path, source: Source) -> None:
    """Write a source as one file that appears under its name whole or not at all. Memory: some blocks of a column or a
    channel. No time stamps: equal rows give equal bytes. Ctrl-C comes through between two blocks."""
    digests: dict[str, Any] = {}
    with replacing(target) as tmp, DeferringFile(tmp) as disk, _writing(disk) as file:
        write_header(file, source.fingerprint, source.channels)
        for dataset, place, block in _blocks(file, source):
            with uninterrupted():
                dataset[place] = block
            disk.check()
            digests.setdefault(dataset.name[1:], hashlib.sha256()).update(content(block))
        file.attrs["digests"] = json.dumps({name: digest.hexdigest() for name, digest in digests.items()})


@contextmanager
def _writing(disk: DeferringFile) -> Iterator[h5py.File]:
    with uninterrupted():
        file = h5py.File(disk, "w", rdcc_nbytes=0)  # each chunk is written once and whole: no cache of them
        limit_metadata(file)
    try:
        yield file
    finally:
        with uninterrupted():
            file.close()


def _blocks(file: h5py.File, source: Source) -> Iterator[tuple[h5py.Dataset, Any, np.ndarray]]:
    """Make all datasets; (dataset, place, content) of everything that goes into them."""
    n, failed = len(source), source.failure_rows()
    for name, kind in COLUMNS.items():
        yield from _column_blocks(file, f"{ROWS}/{name}", kind, n, partial(source.column, name))
    for i, name in enumerate(FAILURE_COLUMNS):
        entries = [[row[i] for row in failed]]
        yield from _column_blocks(file, f"{FAILURES}/{name}", LONG, len(failed), partial(iter, entries))
    yield from _column_blocks(file, f"{DROPPED}/path", LONG, 0, partial(iter, []))  # older versions look for it
    for name, spec in sorted(source.channels.items()):
        dataset = _create(file, name, (n, *spec.shape), spec.dtype, chunks=chunk_shape(n, spec.shape) if n else None)
        for rows, *index in channel_blocks(dataset):
            block = source.read_stored(name, np.arange(rows.start, rows.stop), tuple(index))
            yield dataset, (rows, *index), block


def _column_blocks(
    file: h5py.File, name: str, kind: str, n: int, blocks: Callable[[], Iterator[list]]
) -> Iterator[tuple[h5py.Dataset, Any, np.ndarray]]:
    text, width, start = kind.endswith("text"), 0, 0
    if kind == "text":  # a first pass for the width
        width = max((len(encode_text(value)) for block in blocks() for value in block), default=0) or 1
    # text is UTF-8 bytes (paths: the bytes of the file system)
    dtype = h5py.string_dtype("utf-8", width or None) if text else np.dtype(kind)
    dataset = _create(file, name, (n,), dtype)
    for values in blocks():
        stop = start + len(values)
        if not text:
            yield dataset, slice(start, stop), np.array(values, dtype=dtype)
        elif kind == LONG:
            yield dataset, slice(start, stop), np.array([encode_text(value) for value in values], dtype=object)
        else:  # the view carries h5py's mark for UTF-8, without which HDF5 refuses to convert
            fixed = np.array([encode_text(value) for value in values], dtype=f"S{width}")
            yield dataset, slice(start, stop), fixed.view(dtype)
        start = stop


def _create(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> h5py.Dataset:
    with uninterrupted():
        return file.create_dataset(name, shape, dtype, track_times=False, **options)


def content(array: np.ndarray) -> bytes:
    """What the digest of a dataset is made of: numbers as they are, texts with a zero byte after each."""
    return b"".join(value + b"\0" for value in array.tolist()) if array.dtype.kind in "OS" else array.tobytes()


def chunk_shape(n: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk of a channel (n, \\*shape): few images' worth of padding at the end, one head or few columns wide."""
    target = _HEADS_CHUNK_ROWS if len(shape) > 1 else _VECTOR_CHUNK[0]
    pieces = max(1, math.ceil(n / target))
    rows = max(1, math.ceil(n / pieces))
    if not shape:
        return (rows,)
    if len(shape) == 1:
        return rows, max(1, min(_VECTOR_CHUNK[1], shape[0]))
    return rows, *([1] * (len(shape) - 1)), shape[-1]


def channel_blocks(dataset: h5py.Dataset) -> Iterator[tuple[slice, ...]]:
    """Cut a channel (n, \\*shape) into blocks of whole chunks, ``_CHANNEL_BLOCK`` bytes each: (rows, first axis)."""
    step = dataset.chunks[0] if dataset.chunks else 1
    rows = [slice(start, min(len(dataset), start + step)) for start in range(0, len(dataset), step)]
    if dataset.ndim == 1:
        yield from ((r,) for r in rows)
        return
    if not dataset.chunks:  # of a store without rows
        return
    n, wide = dataset.shape[1], dataset.chunks[1]
    column_size = step * dataset.dtype.itemsize * math.prod(dataset.shape[2:])
    across = max(1, _CHANNEL_BLOCK // (wide * column_size)) * wide
    for r in rows:
        for start in range(0, n, across):
            yield r, slice(start, min(n, start + across))


def limit_metadata(file: h5py.File) -> None:
    """Keep HDF5's cache of an open file's structures (and of texts of variable length) from growing to its 32 MB."""
    config = file.id.get_mdc_config()
    config.max_size = config.initial_size = _METADATA_CACHE
    config.min_size = _METADATA_CACHE // 2
    file.id.set_mdc_config(config)


def versions() -> dict[str, str]:
    """What a file is written with."""
    return {
        "aigiscan": __version__,
        "h5py": h5py.version.version,
        "hdf5": h5py.version.hdf5_version,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def channels_to_json(channels: Mapping[str, ChannelSpec]) -> dict[str, list]:
    """Name → [shape, dtype], as attribute ``channels`` has it."""
    return {name: [list(spec.shape), spec.dtype] for name, spec in sorted(channels.items())}


def channels_from_json(values: Mapping[str, Any]) -> dict[str, ChannelSpec]:
    """The inverse of :func:`channels_to_json`."""
    return {name: ChannelSpec(tuple(shape), dtype) for name, (shape, dtype) in values.items()}


def write_header(file: h5py.File, fingerprint: Mapping[str, Any], channels: Mapping[str, ChannelSpec]) -> None:
    """Format number, encoder fingerprint, channel list and versions as attributes of the file."""
    file.attrs["format"] = FORMAT
    file.attrs["fingerprint"] = json.dumps(fingerprint, sort_keys=True, ensure_ascii=False)
    file.attrs["channels"] = json.dumps(channels_to_json(channels))
    file.attrs["versions"] = json.dumps(versions())


def check_format(number: int, path: str | os.PathLike[str]) -> None:
    """Refuse what a newer version wrote."""
    if number > FORMAT:
        raise StoreError(f"{path} has store format {number}, this aigiscan reads up to {FORMAT}; upgrade aigiscan")


def check_channels(channels: Mapping[str, ChannelSpec]) -> None:
    """Refuse channels that a file cannot hold under their own name."""
    for name in channels:
        if name in _RESERVED or "/" in name or not name:
            raise StoreError(f"a channel cannot be called '{name}'; rename it")


def encode_text(value: str) -> bytes:
    """UTF-8; surrogate escapes become the file system's own bytes again."""
    return value.encode("utf-8", "surrogateescape")


def decode_text(value: bytes) -> str:
    """The inverse of :func:`encode_text`."""
    return value.decode("utf-8", "surrogateescape")
