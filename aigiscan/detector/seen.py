"""Which pictures a detector has seen: kept with its weights, so that no figure is taken on them unawares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aigiscan.errors import DetectorError

#: hexadecimal digits kept of a sha256: 8 bytes, 20 KB for 2,476 pictures; among a billion two meet with a chance of 3 %
_DIGITS = 16
#: stands for a picture without a digest; no real one begins with 16 zeros
_NONE = np.uint64(0)
Digests = NDArray[np.uint64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SeenPictures:
    """The pictures that decided what a detector says, by the first 8 bytes of each sha256, ascending.

    fitted: those that any fitting saw (also of the detector it goes on from, and of the bases of a stack); a figure or
    a threshold taken on them says nothing about new pictures. calibrated: photographs that the threshold for ``ai`` was
    taken from without being fitted on; the share flagged among them is no measurement. known: False for detectors
    written before this was kept, of which nothing can be said.
    """

    fitted: Digests = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    calibrated: Digests = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    known: bool = True

    @classmethod
    def of(cls, fitted: Iterable[str] = (), calibrated: Iterable[str] = ()) -> SeenPictures:
        """From sha256 in hexadecimal; empty ones are left out."""
        return cls(np.setdiff1d(_digests(fitted), [_NONE]), np.setdiff1d(_digests(calibrated), [_NONE]))

    def in_fit(self, sha256s: Iterable[str]) -> Mask:
        """Mask (n,) of the pictures that fitting saw; all False where nothing is known."""
        return np.isin(_digests(sha256s), self.fitted)

    def in_calibration(self, sha256s: Iterable[str]) -> Mask:
        """Mask (n,) of the photographs that the threshold was taken from without being fitted on."""
        return np.isin(_digests(sha256s), self.calibrated)

    def __or__(self, other: SeenPictures) -> SeenPictures:
        """Everything that either saw; known only if both are."""
        return SeenPictures(
            np.union1d(self.fitted, other.fitted),
            np.union1d(self.calibrated, other.calibrated),
            self.known and other.known,
        )

    def words(self, sha256s: Iterable[str], name: str) -> str:
        """One line on how many of these pictures detector ``name`` has seen; "" if it is known to have seen none."""
        shas = list(sha256s)
        if not self.known:
            return (
                f"detector {name} was written before detectors kept a record of their pictures: "
                "whether it has seen these cannot be told"
            )
        fitted, calibrated = int(self.in_fit(shas).sum()), int(self.in_calibration(shas).sum())
        parts = [
            f"{n} of {len(shas)} pictures {what}"
            for n, what in ((fitted, "took part in fitting it"), (calibrated, "gave it its threshold"))
            if n
        ]
        return f"detector {name} has seen these: {', '.join(parts)}" if parts else ""

    # ---- saving

    def to_arrays(self) -> dict[str, NDArray]:
        """For the weights file; nothing where nothing is known."""
        return {"fitted": self.fitted, "calibrated": self.calibrated} if self.known else {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> SeenPictures:
        """Inverse of :meth:`to_arrays`. DetectorError if only a part is there."""
        if not arrays:
            return cls(known=False)
        missing = [name for name in ("fitted", "calibrated") if name not in arrays]
        if missing:
            raise DetectorError(f"the record of seen pictures lacks {missing[0]}; the detector's files are damaged")
        fitted, calibrated = (np.unique(arrays[name].astype(np.uint64)) for name in ("fitted", "calibrated"))
        return cls(fitted, calibrated)


def _digests(sha256s: Iterable[str]) -> Digests:
    return np.fromiter((int(sha[:_DIGITS] or "0", 16) for sha in sha256s), dtype=np.uint64)
