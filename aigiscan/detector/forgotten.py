"""What going on with other pictures costs on the old ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from aigiscan.detector.calibration import AI
from aigiscan.detector.detector import Detector
from aigiscan.detector.table import FitTable

_UNKNOWN = (
    "What it forgot of its first training is not known: the figures are of the new pictures alone. Give old ones to "
    "`aigiscan continue` with --old."
)


def what_was_forgotten(made: Detector, previous: Detector, old: FitTable | None) -> Detector:
    """The detector with figures of old pictures in its card (``training.forgotten``), or the words that none are known.

    Before and after, each at its own threshold. Both have seen old pictures that were fitted on, so the figures are too
    good as such; their difference is what counts.
    """
    card = made.card
    if old is None:
        return replace(made, card=replace(card, limits=[*card.limits, _UNKNOWN]))
    figures: dict[str, list[float]] = {}
    for judge in (previous, made):
        verdicts = judge.calibration.verdict(judge.scores(old.channels), old.sides) == AI
        for label, what in ((1, "fakes called ai"), (0, "photographs called ai")):
            rows = old.label == label
            figures.setdefault(what, []).append(round(float(np.mean(verdicts[rows])), 4) if rows.any() else 0.0)
    seen = int(previous.seen.in_fit(old.text["sha256"]).sum())
    forgotten: dict[str, Any] = {"pictures": len(old), "of_these_fitted_on": seen, "figures": figures}
    return replace(made, card=replace(card, training={**card.training, "forgotten": forgotten}))
