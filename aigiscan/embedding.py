"""Records → store: the work of ``aigiscan embed``, in this process or on a Dask cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from aigiscan.encoders import compare_fingerprints, encoder_from_fingerprint
from aigiscan.encoders.accompanied import DescribingEncoder
from aigiscan.encoders.base import Captures, Encoder, captures
from aigiscan.encoders.describe import Captioner, Grounder
from aigiscan.errors import EncoderError, InputError, MissingDependencyError
from aigiscan.images.beside import complete
from aigiscan.images.beside import write as write_beside
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import ImageRecord
from aigiscan.runner import Encoded, RunSettings, run_batches
from aigiscan.store import StoreWriter
from aigiscan.store.buffer import write_part

# Batches per slice that a cluster's worker takes: what a lost worker loses, and what it keeps in memory.
_BATCHES_PER_SLICE = 16
_SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class EmbedSettings(RunSettings):
    """How to go through the images, and what becomes of the store: ``resume=False`` makes it anew; ``prune`` drops the
    rows of files that are gone, ``prune_most`` also if that is more than half of them."""

    resume: bool = True
    prune: bool = False
    prune_most: bool = False


@dataclass(slots=True)
class EmbedSummary:
    """What a run did: images encoded; rows that the store had (unchanged, or the same content under another name);
    rows dropped because their file is gone, and all of which it is gone; files that could not be judged, those of them
    whose row stays because no new bytes were read, and the first ten as (path, reason): the store has them all;
    whether a packed file was written anew to take what was added."""

    encoded: int = 0
    known: int = 0
    moved: int = 0
    pruned: int = 0
    vanished: int = 0
    failed: int = 0
    kept: int = 0
    repacked: bool = False
    failures: list[tuple[str, str]] = field(default_factory=list)

    def note_failures(self, failures: Iterable[tuple[str, str]]) -> None:
        """Count them, keep the first."""
        for failure in failures:
            self.failed += 1
            if self.failed <= _SHOWN_FAILURES:
                self.failures.append(failure)


def store_fingerprint(encoder: Encoder, equalization: Equalization | None = None) -> dict[str, Any]:
    """What a store keeps as its fingerprint: the encoder's, and the canonical equalisation ("" none)."""
    return {**encoder.fingerprint(), "equalization": equalization.spec if equalization else ""}


def embed(
    records: Iterable[ImageRecord], encoder: Encoder, store: str | Path, settings: EmbedSettings | None = None
) -> EmbedSummary:
    """Encode what ``store`` does not have yet and add it; see :class:`aigiscan.store.StoreWriter` for the errors."""
    settings = settings or EmbedSettings()
    summary = EmbedSummary()
    fingerprint = store_fingerprint(encoder, settings.equalization)
    with StoreWriter(store, fingerprint, encoder.channels(), resume=settings.resume) as writer:
        pending = writer.pending(complete(_count(records, summary), encoder.beside))
        for rows in run_batches(pending, encoder, settings, cache=writer.cache):
            writer.append(rows)
            summary.note_failures((row.record.path, row.error) for row in rows if row.channels is None)
            summary.moved += sum(row.reused for row in rows)
            summary.encoded += sum(row.channels is not None and not row.reused for row in rows)
        _prune(writer, settings, summary)
        summary.kept, summary.repacked = writer.kept, writer.repacks
    summary.known -= summary.encoded + summary.moved + summary.failed
    return summary


def _prune(writer: StoreWriter, settings: EmbedSettings, summary: EmbedSummary) -> None:
    if settings.prune:
        summary.pruned, summary.vanished = writer.prune(1.0 if settings.prune_most else 0.5)


def encode_batches(
    records: Iterable[ImageRecord],
    encoder: Encoder,
    settings: RunSettings,
    cache: str | Path | None = None,
    sizes: Iterator[int] | None = None,
) -> Iterator[list[Encoded]]:
    """Encode images in order, taking what the store ``cache`` holds from it and adding the rest to it.

    sizes: of the batches, see :func:`aigiscan.runner.run_batches`.
    """
    if cache is None:
        yield from run_batches(records, encoder, settings, sizes=sizes)
        return
    fingerprint = store_fingerprint(encoder, settings.equalization)
    with StoreWriter(cache, fingerprint, encoder.channels(), resume=True) as writer:
        for rows in run_batches(records, encoder, settings, cache=writer.cache, sizes=sizes):
            writer.append(rows)
            yield rows


def _count(records: Iterable[ImageRecord], summary: EmbedSummary) -> Iterator[ImageRecord]:
    for record in records:
        summary.known += 1
        yield record


