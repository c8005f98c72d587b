"""Records → decoded, equalised, prepared inputs, read ahead by a few threads and given back in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aigiscan.encoders.base import Encoder
from aigiscan.errors import InputError
from aigiscan.images.decode import DEFAULT_MAX_PIXELS, decode
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import FileFacts, ImageRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

# Threads, not processes: Pillow and hashlib release the interpreter lock, so threads reached the rate of processes
# (benchmarks/bench_scan.py), start at once and share the cache. More than 16 would only wait for each other.
MAX_WORKERS = 16


def default_workers() -> int:
    """Loader threads when nothing is asked for: one per core that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_WORKERS, cores)


class Cache(Protocol):
    """What has been encoded before (:class:`aigiscan.store.StoreCache`)."""

    def find(self, record: ImageRecord) -> tuple[int, FileFacts] | None:
        """Where this file's channels are; called in loader threads."""

    def read_rows(self, rows: Sequence[int]) -> Mapping[str, np.ndarray]:
        """Channels of some of those places, name → (len(rows), \\*shape)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file before the encoder: an input for it, a row of the cache (≥ 0), or an error."""

    record: ImageRecord
    facts: FileFacts
    input: Any = None
    row: int = -1
    error: str = ""

    @property
    def to_encode(self) -> bool:
        """Whether the encoder has work with it."""
        return not self.error and self.row < 0


@dataclass(frozen=True, slots=True)
class Loader:
    """What happens to one file before the encoder, and the threads that do it."""

    encoder: Encoder
    equalization: Equalization | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    cache: Cache | None = None

    def load(self, record: ImageRecord) -> Loaded:
        """One file; whatever is wrong with it becomes an error of its row."""
        hit = self.cache.find(record) if self.cache is not None and not record.error else None
        if hit is not None:
            return Loaded(record, hit[1], row=hit[0])
        least_side = self.equalization.least_side if self.equalization is not None else 0
        image = decode(record, max_pixels=self.max_pixels, least_side=least_side)
        if image.pixels is None:
            return Loaded(record, image.facts, error=image.error)
        try:
            prepared = self.encoder.prepare_record(record, image.pixels, self.equalization, image.size)
            return Loaded(record, image.facts, input=prepared)
        except InputError as error:  # what lies beside the picture
            return Loaded(record, image.facts, error=str(error))
        # What one picture's size or content can cause. Anything else is a mistake in the program and must be seen.
        except (OSError, ValueError, ArithmeticError, MemoryError) as error:
            return Loaded(record, image.facts, error=f"cannot be prepared: {type(error).__name__}: {error}")

    def load_all(self, records: Iterable[ImageRecord], workers: int, ahead: int) -> Generator[Loaded, None, None]:
        """All files in order, at most ``ahead`` of them loaded and not yet taken; 0 workers: in this thread."""
        if workers == 0:
            yield from map(self.load, records)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="aigiscan-loader")
        queue: deque[Future[Loaded]] = deque()
        try:
            for record in records:
                queue.append(pool.submit(self.load, record))
                if len(queue) >= ahead:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
