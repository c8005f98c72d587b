"""A bound on the share of false accusations among all that a scan accuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from aigiscan.detector.verdict import VERDICT_AI, VERDICT_UNCERTAIN, VERDICT_UNREADABLE, Verdict
from aigiscan.errors import FitError


def discovery_threshold(p_values: ArrayLike, rate: float) -> float:
    """Flagging p-values up to this keeps the expected share of photographs among the flagged at most ``rate``.

    Benjamini and Hochberg (1995): the largest p₍ₖ₎ ≤ rate · k / n; 0.0 where there is none. It holds for conformal
    p-values that share one calibration set, for these are positively dependent (Bates, Candès, Lei, Romano and Sesia,
    "Testing for outliers with conformal p-values", Annals of Statistics 2023, theorem 2).
    """
    if not 0.0 < rate < 1.0:
        raise FitError(f"the false discovery rate must lie between 0 and 1, not {rate:g}")
    p = np.sort(np.asarray(p_values, dtype=np.float64))
    passed = np.flatnonzero(p <= rate * np.arange(1, len(p) + 1) / max(len(p), 1) + 1e-12)
    return float(p[passed[-1]]) if len(passed) else 0.0


def at_discovery_rate(verdicts: Sequence[Verdict], rate: float) -> list[Verdict]:
    """Verdicts of a whole scan, judged at ``max_fpr = rate`` → the same with ``ai`` only where the bound allows it.

    What was not called ``ai`` at that rate counts as a p-value of 1 (that of a picture as much like the photographs can
    be), which only makes fewer discoveries; unreadable files do not count. A picture that loses its ``ai`` becomes
    ``uncertain``.
    """
    readable = [v for v in verdicts if v.verdict != VERDICT_UNREADABLE]
    cut = discovery_threshold([_p(v) for v in readable], rate)
    return [
        replace(v, verdict=VERDICT_UNCERTAIN, generator="") if v.verdict == VERDICT_AI and _p(v) > cut else v
        for v in verdicts
    ]


def _p(verdict: Verdict) -> float:
    return 1.0 if verdict.verdict != VERDICT_AI or verdict.p_value is None else verdict.p_value
