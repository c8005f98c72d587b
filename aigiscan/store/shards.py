"""Parts that other processes write: each takes a slice of the records and leaves one immutable file.

The owner of the store (:class:`aigiscan.store.StoreWriter`) reserves names, hands them out with slices, and takes over
what lies there in the end. A slice whose worker was lost is given to another: it finds the finished part and does
nothing, or writes it whole under the same name, so nothing is lost or doubled. All processes see the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigiscan.encoders.base import ChannelSpec
from aigiscan.store import layout
from aigiscan.store.buffer import EncodedRow, PartBuffer
from aigiscan.store.files import explaining
from aigiscan.store.part import Part, write_part


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What a finished part holds: images, and files that could not be judged (path, reason)."""

    rows: int
    failures: tuple[tuple[str, str], ...]


def write_shard(
    target: Path, fingerprint: Mapping[str, Any], specs: Mapping[str, ChannelSpec], rows: Iterable[EncodedRow]
) -> ShardReport:
    """Write all rows of a slice as the part ``target``; kept in memory until then. StoreError if it cannot be."""
    buffer = PartBuffer(specs)
    for row in rows:
        buffer.add(row)
    with explaining(target):
        write_part(target, target.parent, fingerprint, specs, buffer.content())
    report = read_shard(target)
    assert report is not None
    return report


def read_shard(target: Path) -> ShardReport | None:
    """The report of a part that is already there, else None."""
    if not target.exists():
        return None
    part = Part(target)
    try:
        columns = (part.column(layout.FAILURES, name).tolist() for name in ("path", "error"))
        failures = tuple((layout.decode_text(p), layout.decode_text(e)) for p, e in zip(*columns, strict=True))
        return ShardReport(part.count(layout.ROWS), failures)
    finally:
        part.close()
