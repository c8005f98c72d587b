"""A second bound on false alarms, source by source: what an average over all photographs hides.

A few large photo sources decide a threshold taken over all pictures; a source unlike them, left out of it, was flagged
several times as often as promised (benchmarks/RESULTS.md, "Thresholds by source").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aigiscan.errors import FitError

Array = NDArray[np.float64]

#: a source with fewer pictures says nothing about its share of false alarms
LEAST_IMAGES = 5
#: this share of the sources, rounded down, may be flagged more often than promised: below ten sources, none
MAY_EXCEED = 0.1


@dataclass(frozen=True)
class SourceGuard:
    """Scores of the calibration photographs by source, ascending, and the number of each one's source.

    scores, codes: (n,); empty where no source has enough pictures, and then nothing is guarded.
    """

    scores: Array = field(default_factory=lambda: np.empty(0))
    codes: Array = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, scores: Array, sources: Sequence[str] | NDArray, copies: int = 1) -> SourceGuard:
        """scores (n,) of photographs and their sources (n,); copies: how often each picture is among them."""
        names = np.asarray(sources)
        if len(names) != len(scores):
            raise FitError(f"{len(scores)} calibration scores but {len(names)} sources")
        _, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
        kept = counts[codes] >= LEAST_IMAGES * copies
        order = np.lexsort((scores[kept], codes[kept]))
        return cls(np.asarray(scores, np.float64)[kept][order], codes[kept][order].astype(np.float64))

    @property
    def sources(self) -> int:
        """How many sources take part."""
        return len(np.unique(self.codes))

    @property
    def may_exceed(self) -> int:
        """How many of them may be flagged more often than promised."""
        return int(MAY_EXCEED * self.sources + 1e-9)

    def p_at_least(self, scores: Array) -> Array:
        """The largest share of a source's pictures that score at least s, ``may_exceed`` larger ones left out; (n,)."""
        if not self.sources:
            return np.zeros(len(scores))
        shares = [(len(own) - np.searchsorted(own, scores, side="left")) / len(own) for own in self._by_source()]
        return np.sort(np.stack(shares), axis=0)[::-1][self.may_exceed]

    def threshold(self, rate: float) -> float:
        """Scores strictly above it have ``p_at_least`` ≤ rate."""
        if not self.sources:
            return float("-inf")
        cuts = []
        for own in self._by_source():
            allowed = int(rate * len(own) + 1e-9)
            cuts.append(own[len(own) - 1 - allowed] if allowed < len(own) else -np.inf)
        return float(np.sort(cuts)[::-1][self.may_exceed])

    def describe(self) -> dict[str, int]:
        """Plain values for a detector's card."""
        return {"sources": self.sources, "may_exceed": self.may_exceed, "least_images": LEAST_IMAGES}

    def _by_source(self) -> list[Array]:
        return [self.scores[self.codes == code] for code in np.unique(self.codes)]
