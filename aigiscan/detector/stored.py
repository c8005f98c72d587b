"""Rows of a store → what a detector judges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aigiscan.detector.detector import Detector, Judged
from aigiscan.errors import DetectorError
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.store import EmbeddingStore

#: rows read at once: a few MB of embeddings, and heads still fit
_ROWS = 256


def judged_from_store(detector: Detector, path: str | Path) -> Iterator[Judged]:
    """Every row of a store in sorted path order, unreadable files among them.

    Raises DetectorError if the store's encoder or equalisation is not the detector's, or a channel is missing.
    """
    store = EmbeddingStore(path)
    detector.check_fingerprint(store.fingerprint, f"store {path}")
    equalization = str(store.fingerprint.get("equalization", ""))
    wanted = detector.card.equalizations or [""]
    if wanted != [equalization]:
        raise DetectorError(
            f"detector {detector.card.name} judges pictures equalised as "
            f"{' and '.join(w or 'nothing' for w in wanted)}, store {path} holds {equalization or 'unequalised pictures'}; "
            "scan the pictures themselves, or embed them with the same --equalize"
        )
    missing = [name for name in detector.view.channels if name not in store.channel_names]
    if missing:
        raise DetectorError(f"store {path} has no channel {', '.join(missing)}; embed again with --heads")
    rows = store.rows
    failures = dict(store.failures)
    order = sorted([*(str(p) for p in rows.path), *failures], key=_path_key)
    index = {str(p): i for i, p in enumerate(rows.path)}
    for begin in range(0, len(order), _ROWS):
        names = order[begin : begin + _ROWS]
        numbers = np.asarray(sorted(index[n] for n in names if n in index), dtype=np.int64)
        channels = {c: store.read(c, rows=numbers) for c in detector.view.channels} if numbers.size else {}
        place = {int(number): k for k, number in enumerate(numbers)}
        for name in names:
            if name not in index:
                yield Judged(ImageRecord(name), FileFacts(), error=failures[name])
                continue
            i = index[name]
            yield Judged(
                ImageRecord(name),
                FileFacts(
                    width=int(rows.width[i]),
                    height=int(rows.height[i]),
                    format=str(rows.format[i]),
                    bytes=int(rows.bytes[i]),
                    sha256=str(rows.sha256[i]),
                    provenance=str(rows.provenance[i]),
                ),
                ({c: values[place[i]] for c, values in channels.items()},),
            )


def _path_key(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
