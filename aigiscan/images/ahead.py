"""The threads that read files ahead: work on many items at once, results in the order of the items."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Threads, not processes: Pillow, simplejpeg and hashlib release the interpreter lock, so threads reached the rate of
# processes (benchmarks/bench_scan.py), start at once and share the cache. More than 16 would only wait for each other.
MAX_WORKERS = 16


def default_workers() -> int:
    """Threads when nothing is asked for: one per core that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_WORKERS, cores)


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int, ahead: int) -> Generator[R, None, None]:
    """``work(item)`` of every item, in order, at most ``ahead`` of them done and not yet taken.

    workers: threads; 0 works in this one. An exception of ``work`` is raised where its result would come. Closing the
    generator stops the threads.
    """
    if workers == 0:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="aigiscan-loader")
    queue: deque[Future[R]] = deque()
    try:
        for item in items:
            queue.append(pool.submit(work, item))
            if len(queue) >= ahead:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
