"""Shared by the tests of the promise: labelled noise, and the bound that a share of false alarms has to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
from detector_planted import FINGERPRINT

from aigiscan.detector.fit import FitSettings
from aigiscan.detector.table import FitTable

RATE, D, SOURCES, EACH, DRAWS, FRESH = 0.1, 30, 6, 10, 12, 300
REAL = SOURCES * EACH
SETTINGS = FitSettings(max_fpr=RATE, max_miss=RATE, folds=6, params={"C": 1.0}, name="noise")


def noise(seed: int, sources: int = SOURCES, each: int = EACH, d: int = D) -> FitTable:
    """Photographs and fakes of so many sources each, all of one distribution; each source in pairs of two per group."""
    rng, n = np.random.default_rng(seed), 2 * sources * each
    label = np.repeat([0, 1], sources * each).astype(np.int8)
    names = np.repeat([f"{k}{i}" for k in ("cam", "gen") for i in range(sources)], each).astype(object)
    empty = np.full(n, "", dtype=object)
    text = {
        "path": np.array([f"{i}.png" for i in range(n)], dtype=object),
        "generator": np.where(label == 1, names, empty), "source": names, "family": empty, "split": empty,
        "group": np.array([f"{seed} {i // 2}" for i in range(n)], dtype=object),
        "format": np.full(n, "PNG", dtype=object),
        "sha256": np.array([sha256(f"noise {seed} {i}".encode()).hexdigest() for i in range(n)], dtype=object),
    }  # fmt: skip
    x = rng.normal(size=(n, d)).astype(np.float32)
    return FitTable(label, text, {"embedding": x}, {"name": "fake", "fingerprint": FINGERPRINT})


def treated(table: FitTable, seed: int, shift: float = 0.0) -> FitTable:
    """The same pictures under another equalisation, in which they look alike but not the same, and less generated."""
    x = table.channels["embedding"]
    other = x + np.random.default_rng(seed).normal(scale=0.5, size=x.shape).astype(np.float32) - np.float32(shift)
    return replace(table, channels={"embedding": other}, equalization="square:32")


def promise_holds(rates: Sequence[float], calibrated: int = REAL, rate: float = RATE) -> None:
    # one draw: its calibration photographs decide the share, its fresh photographs measure it
    error = np.sqrt(rate * (1 - rate) * (1 / calibrated + 1 / FRESH) / len(rates))
    assert np.mean(rates) <= rate + 3 * error, (np.mean(rates), error)
