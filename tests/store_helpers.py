"""Shared by the tests of the store: one short way from files to a store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fake_encoder import FakeEncoder
from PIL import Image

from aigiscan.encoders.base import EncoderOptions
from aigiscan.images.records import ImageRecord
from aigiscan.runner import RunSettings, run_batches
from aigiscan.store import StoreWriter

HEADS = EncoderOptions(heads=True)


def records_of(paths: Iterable[Path | str], **info: object) -> list[ImageRecord]:
    return [ImageRecord(str(p), **info) for p in sorted(map(str, paths))]  # type: ignore[arg-type]


def embed(
    store: Path,
    records: Sequence[ImageRecord],
    encoder: FakeEncoder | None = None,
    *,
    prune: bool = False,
    **writer: object,
) -> FakeEncoder:
    """Bring the store up to date with the records; returns the encoder, which counts its batches."""
    encoder = encoder or FakeEncoder(HEADS)
    with writer_of(store, encoder, **writer) as w:
        for rows in run_batches(w.pending(records), encoder, RunSettings(batch_size=4, workers=0), cache=w.cache):
            w.append(rows)
        if prune:
            w.prune()
    return encoder


def writer_of(store: Path, encoder: FakeEncoder, **options: object) -> StoreWriter:
    return StoreWriter(store, {**encoder.fingerprint(), "equalization": ""}, encoder.channels(), **options)  # type: ignore[arg-type]


def pictures(n: int = 6) -> list[Path]:
    """``x/0.bmp`` … in the working folder: the same bytes and times everywhere."""
    Path("x").mkdir()
    for i in range(n):
        Image.new("RGB", (6, 5), (40 * i, 3, 200)).save(f"x/{i}.bmp")
        os.utime(f"x/{i}.bmp", ns=(10**18, 10**18 + i))
    return [Path(f"x/{i}.bmp") for i in range(n)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