def describe(
    records: Iterable[ImageRecord],
    captioner: Captioner | None,
    grounder: Grounder | None,
    settings: EmbedSettings | None = None,
) -> EmbedSummary:
    """Caption the pictures that have no caption, and find the objects of those that have none, into files beside them.

    What lies beside a picture is kept; a cut run goes on where it stopped. ``encoded`` counts files that were written,
    ``known`` pictures that had all. InputError if a file cannot be written.
    """
    encoder = DescribingEncoder(captioner, grounder)
    summary = EmbedSummary()
    settings = replace(settings or EmbedSettings(), equalization=None)

    def lacking() -> Iterator[ImageRecord]:
        for record in complete(_count(records, summary), encoder.beside):
            if record.error or not all(getattr(record, name) for name in encoder.beside):
                summary.known -= 1
                yield record

    for rows in run_batches(lacking(), encoder, settings):
        summary.note_failures((row.record.path, row.error) for row in rows if row.channels is None)
        summary.encoded += sum(write_beside(row.record, encoder.beside) for row in rows if row.channels is not None)
    return summary


@dataclass(frozen=True, slots=True)
class SliceTask:
    """What a worker of a cluster needs: its records (relative to ``folder``), the part it has to leave, and how to make
    the encoder."""

    records: tuple[ImageRecord, ...]
    folder: str
    target: str
    fingerprint: str
    captured: Captures
    device: str
    settings: EmbedSettings


def embed_with_dask(
    records: Iterable[ImageRecord],
    encoder: Encoder,
    store: str | Path,
    scheduler: str,
    settings: EmbedSettings | None = None,
    *,
    timeout: float = 15,
) -> EmbedSummary:
    """As :func:`embed` on an existing Dask cluster whose workers see the same files under the same names.

    scheduler: its address, ``tcp://HOST:8786``; timeout: seconds to wait for it. Workers write parts; this process
    alone writes the row table, each part as it comes. A slice of a worker that dies is done again by another.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise MissingDependencyError("--backend dask needs: pip install 'aigiscan[dask]'") from error

    settings = settings or EmbedSettings()
    summary = EmbedSummary()
    fingerprint = store_fingerprint(encoder, settings.equalization)
    specs = encoder.channels()
    try:
        client = Client(scheduler, timeout=timeout)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}: {error}; start one with 'dask scheduler'"
        ) from None
    with client, StoreWriter(store, fingerprint, specs, resume=settings.resume) as writer:
        tasks = [
            SliceTask(
                records=tuple(some),
                folder=str(Path.cwd()),
                target=str(writer.next_part().absolute()),
                fingerprint=json.dumps(fingerprint),
                captured=captures(specs),
                device=encoder.options.device,
                settings=settings,
            )
            for some in _slices(_unknown(complete(_count(records, summary), encoder.beside), writer, summary), settings)
        ]
        targets = dict(zip(client.map(embed_slice, tasks, pure=False), [Path(t.target) for t in tasks], strict=True))
        for future in as_completed(targets):
            future.result()
            rows, failures = writer.adopt(targets[future])
            summary.encoded += rows
            summary.note_failures(failures)
        _prune(writer, settings, summary)
        summary.repacked = writer.repacks
    summary.known -= summary.encoded + summary.moved + summary.failed
    return summary


def _unknown(records: Iterable[ImageRecord], writer: StoreWriter, summary: EmbedSummary) -> Iterator[ImageRecord]:
    """Records whose content the store does not have either; the others take their rows at once."""
    for record in writer.pending(records):
        found = None if record.error else writer.cache.find(record)
        if found is None:
            yield record
        else:
            writer.append([Encoded(record, found[1], reused=True)])
            summary.moved += 1


def _slices(records: Iterable[ImageRecord], settings: EmbedSettings) -> Iterator[list[ImageRecord]]:
    rest = iter(records)
    while some := list(islice(rest, _BATCHES_PER_SLICE * settings.batch_size)):
        yield some


def embed_slice(task: SliceTask) -> None:
    """The work of one worker: encode a slice and leave its part, unless a worker that was lost has left it already."""
    target = Path(task.target)
    if target.exists():
        return
    fingerprint = json.loads(task.fingerprint)
    encoder = _encoder(task.fingerprint, task.device, json.dumps(task.captured))
    here = store_fingerprint(encoder, task.settings.equalization)
    different = compare_fingerprints(fingerprint, here)
    if different:
        raise EncoderError(f"a worker's encoder differs from the scheduler's: {'; '.join(different)}; install the same")
    # The worker may run in another folder; the store shows the names that the user gave.
    absolute = [replace(record, path=os.path.join(task.folder, record.path)) for record in task.records]
    rows = chain.from_iterable(run_batches(absolute, encoder, task.settings))
    named = (
        (row.record.path, replace(row, record=replace(row.record, path=record.path)))
        for record, row in zip(task.records, rows, strict=True)
    )
    write_part(target, fingerprint, encoder.channels(), named)


@lru_cache(maxsize=1)
def _encoder(fingerprint: str, device: str, captured: str) -> Encoder:
    # kept between the slices of a worker: weights are read once
    return encoder_from_fingerprint(json.loads(fingerprint), device=device, **json.loads(captured))
