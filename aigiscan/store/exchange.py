"""Stores in other forms: packed into one file, put together from several, as a table for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aigiscan.errors import InputError, MissingDependencyError, StoreError
from aigiscan.files import follow_link, replacing
from aigiscan.store import layout
from aigiscan.store.files import explaining, is_packed
from aigiscan.store.reader import EmbeddingStore
from aigiscan.store.writer import StoreWriter
from aigiscan.text import csv_line

#: rows that are exported at once
_ROWS = 1024


def pack(store: EmbeddingStore, target: Path) -> None:
    """Write a store as one HDF5 file, which appears whole or not at all. StoreError if the name is not that of one."""
    target = follow_link(target)
    if not is_packed(target):
        raise StoreError(f"{target} does not end in .h5: give the packed file such a name")
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        layout.write_file(target, store)


def merge(stores: Sequence[Path], target: Path) -> None:
    """Add the rows of some stores to ``target``, which is made if it is not there; of a picture in several the last
    holds. StoreError if two were made by different encoders."""
    with EmbeddingStore(stores[0]) as first:
        fingerprint, channels = first.fingerprint, first.channels
    with StoreWriter(target, fingerprint, channels) as writer:
        for path in stores:
            with EmbeddingStore(path) as store, explaining(target):
                part = writer.next_part()
                layout.write_file(part, store)
                writer.adopt(part)


def export(store: EmbeddingStore, target: Path, channels: Sequence[str] = ()) -> None:
    """Write the row table, and some channels, as .csv (a column per number) or .parquet (a list per image)."""
    unknown = [name for name in channels if name not in store.channels]
    if unknown:
        raise InputError(f"{store.path} has no channel {', '.join(unknown)}: it has {', '.join(store.channel_names)}")
    target = follow_link(target)
    writers = {".csv": _export_csv, ".parquet": _export_parquet}
    if target.suffix.lower() not in writers:
        raise InputError(f"cannot export to {target}: give it a name that ends in {' or '.join(writers)}")
    with explaining(target), replacing(target) as tmp:
        writers[target.suffix.lower()](store, tmp, channels)


def _blocks(store: EmbeddingStore, channels: Sequence[str]) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """(columns of the row table, channels flattened to (rows, numbers)) of some rows at a time."""
    columns = [getattr(store.rows, name) for name in layout.COLUMNS]
    for start in range(0, len(store), _ROWS):
        rows = np.arange(start, min(len(store), start + _ROWS))
        values = [store.read(name, rows=rows).reshape(len(rows), -1) for name in channels]
        yield [column[rows] for column in columns], values


def _export_csv(store: EmbeddingStore, target: Path, channels: Sequence[str]) -> None:
    numbers = [f"{name}:{i}" for name in channels for i in range(int(np.prod(store.channels[name].shape)))]
    with open(target, "w", encoding="utf-8", newline="") as file:
        file.write(csv_line([*layout.COLUMNS, *numbers]))
        for columns, values in _blocks(store, channels):
            for i, row in enumerate(zip(*columns, strict=True)):
                file.write(csv_line([*row, *(number for array in values for number in array[i].tolist())]))


def _export_parquet(store: EmbeddingStore, target: Path, channels: Sequence[str]) -> None:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise MissingDependencyError("--parquet needs: pip install 'aigiscan[parquet]'") from error
    from aigiscan.text import printable

    fields = [(n, pa.string() if kind.endswith("text") else pa.int64()) for n, kind in layout.COLUMNS.items()]
    fields += [(name, pa.list_(pa.float32())) for name in channels]
    schema = pa.schema(fields)
    with ParquetWriter(target, schema) as writer:
        for columns, values in _blocks(store, channels):
            texts = [list(map(printable, c)) if c.dtype == object else c.astype(np.int64) for c in columns]
            writer.write_table(pa.table([*texts, *(list(array) for array in values)], schema=schema))
