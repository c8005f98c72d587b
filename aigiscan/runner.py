"""The one loop that embed and scan share: files → decoded batches → encoder → rows in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

import numpy as np

from aigiscan.encoders.base import Encoder
from aigiscan.images.ahead import default_workers
from aigiscan.images.beside import complete
from aigiscan.images.decode import DEFAULT_MAX_PIXELS, PLAIN_READER, decode
from aigiscan.images.equalize import Equalization
from aigiscan.images.isolate import IsolatedDecoder
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.loader import Cache, Loaded, Loader
from aigiscan.provenance import ProvenanceReader

# A group is at most one batch for the encoder and the rows without work for it (cached, unreadable) in between; with
# all heads of a ViT-L/14 this many cached rows are 50 MB.
_MAX_GROUP = 512
#: a run that a person watches begins with this many images: with a ViT-L on a CPU a batch of 32 takes half a minute
_FIRST_BATCH = 4


@dataclass(frozen=True, slots=True)
class Encoded:
    """One image after the encoder: channels (name → array of the channel's shape, float32) or the reason why not.

    reused: the channels come from the cache.
    """

    record: ImageRecord
    facts: FileFacts
    channels: Mapping[str, np.ndarray] | None = None
    error: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to go through images.

    workers: loader threads, None for one per core (at most 16); 0 loads in the thread that runs. max_pixels: files with
    more are an error. isolate: seconds that a picture may take to be decoded, in a process of its own
    (:mod:`aigiscan.images.isolate`); None: in this process. reader: how claims of origin are read.
    """

    equalization: Equalization | None = None
    batch_size: int = 32
    workers: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    isolate: float | None = None
    reader: ProvenanceReader = PLAIN_READER


def run(
    records: Iterable[ImageRecord], encoder: Encoder, *, cache: Cache | None = None, **settings: Any
) -> Iterator[Encoded]:
    """Encode images; one :class:`Encoded` per record, in the order of the records. settings: of
    :class:`RunSettings`."""
    for rows in run_batches(records, encoder, RunSettings(**settings), cache=cache):
        yield from rows


def run_batches(
    records: Iterable[ImageRecord],
    encoder: Encoder,
    settings: RunSettings | None = None,
    *,
    cache: Cache | None = None,
    sizes: Iterator[int] | None = None,
) -> Iterator[list[Encoded]]:
    """As :func:`run`, in lists that end where a batch of the encoder ends: what a store keeps as finished work.

    sizes: images of the first, second, … batch, none above ``batch_size``; None: ``batch_size`` each.

    Two batches are read ahead, so memory does not grow with the number of records, which may come from a generator. A
    file that cannot be read or prepared becomes a row with ``error``; an exception of ``encoder.encode`` is raised.
    Ctrl-C, or closing the generator, stops the threads.
    """
    settings = settings or RunSettings()
    batch_size, isolate = settings.batch_size, settings.isolate
    workers = default_workers() if settings.workers is None else settings.workers
    batches = _Batches(repeat(batch_size) if sizes is None else sizes)
    group: list[Loaded] = []
    isolated = None if isolate is None else IsolatedDecoder(isolate)
    decoder = isolated.decode if isolated else decode
    loader = Loader(encoder, settings.equalization, settings.max_pixels, cache, decoder, settings.reader)
    loaded = loader.load_all(complete(records, encoder.beside), workers, ahead=2 * batch_size + workers)
    with ExitStack() as stack:
        stack.callback(loaded.close)
        if isolated:
            stack.enter_context(isolated)  # left before the threads are, which may wait for its processes
        for item in loaded:
            group.append(item)
            if batches.ends_with(item.to_encode):
                yield _encode(group, encoder, cache)
                group = []
        if group:
            yield _encode(group, encoder, cache)


class _Batches:
    """Where batches end, of which only the sizes are known and which rows the encoder has work with."""

    def __init__(self, sizes: Iterator[int]) -> None:
        self.sizes = sizes
        self.size = next(sizes)
        self._rows = self._waiting = 0

    def ends_with(self, to_encode: bool) -> bool:
        """Whether the next row, with or without work for the encoder, is the last of its batch."""
        self._rows += 1
        self._waiting += to_encode
        if self._waiting < self.size and self._rows < max(self.size, _MAX_GROUP):
            return False
        self.size = next(self.sizes)
        self._rows = self._waiting = 0
        return True


def growing_batches(batch_size: int) -> Iterator[int]:
    """Sizes of batches for a run that somebody watches: a few images first, soon ``batch_size``."""
    size = min(_FIRST_BATCH, batch_size)
    while size < batch_size:
        yield size
        size = min(2 * size, batch_size)
    yield from repeat(batch_size)


def after_whole_batches(to_encode: Iterable[bool], sizes: Iterator[int]) -> tuple[int, Iterator[int]]:
    """How many of these rows of a cut run belong to whole batches, and the sizes of the batches that come after them.

    With both a run goes on with the very batches that it would have had, so that its numbers are the same to the last
    bit: an encoder's results may depend on what else is in the batch by one rounding.
    """
    batches = _Batches(sizes)
    whole = 0
    for count, work in enumerate(to_encode, start=1):
        if batches.ends_with(work):
            whole = count
    return whole, chain([batches.size], batches.sizes)


def _encode(group: list[Loaded], encoder: Encoder, cache: Cache | None) -> list[Encoded]:
    inputs = [item.input for item in group if item.to_encode]
    rows = [item.row for item in group if item.row >= 0]
    fresh = _rows(encoder.encode(inputs), len(inputs)) if inputs else iter(())
    known = _rows(cache.read_rows(rows), len(rows)) if cache is not None and rows else iter(())
    return [_finish(item, known if item.row >= 0 else fresh, encoder) for item in group]


def _rows(channels: Mapping[str, np.ndarray], n: int) -> Iterator[dict[str, np.ndarray]]:
    for name, values in channels.items():
        assert len(values) == n, f"channel {name} has {len(values)} rows for {n} images"
    return ({name: values[i] for name, values in channels.items()} for i in range(n))


def _finish(item: Loaded, channels: Iterator[dict[str, np.ndarray]], encoder: Encoder) -> Encoded:
    if item.error:
        return Encoded(item.record, item.facts, error=item.error)
    found = next(channels)
    if item.row < 0:
        record = replace(item.record, **encoder.noted(item.input))
        if record.error:
            return Encoded(item.record, item.facts, error=record.error)
        item = replace(item, record=record)
    if item.row < 0 and not all(np.isfinite(values).all() for values in found.values()):
        return Encoded(item.record, item.facts, error="the encoder's numbers are not finite; try --precision fp32")
    return Encoded(item.record, item.facts, found, reused=item.row >= 0)
