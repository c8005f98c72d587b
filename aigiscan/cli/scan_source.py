"""What ``aigiscan scan`` judges: pictures to be opened and encoded, or the rows of stores that already are."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress, islice
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.cli import console
from aigiscan.cli.companions import with_twins
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.images.records import ImageRecord
    from aigiscan.reports.writers import ReportFormat
    from aigiscan.runner import Encoded

_STORE_BATCH = 64
log = logging.getLogger("aigiscan.scan")


class Source:
    """What to scan: records to be opened and encoded, or the rows of stores that already are."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        all_files: bool,
        twins: str,
        running: dict[str, Any],
    ) -> None:
        from aigiscan.images.find import find_images, not_looked_at
        from aigiscan.store import EmbeddingStore, is_store

        self.stores = [path for path in paths if path != "-" and is_store(path)]
        rest = [path for path in paths if path not in self.stores]
        self.records: list[ImageRecord] = []
        self.skipped: list[ImageRecord] = []  # a report that is gone on with has them
        self.total = 0
        self._running = running
        self._sizes: Iterator[int] | None = None
        self._done: Counter[str] = Counter()
        self._spelled: Callable[[str], str] = str
        for path in self.stores:
            with EmbeddingStore(path) as store:
                self.total += len(store) + len(store.failures)
        if rest:
            skipped: Counter[str] = Counter()
            found = find_images(
                rest, include=include, exclude=exclude, stdin=sys.stdin, all_files=all_files, skipped=skipped
            )
            if passed_by := not_looked_at(skipped):
                console.note(passed_by)
            self.records = with_twins(found, twins)
            if not self.records and not self.stores:
                raise InputError(f"no image found in {', '.join(rest)}: nothing to scan")
        self.total += len(self.records)
        log.debug("%d images in %s", self.total, ", ".join(paths))

    def skip(self, done: Counter[str], form: ReportFormat, sizes: Iterator[int] | None) -> None:
        """Leave out what a report already holds; go on with batches of those sizes."""
        self._done, self._spelled, self._sizes = done, form.spelled, sizes
        new = [self._is_new(record.path) for record in self.records]
        self.skipped = list(compress(self.records, map(not_, new)))
        self.records = list(compress(self.records, new))
        self.total -= len(self.skipped)

    def _is_new(self, path: str) -> bool:
        name = self._spelled(path)
        if self._done[name] == 0:
            return True
        self._done[name] -= 1
        return False

    def batches(
        self, detector: Detector, *, device: str, precision: str | None, cache: Path | None, scheduler: str
    ) -> Iterator[list[Encoded]]:
        """Encoded images in sorted path order, a batch at a time: stores first, then files. scheduler: of the cluster
        that encodes first what the cache does not hold. The encoder, and what has to be downloaded for it, is there
        when this returns."""
        from aigiscan.embedding import EmbedSettings, embed_with_dask, encode_batches
        from aigiscan.runner import growing_batches

        if not self.records:
            return self._stored(detector)
        encoder = detector.make_encoder(device=device, precision=precision)
        log.debug("encoder %s", encoder.name)
        settings = EmbedSettings(equalization=detector.equalization, **self._running)
        if scheduler and cache is not None:
            embed_with_dask(self.records, encoder, cache, scheduler, settings)
        sizes = self._sizes or growing_batches(settings.batch_size)
        return chain(self._stored(detector), encode_batches(self.records, encoder, settings, cache, sizes))

    def _stored(self, detector: Detector) -> Iterator[list[Encoded]]:
        from aigiscan.detector.stored import encoded_from_store

        for path in self.stores:
            rows = (row for row in encoded_from_store(detector, path) if self._is_new(row.record.path))
            while batch := list(islice(rows, _STORE_BATCH)):
                yield batch
