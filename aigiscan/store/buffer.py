"""Finished rows that wait for the next part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store import layout
from aigiscan.store.part import PartContent


class EncodedRow(Protocol):
    """What a store takes: :class:`aigiscan.runner.Encoded` or anything of that shape."""

    @property
    def record(self) -> ImageRecord:
        """What was asked for."""

    @property
    def facts(self) -> FileFacts:
        """What the file is."""

    @property
    def channels(self) -> Mapping[str, np.ndarray] | None:
        """The numbers; None for a failure."""

    @property
    def error(self) -> str:
        """The reason of a failure."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An :class:`EncodedRow` with its channels as they will be stored."""

    record: ImageRecord
    facts: FileFacts
    channels: Mapping[str, np.ndarray] | None
    error: str = ""


class PartBuffer:
    """Rows, failures and removals of the part to come; of one path the last entry counts."""

    def __init__(self, specs: Mapping[str, ChannelSpec]) -> None:
        self._specs = specs
        self._entries: dict[bytes, StoredRow | None] = {}  # None: removed
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, row: EncodedRow) -> None:
        """Take a row or a failure; StoreError if its channels are not those of the store or do not fit its types."""
        channels = None
        if row.channels is not None:
            channels = {name: self._stored(name, row) for name in self._specs}
            self.bytes += sum(values.nbytes for values in channels.values())
        self._entries[_key(row.record.path)] = StoredRow(row.record, row.facts, channels, row.error)

    def _stored(self, name: str, row: EncodedRow) -> np.ndarray:
        assert row.channels is not None
        spec = self._specs[name]
        values = row.channels.get(name)
        shape = None if values is None else np.shape(values)
        if shape != spec.shape:
            raise StoreError(f"channel '{name}' of {row.record.path!r} has shape {shape}, not {spec.shape}")
        with np.errstate(over="ignore"):
            stored = np.array(values, dtype=spec.dtype)  # a copy: a view would keep its whole batch in memory
        if not np.isfinite(stored).all():
            raise StoreError(f"channel '{name}' of {row.record.path!r} has numbers that do not fit {spec.dtype}")
        return stored

    def drop(self, path: str) -> None:
        """Take a removal."""
        self._entries[_key(path)] = None

    def content(self) -> PartContent:
        """Everything as sorted tables and arrays."""
        paths = sorted(self._entries)
        rows = [(p, e) for p in paths if (e := self._entries[p]) is not None and e.channels is not None]
        failures = [(p, e) for p in paths if (e := self._entries[p]) is not None and e.channels is None]
        return PartContent(
            rows={name: _column(name, kind, rows) for name, kind in layout.COLUMNS.items()},
            channels=[e.channels for _, e in rows if e.channels is not None],
            failures={
                "path": _objects([p for p, _ in failures]),
                "error": layout.encode_text([e.error for _, e in failures]),
            },
            dropped={"path": _objects([p for p in paths if self._entries[p] is None])},
        )

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0


def _key(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _objects(values: list[Any]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _column(name: str, kind: str, rows: list[tuple[bytes, StoredRow]]) -> np.ndarray:
    if name == "path":
        return _objects([p for p, _ in rows])
    if name == "label":
        return np.array([-1 if e.record.label is None else e.record.label for _, e in rows], dtype=kind)
    if name in ("generator", "family", "group", "split", "source", "caption"):
        return layout.encode_text([getattr(e.record, name) for _, e in rows])
    if kind == "text":
        return layout.encode_text([getattr(e.facts, name) for _, e in rows])
    return np.array([getattr(e.facts, name) for _, e in rows], dtype=kind)
