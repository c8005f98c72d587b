"""Bootstrap by group for many figures at once: one set of draws, and matrix products instead of loops.

The same photographs stand on one side of every comparison, so their draws are shared: differences between figures then
have the intervals they should.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aigiscan.evaluation.metrics import Interval

Array = NDArray[np.float64]


def group_draws(groups: Sequence[str] | NDArray, n: int, seed: int) -> Array:
    """How often each image is drawn (n + 1, images) when groups are drawn with replacement; row 0: each once."""
    _, inverse = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    count = int(inverse.max()) + 1 if len(inverse) else 0
    if not count:
        return np.zeros((n + 1, 0))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=n)
    return np.concatenate([np.ones((1, count)), drawn])[:, inverse]


def auc_draws(fake: Array, real: Array, fake_draws: Array, real_draws: Array) -> Array:
    """AUC of every draw (n + 1,), ties half; NaN where a draw has none of a class.

    fake_draws (n + 1, fakes) or (1, fakes), the same in every draw. Time and memory grow with the number of images, not
    of pairs: the weight of photographs below each fake is read off a cumulative sum.
    """
    order = np.argsort(real, kind="stable")
    below = np.zeros((len(real_draws), len(real) + 1))
    np.cumsum(real_draws[:, order], axis=1, out=below[:, 1:])
    low, high = (np.searchsorted(real[order], fake, side=side) for side in ("left", "right"))
    won = (below[:, low] + below[:, high]) / 2.0  # [n + 1, fakes]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (won * fake_draws).sum(axis=1) / (fake_draws.sum(axis=1) * below[:, -1])


def share_draws(flags: NDArray, draws: Array) -> Array:
    """Share of flagged images in every draw (n + 1,); NaN where a draw is empty."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return draws @ flags.astype(np.float64) / draws.sum(axis=1)


def thresholds(real: Array, real_draws: Array, fpr: float) -> Array:
    """The score of every draw (n + 1,) that at most a share ``fpr`` of the drawn photographs lies strictly above."""
    order = np.argsort(-real, kind="stable")
    above = np.cumsum(real_draws[:, order], axis=1)  # weight of this score and all higher ones
    allowed = fpr * real_draws.sum(axis=1, keepdims=True) + 1e-9
    first = np.argmax(above > allowed, axis=1)
    return np.where((above > allowed).any(axis=1), real[order][first], -np.inf)


def interval(draws: Array, confidence: float = 0.95) -> Interval:
    """Row 0 as the value, percentiles of the others as bounds; NaN draws are left out."""
    value, rest = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if len(rest) < 2 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(rest, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))
