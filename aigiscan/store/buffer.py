"""Finished rows that wait to be written as a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.store import layout
from aigiscan.store.files import explaining, locate
from aigiscan.store.table import to_values

if TYPE_CHECKING:
    from aigiscan.runner import Encoded


class RowBuffer:
    """Rows in the order they came; of one location the last counts (:class:`aigiscan.store.layout.Source`)."""

    def __init__(self, fingerprint: Mapping[str, Any], channels: Mapping[str, ChannelSpec]) -> None:
        self.fingerprint, self.channels = fingerprint, channels
        self.bytes = 0
        self._rows: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {}
        self._failures: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, location: str, row: Encoded) -> None:
        """Take a row, or a failure (which only :func:`write_part` keeps). StoreError if its
        channels are not those of the store, or do not fit its types."""
        if row.channels is None:
            self._failures[location] = (row.record.path, row.error, location, row.facts.sha256)
            return
        stored = {name: self._stored(name, row) for name in self.channels}
        self.bytes += sum(values.nbytes for values in stored.values())
        self._rows[location] = to_values(location, row.record, row.facts), stored

    def _stored(self, name: str, row: Encoded) -> np.ndarray:
        assert row.channels is not None
        spec = self.channels[name]
        values = row.channels.get(name)
        shape = None if values is None else np.shape(values)
        if shape != spec.shape:
            raise StoreError(f"channel '{name}' of {row.record.path!r} has shape {shape}, not {spec.shape}")
        with np.errstate(over="ignore"):
            stored = np.array(values, dtype=spec.dtype)  # a copy: a view would keep its whole batch in memory
        if not np.isfinite(stored).all():
            raise StoreError(f"channel '{name}' of {row.record.path!r} has numbers that do not fit {spec.dtype}")
        return stored

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self._failures.clear()
        self.bytes = 0

    def column(self, name: str) -> Iterator[list]:
        """Entries of one column."""
        place = list(layout.COLUMNS).index(name)
        yield [values[place] for values, _ in self._rows.values()]

    def failure_rows(self) -> list[tuple[str, ...]]:
        """Entries of :data:`aigiscan.store.layout.FAILURE_COLUMNS`."""
        return list(self._failures.values())

    def read_stored(self, channel: str, rows: np.ndarray, index: tuple[Any, ...] = ()) -> np.ndarray:
        """Rows of a channel; ``index`` selects on its further axes."""
        entries = list(self._rows.values())
        return np.array([entries[i][1][channel][index] for i in rows.tolist()])


def write_part(
    target: Path,
    fingerprint: Mapping[str, Any],
    channels: Mapping[str, ChannelSpec],
    rows: Iterable[tuple[str, Encoded]],
) -> None:
    """Write (absolute path, row or failure) as a part, which the owner of the store takes over: what a worker of a
    cluster does with a slice. The rows are kept in memory until then."""
    buffer = RowBuffer(fingerprint, channels)
    for path, row in rows:
        buffer.add(locate(path), row)
    with explaining(target):
        layout.write_file(target, buffer)
