"""Rows of a store → what a detector judges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aigiscan.detector.detector import Detector
from aigiscan.encoders.fingerprint import how_to_get
from aigiscan.errors import DetectorError
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded
from aigiscan.store import EmbeddingStore

#: rows read at once: a few MB of embeddings, and heads still fit
_ROWS = 256


def encoded_from_store(detector: Detector, path: str | Path) -> Iterator[Encoded]:
    """Every row of a store in sorted path order, unreadable files among them.

    Raises DetectorError if the store's encoder or equalisation is not the detector's, or a channel is missing.
    """
    with EmbeddingStore(path) as store:
        _check(detector, store, path)
        rows = store.rows
        # the same name may have been given from two folders: it is two files
        order = [(str(name), i, "") for i, name in enumerate(rows.path)]
        order += [(name, -1, error) for name, error in store.failures]
        order.sort(key=lambda entry: os.fsencode(entry[0]))
        for begin in range(0, len(order), _ROWS):
            entries = order[begin : begin + _ROWS]
            numbers = np.asarray([i for _, i, _ in entries if i >= 0], dtype=np.int64)
            channels = {c: store.read(c, rows=numbers) for c in detector.view.channels} if numbers.size else {}
            place = 0
            for name, i, error in entries:
                if i < 0:
                    yield Encoded(ImageRecord(name), FileFacts(), error=error)
                    continue
                values = {c: array[place] for c, array in channels.items()}
                yield Encoded(ImageRecord(name), rows.facts(i), values)
                place += 1


def _check(detector: Detector, store: EmbeddingStore, path: str | Path) -> None:
    detector.check_fingerprint(store.fingerprint, f"store {path}")
    stored, wanted = str(store.fingerprint.get("equalization", "")), detector.card.equalization
    if wanted != stored:
        raise DetectorError(
            f"detector {detector.card.name} judges pictures after equalisation {wanted or 'none'}, store {path} holds "
            f"them after {stored or 'none'}; scan the pictures themselves, or embed them with the same --equalize"
        )
    missing = [name for name in detector.view.channels if name not in store.channel_names]
    if missing:
        raise DetectorError(f"store {path} has no channel {', '.join(missing)}{how_to_get(missing)}")
