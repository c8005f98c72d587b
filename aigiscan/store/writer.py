"""Writing a store so that a kill at any moment loses at most the last second of work, and nothing is done twice."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from aigiscan.encoders import compare_fingerprints
from aigiscan.encoders.base import ChannelSpec
from aigiscan.encoders.fingerprint import record_fields
from aigiscan.errors import StoreError
from aigiscan.files import follow_link, uninterrupted
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store import layout
from aigiscan.store.buffer import RowBuffer
from aigiscan.store.cache import StoreCache, agrees, is_unchanged
from aigiscan.store.files import explaining, identity, is_packed, locate, work_folder
from aigiscan.store.folder import FIRST_PART, Folder, Selection, link
from aigiscan.store.part import Part
from aigiscan.store.reader import EmbeddingStore, is_store
from aigiscan.store.table import TABLE_NAME, Known, to_values

if TYPE_CHECKING:
    from aigiscan.runner import Encoded

# A part is written once a second: with its fsync that costs well under 1 % of the time, and loses a second to a kill.
FLUSH_SECONDS = 1.0
# What a part may gather in memory, and where images come so fast that many small parts would cost time: a quarter of a
# second's work, up to that much.
FLUSH_BYTES, MOST_BYTES = 2 << 20, 32 << 20
_PAUSE = 0.25
LOCK_NAME = ".lock"
_INFO = [name for name in layout.RECORD_COLUMNS if name != "path"]


class StoreWriter:
    """Appends to a store, making it if needed. Use as a context manager: a clean exit finishes the store; an error or
    an interrupt keeps every finished batch for the next run.

    path: a folder, or a packed file ``S.h5``, which is unpacked beside itself, and packed again at the end.
    fingerprint: ``{**encoder.fingerprint(), "equalization": spec}``. channels: ``encoder.channels()``.
    resume: False makes it anew; what is there stays until the new one is complete. Errors (StoreError, one line):
    another encoder's store, another writer at work, a disk that is full or read-only.
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
        self.fingerprint, self.channels = dict(fingerprint), dict(channels)
        self._resume = resume
        self._flush_seconds, self._flush_bytes = flush_seconds, flush_bytes
        self._root = work_folder(self.path)
        self._packed = is_packed(self.path)
        self._fields = record_fields(self.channels)
        self._lock = FileLock(self._root / LOCK_NAME, timeout=0)
        self._buffer = RowBuffer(self.fingerprint, self.channels)
        self._interval = flush_seconds
        self._last_flush = time.monotonic()
        self._changed = True  # whether a packed file has to be written; until it is known
        #: failures that left the row of their file as it was, because no new bytes were read
        self.kept = 0

    def __enter__(self) -> StoreWriter:
        layout.check_channels(self.channels)
        with explaining(self.path):
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout:
                raise StoreError(
                    f"{self.path} is being written by another process; wait for it or give another name"
                ) from None
            try:
                self.folder = self._open()
                self.cache = StoreCache(self.folder)  #: look-up in what is there
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
                    self._finish()
        finally:
            self.cache.close()
            self.folder.close()
            self._release()

    # -- beginning and end --------------------------------------------------------------------------------------------

    def _open(self) -> Folder:
        work, base = self._root, identity(self.path) if self._packed else None
        shutil.rmtree(self._new, ignore_errors=True)
        if self._packed and (work / TABLE_NAME).exists() and not self._continues(base):
            self._clear()  # it was packed; a kill came before the folder could go
        if is_store(self.path):
            EmbeddingStore(self.path).close()  # what is no store is not ours to change
            if not self._resume:
                work = self._new
                work.mkdir()
        self._changed = work == self._new or not base or (work / TABLE_NAME).exists()
        if not (work / TABLE_NAME).exists():
            if base and work == self._root:
                self._changed = not self._unpack()
            Folder.make(work, self.fingerprint, self.channels, base)
        folder = Folder.to_write(work)
        try:
            self._check(folder)
        except BaseException:
            folder.close()
            raise
        return folder

    @property
    def _new(self) -> Path:
        return self._root / "new"

    def _continues(self, base: list[int] | None) -> bool:
        left = Folder.to_read(self._root)
        left.close()
        return left.base == base

    def _unpack(self) -> bool:
        """The packed file becomes the first part; False if it is what an older version left as an index of parts."""
        try:
            part = Part(self.path)
        except StoreError:  # which a power cut damaged: the parts are whole
            return False
        part.close()
        if not part.is_index:
            link(self.path, self._root / FIRST_PART)
        return not part.is_index

    def _check(self, folder: Folder) -> None:
        different = compare_fingerprints(folder.fingerprint, self.fingerprint)
        if different:
            old, new = folder.fingerprint.get("name"), self.fingerprint.get("name")
            detail = "" if old != new else f" ({'; '.join(different)})"
            raise StoreError(
                f"{self.path} was made by encoder '{old}' and this run uses '{new}'{detail}; "
                "give another store or the same encoder and options"
            )
        if folder.channels != self.channels:
            have, made = (", ".join(sorted(channels)) for channels in (folder.channels, self.channels))
            raise StoreError(
                f"{self.path} has the channels {have} and this run makes {made}; "
                "use the same options (--heads) or another store"
            )

    def _finish(self) -> None:
        self.folder.finish()
        if self._packed and self._changed:
            layout.write_file(self.path, Selection(self.folder))
        elif self.folder.path == self._new and not self._packed:
            if not (self._root / TABLE_NAME).exists():  # an older version's folder
                Folder.make(self._root, {}, {})
            old = Folder.to_write(self._root)
            old.become(Selection(self.folder))
            old.close()
            self.cache.close()
            self.folder.close()
            shutil.rmtree(self._new, ignore_errors=True)
        if self._packed:
            self.cache.close()
            self.folder.close()
            self._clear()  # what a kill leaves of it is stale, for the packed file is another now

    def _clear(self) -> None:
        """Remove the folder beside a packed file, but for its lock."""
        for path in self._root.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK_NAME:
                with suppress(PermissionError):  # open in a reader, on Windows
                    path.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._packed and not self._changed:
            self._clear()
        if self._packed and os.name != "nt" and set(os.listdir(self._root)) <= {LOCK_NAME}:
            # while it is held: who waits for it sees that its file has gone, and makes another
            (self._root / LOCK_NAME).unlink(missing_ok=True)
            with suppress(OSError):
                self._root.rmdir()
        self._lock.release()

    @property
    def repacks(self) -> bool:
        """Whether a packed file that was there has to be written anew, because something is added."""
        return self._packed and (self._changed or len(self._buffer) > 0) and self.path.exists()

    # -- records in, rows out -----------------------------------------------------------------------------------------

    def pending(self, records: Iterable[ImageRecord]) -> Iterator[ImageRecord]:
        """The records that have to be opened. Files that the store knows (same path, size and time) are left out; if
        their record carries labels that the row does not have, the row takes them."""
        for record in records:
            known = None if record.error else self._unchanged(record)
            if known is None:
                yield record
            else:
                self._update(known, record, known.facts)

    def _unchanged(self, record: ImageRecord) -> Known | None:
        known = self.folder.table.at(locate(record.path))
        try:
            found = os.stat(record.path) if known is not None else None  # noqa: PTH116 (called a million times)
        except (OSError, ValueError):
            return None
        if known is None or found is None or not is_unchanged(known, found):
            return None
        return known if agrees(record, known.record, self._fields) else None

    def append(self, rows: Sequence[Encoded]) -> None:
        """Take a finished batch; it is on the disk at the latest one second and one batch later.

        Rows the store has already (``reused``) and failures it knows cost nothing. A file that was found by its content
        under another name takes the row over if the old name is gone.
        """
        for row in rows:
            location = locate(row.record.path)
            if row.reused:
                self._reuse(location, row)
            elif row.channels is None:
                self._fail(location, row)
            else:
                self._buffer.add(location, row)
        waited = time.monotonic() - self._last_flush
        full = self._buffer.bytes >= (self._flush_bytes if waited >= _PAUSE else MOST_BYTES)
        if full or waited >= self._interval:
            self.flush()

    def _reuse(self, location: str, row: Encoded) -> None:
        table = self.folder.table
        here = table.at(location)
        record = row.record
        if here is not None and here.facts.sha256 == row.facts.sha256 and agrees(record, here.record, self._fields):
            self._update(here, record, row.facts)  # known, or touched
            return
        rows = table.of_content(row.facts.bytes, row.facts.sha256)
        same = [known for known in rows if agrees(record, known.record, self._fields)]
        self._touch()
        for known in same:
            # a relative one is an older version's, of which nobody knows from where it was given
            if known.location and not (os.path.isabs(known.location) and os.path.lexists(known.location)):
                table.drop(known.id)
                if not _says_anything(record):
                    record = replace(known.record, path=record.path)
        record = self._with_found(record, same[0].record)
        ((part, place),) = table.places([same[0].id])
        table.insert(part, place, to_values(location, record, row.facts))

    def _with_found(self, record: ImageRecord, known: ImageRecord) -> ImageRecord:
        """The record with what a model found for the row's channels, where nothing lies beside the picture."""
        return replace(record, **{name: getattr(record, name) or getattr(known, name) for name in self._fields})

    def _update(self, known: Known, record: ImageRecord, facts: FileFacts) -> None:
        news: dict[str, Any] = {}
        if facts.mtime_ns != known.facts.mtime_ns:
            news["mtime_ns"] = facts.mtime_ns
        if _says_anything(record):
            record = self._with_found(record, known.record)
            news |= {
                name: getattr(record, name) for name in _INFO if getattr(record, name) != getattr(known.record, name)
            }
        if "label" in news and news["label"] is None:
            news["label"] = -1
        if news:
            self._touch()
            self.folder.table.update(known.id, news)

    def _fail(self, location: str, row: Encoded) -> None:
        table = self.folder.table
        if table.stands(location, row.facts.sha256):
            self.kept += 1
        elif table.failure(location) != (row.error, row.facts.sha256):
            self._touch()
            table.fail(row.record.path, row.error, location, row.facts.sha256)

    def prune(self, limit: float = 1.0) -> tuple[int, int]:
        """Remove rows and failures whose file is gone; nothing if that is more than ``limit`` of all rows, as when a
        disk is not there. Returns (how many were removed, how many rows have no file)."""
        self.flush()
        locations = [location for block in Selection(self.folder).column("location") for location in block]
        gone = [place for place in locations if os.path.isabs(place) and not os.path.lexists(place)]
        if len(gone) > limit * len(locations):
            return 0, len(gone)
        failed = [location for _, _, location, _ in self.folder.table.failures() if not os.path.lexists(location)]
        for location in (*gone, *failed):
            self._touch()
            self.folder.table.vacate(location)
        return len(gone) + len(failed), len(gone)

    def next_part(self) -> Path:
        """A name for a part that another process shall write (:func:`aigiscan.store.buffer.write_part`)."""
        return self.folder.path / self.folder.next_name()

    def adopt(self, part: Path) -> tuple[int, list[tuple[str, str]]]:
        """Take over a part that another process has written: its number of rows, and (path, reason) of its failures."""
        self.flush()
        with explaining(self.path):
            written = self.folder.open_parts.get(part)
            report = len(written), [(path, error) for path, error, *_ in written.failure_rows()]
            self._touch()
            self._commit(part.name)
        return report

    # -- to the disk --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what has been taken so far."""
        with explaining(self.path):
            start = time.monotonic()
            if len(self._buffer):
                self._touch()
                name = self.folder.next_name()
                layout.write_file(self.folder.path / name, self._buffer)
                self._commit(name)
                self._buffer.clear()
            else:
                self.folder.table.commit()
            self._last_flush = time.monotonic()
            # On a slow disk the parts become larger, so that writing them stays below 4 % of the time.
            self._interval = self._flush_seconds * max(1.0, 25 * (self._last_flush - start))

    def _commit(self, name: str) -> None:
        with uninterrupted():
            self.folder.adopt(name)
            self.folder.table.commit()
        self.folder.tidy()

    def _touch(self) -> None:
        """Something will be changed."""
        self.folder.table.begin()
        self.folder.table.state("unfinished", True)
        self._changed = True


def _says_anything(record: ImageRecord) -> bool:
    return record.label is not None or any(getattr(record, name) for name in _INFO)
