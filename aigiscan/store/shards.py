"""Parts that other processes write: each takes a slice of the records and leaves one immutable file.

The owner of the store (:class:`aigiscan.store.StoreWriter`) hands out names with slices, and takes over what lies
there. A slice whose worker was lost is given to another: it finds the finished part and does nothing, or writes it
whole under the same name, so nothing is lost or doubled. All processes see the same folder; the row table is the
owner's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aigiscan.encoders.base import ChannelSpec
from aigiscan.store import layout
from aigiscan.store.buffer import EncodedRow, RowBuffer
from aigiscan.store.files import explaining, locate
from aigiscan.store.part import Part


def write_shard(
    target: Path,
    fingerprint: Mapping[str, Any],
    channels: Mapping[str, ChannelSpec],
    rows: Iterable[tuple[str, EncodedRow]],
) -> None:
    """Write (absolute path, row or failure) of a slice as the part ``target``; kept in memory until then."""
    buffer = RowBuffer(fingerprint, channels)
    for path, row in rows:
        buffer.add(locate(path), row)
    with explaining(target):
        layout.write_file(target, buffer)


def read_shard(target: Path) -> tuple[int, list[tuple[str, str]]] | None:
    """Images, and failures (path, reason), of a part that is already there, else None."""
    if not target.exists():
        return None
    part = Part(target)
    try:
        return len(part), [(path, error) for path, error, *_ in part.failure_rows()]
    finally:
        part.close()
