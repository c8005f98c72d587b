"""A caution by source that detectors had in versions before the first release: they load, and judge as they did.

It asked that all but a tenth of the photo sources keep the promise each for itself. With 164 sources the plain bound
kept the promise on photographs of sources kept apart and the caution only cost recall (benchmarks/RESULTS.md), so
``fit`` makes none any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
