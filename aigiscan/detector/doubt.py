"""Pictures that stay ``uncertain`` whatever their score, because thresholds say nothing of their kind.

Photographs reduced to a thumbnail, blurred or enlarged score like generated pictures, which are smooth too: of
photographs of 164 sources 1 % were flagged as they were, and 10 % after a blur of two pixels (benchmarks/RESULTS.md,
"Degraded photographs"). Re-encoded and noisy ones are flagged less often and need no rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigiscan.detector.card import Card
from aigiscan.detector.table import FitTable
from aigiscan.encoders import encoder_from_fingerprint
from aigiscan.encoders.base import CHANNEL_EMBEDDING
from aigiscan.encoders.spam import smoothness
from aigiscan.errors import FitError


def doubts(card: Card, sides: Sequence[int], channels: Mapping[str, np.ndarray]) -> list[str]:
    """Why each of n pictures stays uncertain, "" where nothing speaks against a verdict.

    sides: shorter ones in pixels, 0 where unknown.
    """
    smooth = np.zeros(len(sides), dtype=bool)
    if card.most_smooth is not None:
        columns = spam_columns(card.encoder["fingerprint"])
        smooth = smoothness(channels[CHANNEL_EMBEDDING][:, columns]) > card.most_smooth
    return [_doubt(card, side, bool(one)) for side, one in zip(sides, smooth, strict=True)]


def doubtful(card: Card, table: FitTable) -> np.ndarray:
    """Mask (n,) of the pictures of a table that stay uncertain."""
    sides = np.zeros(len(table), dtype=int) if table.sides is None else table.sides
    return np.array(doubts(card, sides.tolist(), table.channels)) != ""


def _doubt(card: Card, side: int, smooth: bool) -> str:
    if 0 < side < card.least_side:
        return f"too small to judge: shorter side {side} pixels, under {card.least_side}"
    return "too smooth to judge: blurred, enlarged or without detail" if smooth else ""


def most_smooth(table: FitTable, share: float) -> float | None:
    """The smoothness that this share of a table's photographs exceeds; None for 0. FitError if there is no spam."""
    if not share:
        return None
    columns = spam_columns(table.encoder["fingerprint"])
    if CHANNEL_EMBEDDING not in table.channels or not len(columns):
        raise FitError(f"--smoothest is measured on the columns of 'spam', which {table.encoder['name']} does not have")
    photographs = table.channels[CHANNEL_EMBEDDING][table.label == 0]
    return round(float(np.quantile(smoothness(photographs[:, columns]), 1 - share)), 6)


def spam_columns(fingerprint: Mapping[str, Any]) -> np.ndarray:
    """Where the columns of ``spam`` are in the embedding of an encoder."""
    names = encoder_from_fingerprint(dict(fingerprint), device="cpu").columns()
    return np.flatnonzero(np.char.startswith(np.array(names), "spam:"))
