"""Writing a store so that a kill at any moment loses at most the last second of work, and nothing is done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.images.records import ImageRecord
from aigiscan.store import layout
from aigiscan.store.buffer import EncodedRow, PartBuffer, StoredRow
from aigiscan.store.files import explaining, follow_link, remove_leftovers
from aigiscan.store.lock import WriterLock
from aigiscan.store.lookup import StoreCache
from aigiscan.store.reader import EmbeddingStore
from aigiscan.store.session import AT_ONCE, Session

# A part is written once a second: with its fsync that costs well under 1 % of the time, and loses a second to a kill.
FLUSH_SECONDS = 1.0
# What a part may gather in memory, and where images come so fast that many small parts would cost time: a quarter of a
# second's work, up to that much.
FLUSH_BYTES, MOST_BYTES = 2 << 20, 32 << 20
_PAUSE = 0.25
_INFO = ("generator", "family", "group", "split", "source", "caption")


class StoreWriter:
    """Appends to a store, making it if needed. Use as a context manager: a clean exit finishes the store; an error or
    an interrupt keeps every finished batch for the next run.

    path: ``S.h5``, or a folder (a name without ``.h5``) that takes immutable parts and is never rewritten.
    fingerprint: ``{**encoder.fingerprint(), "equalization": spec}``. channels: ``encoder.channels()``.
    resume: False starts afresh. Errors (StoreError, one line): another encoder's store, another writer at work, a disk
    that is full or read-only.
    """

    def __init__(
        self,
        path: str | Path,
        fingerprint: Mapping[str, Any],
        channels: Mapping[str, ChannelSpec],
        *,
        resume: bool = True,
        flush_seconds: float = FLUSH_SECONDS,
        flush_bytes: int = FLUSH_BYTES,
    ) -> None:
        self.path = follow_link(path)
        self.fingerprint = dict(fingerprint)
        self.channels = dict(channels)
        self._resume = resume
        self._flush_seconds, self._flush_bytes = flush_seconds, flush_bytes
        self._session = Session(self.path, self.fingerprint, self.channels)
        self._lock = WriterLock(self._session.folder / ".lock", self.path)
        self._buffer = PartBuffer(self.channels)
        self._interval = flush_seconds
        self._last_flush = time.monotonic()
        self.store: EmbeddingStore | None = None  #: what was there at the start
        self.cache: StoreCache | None = None  #: look-up in it
        self._failures: dict[str, str] = {}

    def __enter__(self) -> StoreWriter:
        layout.check_specs(self.channels)
        with explaining(self.path):
            self._session.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                self._open()
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            with explaining(self.path):
                if not isinstance(error, StoreError):
                    self.flush()
                if error is None:
                    self._session.finish()
        finally:
            self._release()

    # -- what is there already ----------------------------------------------------------------------------------------

    def _open(self) -> None:
        session = self._session
        remove_leftovers(session.folder)
        if session.exists and not self._resume:
            EmbeddingStore(self.path).close()  # what is no store is not ours to remove
            session.clear()
            session.publish()
        elif session.exists:
            self.store = EmbeddingStore(self.path, AT_ONCE)
            self._check(self.store)
            if session.remove_stale(self.store.files):
                self.store.close()
                self.store = EmbeddingStore(self.path, AT_ONCE)
            self._failures = dict(self.store.failures)
            self.cache = StoreCache(self.store, self._finished_rows())
        else:
            session.publish()
        session.begin()

    def _check(self, store: EmbeddingStore) -> None:
        from aigiscan.encoders import compare_fingerprints

        different = compare_fingerprints(store.fingerprint, self.fingerprint)
        if different:
            old, new = store.fingerprint.get("name"), self.fingerprint.get("name")
            detail = "" if old != new else f" ({'; '.join(different)})"
            raise StoreError(
                f"{self.path} was made by encoder '{old}' and this run uses '{new}'{detail}; "
                "give another store or the same encoder and options"
            )
        if store.channels != self.channels:
            raise StoreError(
                f"{self.path} has the channels {_names(store.channels)} and this run makes {_names(self.channels)}; "
                "use the same options (--heads) or another store"
            )

    def _finished_rows(self) -> np.ndarray | None:
        """Rows that an uninterrupted run left; None: all."""
        assert self.store is not None
        if all(self._session.is_finished(file) for file in self.store.files):
            return None
        union = self.store._union
        finished = [i for i, p in enumerate(union.parts) if self._session.is_finished(p.path)]
        return np.flatnonzero(np.isin(union.part[layout.ROWS], finished))

    # -- records in, rows out -----------------------------------------------------------------------------------------

    def pending(self, records: Iterable[ImageRecord]) -> Iterator[ImageRecord]:
        """The records that have to be opened. Files that the store knows (same path, size and time) are left out; if
        their record carries labels that the row does not have, the row takes them."""
        relabelled: list[tuple[ImageRecord, int]] = []
        for record in records:
            row = self.cache.unchanged(record) if self.cache is not None and not record.error else None
            if row is None:
                yield record
            elif self._has_news(record, row):
                relabelled.append((record, row))
                if len(relabelled) >= 256:
                    self._relabel(relabelled)
        self._relabel(relabelled)

    def _has_news(self, record: ImageRecord, row: int) -> bool:
        assert self.store is not None
        if not _says_anything(record):
            return False
        return replace(self.store.blocks.record(row), path=record.path, error=record.error) != record

    def _relabel(self, rows: list[tuple[ImageRecord, int]]) -> None:
        if rows:
            assert self.store is not None and self.cache is not None
            channels = self.cache.read_rows([row for _, row in rows])
            self.append(
                [
                    StoredRow(record, self.store.blocks.facts(row), {name: c[i] for name, c in channels.items()})
                    for i, (record, row) in enumerate(rows)
                ]
            )
            rows.clear()

    def append(self, rows: Sequence[EncodedRow]) -> None:
        """Take a finished batch; it is on the disk at the latest one second and one batch later.

        Rows the store has already (from :attr:`cache`) and failures it knows cost nothing. A file that was found by
        its content under another name takes the row over if the old name is gone.
        """
        for row in rows:
            if row.channels is None:
                if self._failures.get(row.record.path) == row.error:
                    continue
            elif getattr(row, "reused", False) and self.cache is not None:
                if self.cache.unchanged(row.record) is not None:
                    continue
                row = self._take_over(row)
            self._buffer.add(row)
        waited = time.monotonic() - self._last_flush
        full = self._buffer.bytes >= (self._flush_bytes if waited >= _PAUSE else MOST_BYTES)
        if len(self._buffer) and (full or waited >= self._interval):
            with explaining(self.path):
                self.flush()

    def _take_over(self, row: EncodedRow) -> EncodedRow:
        """A file known by content: if an old name of it is gone, drop that row and keep what it said of the image."""
        assert self.store is not None and self.cache is not None
        record = row.record
        for i in self.cache.rows_of_content(row.facts.sha256):
            stored = self.store.blocks.record(i)
            if not os.path.lexists(stored.path):
                self._buffer.drop(stored.path)
                if not _says_anything(record):
                    record = replace(stored, path=record.path)
        return StoredRow(record, row.facts, row.channels)

    def prune(self) -> int:
        """Remove rows and failures whose file is gone; returns how many."""
        if self.store is None:
            return 0
        gone = 0
        for path in chain(self._failures, chain.from_iterable(rows.path for rows in self.store.blocks)):
            if not os.path.lexists(path):
                self._buffer.drop(path)
                gone += 1
        return gone

    def slices(self, records: Sequence[ImageRecord], size: int) -> Iterator[tuple[Sequence[ImageRecord], Path]]:
        """Cut records into slices, each with the part that another process shall write (:mod:`.shards`)."""
        if records:
            with explaining(self.path):
                self._session.make_way()
                self._session.publish()
        for start in range(0, len(records), size):
            yield records[start : start + size], self._session.next_name()

    # -- to the disk --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what has been taken so far as an immutable part."""
        if not len(self._buffer):
            return
        start = time.monotonic()
        self._session.write(self._buffer.content())
        self._buffer.clear()
        self._last_flush = time.monotonic()
        # On a slow disk the parts become larger, so that writing them stays below 4 % of the time.
        self._interval = self._flush_seconds * max(1.0, 25 * (self._last_flush - start))

    def _release(self) -> None:
        if self.store is not None:
            self.store.close()
        self._lock.release()
        self._session.leave()


def _says_anything(record: ImageRecord) -> bool:
    return record.label is not None or any(getattr(record, name) for name in _INFO)


def _names(channels: Mapping[str, ChannelSpec]) -> str:
    return ", ".join(sorted(channels))
