"""Shared by the tests of detectors: labelled tables with a planted answer, and nothing else to learn."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np

from aigiscan.detector.fit import FitSettings
from aigiscan.detector.table import FitTable
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded

FINGERPRINT = {"name": "fake", "weights": "", "preprocessing": {}, "precision": "fp32"}


def planted(
    per_source: int = 30, d: int = 12, seed: int = 0, gap: float = 2.0, equalization: str = "", **changes: object
) -> FitTable:
    """Four photo sources and four generators; fakes are shifted by ``gap`` in columns 5 and 7, nothing else tells."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], 4 * per_source).astype(np.int8)
    names = np.repeat([f"cam{i}" for i in range(4)] + [f"gen{i}" for i in range(4)], per_source).astype(object)
    x = rng.normal(size=(len(label), d)).astype(np.float32)
    x[:, [5, 7]] += gap * label[:, None]
    empty = np.full(len(label), "", dtype=object)
    number = np.arange(len(label))
    text = {
        "path": np.array([f"{n}/{i}.png" for n, i in zip(names, number, strict=True)], dtype=object),
        "generator": np.where(label == 1, names, empty),
        "family": empty, "group": empty, "split": empty,
        "source": names,
        "format": np.full(len(label), "PNG", dtype=object),
        "sha256": np.array([sha256(f"{seed} {i}".encode()).hexdigest() for i in number], dtype=object),
    }  # fmt: skip
    return replace(
        FitTable(label, text, {"embedding": x}, {"name": "fake", "fingerprint": FINGERPRINT}, equalization), **changes
    )


def encoded(table: FitTable) -> list[Encoded]:
    return [
        Encoded(ImageRecord(path), FileFacts(sha256=sha), {"embedding": x})
        for path, sha, x in zip(table.text["path"], table.text["sha256"], table.channels["embedding"], strict=True)
    ]


SETTINGS = FitSettings(max_fpr=0.05, max_miss=0.05, folds=4, name="planted")
