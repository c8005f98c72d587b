"""Figures by what the file is: size, format, camera. A detector that holds on average may fail on small pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigiscan import metrics
from aigiscan.evaluation.intervals import Interval, rate_interval
from aigiscan.images.records import FileFacts

#: pixels on the shorter side: where one band of sizes ends and the next begins
SIZES = (128, 256, 512, 1024)
#: a camera or format with fewer pictures is among ``others``
_LEAST = 5


@dataclass(frozen=True, slots=True)
class Slice:
    """Pictures that are alike in one fact. flagged, found: shares of photographs and of fakes called ai; auc: of these
    fakes against these photographs, NaN where one is missing."""

    fact: str
    value: str
    n_real: int
    n_fake: int
    flagged: Interval
    found: Interval
    auc: float


def slices(
    facts: Sequence[FileFacts], labels: NDArray, scores: NDArray, called_ai: NDArray[np.bool_], units: NDArray
) -> list[Slice]:
    """By shorter side, by format, by the camera that the file names. called_ai (n,): the verdict. units (n,): photo
    source or generator, over which intervals are taken."""
    y, found = np.asarray(labels), []
    for fact, values in (
        ("shorter side", [_size(f) for f in facts]),
        ("format", _frequent([f.format or "unknown" for f in facts])),
        ("camera", _frequent([_camera(f) for f in facts])),
    ):
        keys = np.array(values, dtype=str)
        if len(set(values)) < 2 and fact == "camera":
            continue  # no file names one
        for value in sorted(set(values), key=_order):
            rows = keys == value
            parts = [(rows & (y == label), int((rows & (y == label)).sum())) for label in (0, 1)]
            (real, n_real), (fake, n_fake) = parts
            flagged, called = (rate_interval(called_ai[mask], units[mask]) for mask in (real, fake))
            area = metrics.auc(y[rows], scores[rows]) if n_real and n_fake else float("nan")
            found.append(Slice(fact, value, n_real, n_fake, flagged, called, area))
    return found


def _size(facts: FileFacts) -> str:
    side = min(facts.width, facts.height)
    if not side:
        return "unknown"
    above = [edge for edge in SIZES if side >= edge]
    if not above:
        return f"under {SIZES[0]}"
    return f"{above[-1]} and more" if len(above) == len(SIZES) else f"{above[-1]} to {SIZES[len(above)] - 1}"


def _camera(facts: FileFacts) -> str:
    from aigiscan.provenance.claims import CAMERA, from_json

    named = [claim.value for claim in from_json(facts.claims) if claim.kind == CAMERA]
    return named[0] if named else "none named"


def _frequent(values: list[str]) -> list[str]:
    counts = Counter(values)
    return [value if counts[value] >= _LEAST else "others" for value in values]


def _order(value: str) -> tuple[bool, int, str]:
    """Sizes ascending, names by alphabet, ``others``, ``none named`` and ``unknown`` last."""
    first = value.split()[0]
    number = 0 if first == "under" else int(first) if first.isdigit() else 0
    return value in ("others", "none named", "unknown"), number, value
