"""Intervals that cover: of figures that depend on which photo sources, generators or groups happened to be drawn.

What is drawn again is a cluster (a photo source, a generator, a group), never an image: images of one camera are alike.
Below :data:`MIN_CLUSTERS` clusters no interval is given, for none would hold. How often the truth lies inside is
measured by ``benchmarks/bench_intervals.py``.

The bootstrap is BCa (Efron, "Better bootstrap confidence intervals", JASA 1987, section 5: bias z₀ from the share of
draws below the figure, acceleration a from the jackknife over clusters) with the normal quantile replaced by
t·√(k/(k − 1)) for k clusters, without which few clusters give too narrow intervals (Hesterberg, "What teachers should
know about the bootstrap", The American Statistician 2015, section 3.5). Shares have a closed form that also holds where
none of the images is flagged (:func:`share_interval`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: fewer photo sources, generators or groups than this give no interval
MIN_CLUSTERS = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; NaN bounds where there are too few clusters for one."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if np.isnan(self.value) or np.isnan(self.low):
            return "" if np.isnan(self.value) else f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Draws:
    """How often each image counts, for one or more sides (photographs, fakes) that are drawn independently.

    sides: weights (rows, images of the side). Row 0: every image once; then ``n`` draws of whole clusters with
    replacement; then, side after side, every cluster left out once. Figures computed row by row become an interval.
    clusters: their number on each side. With too few on any side there is row 0 alone.
    """

    sides: tuple[Array, ...]
    n: int
    clusters: tuple[int, ...]

    def interval(self, values: Array, clusters: int | None = None, *, unit: bool = True) -> Interval:
        """values (rows,) → row 0 with its interval. clusters: those the figure depends on, where not on all.

        unit: the figure lies in [0, 1].
        """
        few = min(self.clusters) if clusters is None else clusters
        if len(values) == 1 or few < MIN_CLUSTERS:
            return Interval(float(values[0]))
        ends = np.cumsum([1 + self.n, *self.clusters])
        left_out = [values[a:b] for a, b in itertools.pairwise(ends.tolist())]
        return bca(float(values[0]), values[1 : 1 + self.n], left_out, few, unit=unit)


def resample(*units: Sequence[str] | NDArray, n: int, seed: int) -> Draws:
    """Draws of whole clusters; units: for each side the cluster of every image, (images,)."""
    rng = np.random.default_rng(seed)
    members = [np.unique(np.asarray(side).astype(str), return_inverse=True)[1] for side in units]
    counts = tuple(int(side.max()) + 1 if len(side) else 0 for side in members)
    if min(counts) < MIN_CLUSTERS:
        return Draws(tuple(np.ones((1, len(side))) for side in members), 0, counts)
    sides = []
    for i, (side, k) in enumerate(zip(members, counts, strict=True)):
        drawn = rng.multinomial(k, np.full(k, 1.0 / k), size=n).astype(np.float64)
        left_out = [1.0 - np.eye(k) if j == i else np.ones((other, k)) for j, other in enumerate(counts)]
        sides.append(np.concatenate([np.ones((1, k)), drawn, *left_out])[:, side])
    return Draws(tuple(sides), n, counts)


def bca(
    value: float,
    draws: Array,
    left_out: Sequence[Array],
    clusters: int,
    *,
    confidence: float = 0.95,
    unit: bool = True,
) -> Interval:
    """Expanded BCa interval.

    draws (n,): the figure of every bootstrap draw. left_out: for each side the figure without each of its clusters.
    clusters: k of the t quantile, the smallest side. NaN draws are left out. unit: the figure lies in [0, 1]; where
    then no draw differs from it (all right, or none), resampling is blind and the exact bound is given: k clusters that
    all say 1 happen with probability at most μᵏ if the true mean is μ.
    """
    from scipy.stats import norm, t

    drawn = draws[np.isfinite(draws)]
    if len(drawn) < 2 or not np.isfinite(value) or clusters < MIN_CLUSTERS:
        return Interval(value)
    tail = (1.0 - confidence) / 2.0
    if np.ptp(drawn) <= 1e-12 and unit:
        least = tail ** (1.0 / clusters)
        return Interval(value, value * least, 1.0 - (1.0 - value) * least)
    below = np.mean(drawn < value - 1e-12) + np.mean(np.abs(drawn - value) <= 1e-12) / 2.0
    bias = norm.ppf(np.clip(below, 1.0 / len(drawn), 1.0 - 1.0 / len(drawn)))
    pulls = [(len(side) - 1) / len(side) * (np.nanmean(side) - np.where(np.isnan(side), np.nanmean(side), side))
             for side in left_out if np.isfinite(side).any()]  # fmt: skip
    influence = np.concatenate(pulls) if pulls else np.zeros(1)
    spread = float(np.square(influence).sum())
    acceleration = float(np.power(influence, 3).sum()) / (6.0 * spread**1.5) if spread > 0 else 0.0
    wide = t.ppf(1.0 - tail, clusters - 1) * np.sqrt(clusters / (clusters - 1.0))
    shifted = bias + np.array([-wide, wide])
    # the map is monotone only while its denominator is positive; beyond, the end of the draws is the bound
    denominator = np.maximum(1.0 - acceleration * shifted, 1e-3)
    low, high = np.quantile(drawn, norm.cdf(bias + shifted / denominator))
    return Interval(value, float(low), float(high))


def group_bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: Sequence[str] | NDArray,
    labels: ArrayLike | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
    unit: bool = True,
) -> Interval:
    """Interval of ``statistic(row indices)``: for figures that know no weights; slower than :func:`resample`.

    With ``labels`` clusters of each label are drawn apart, so that no draw lacks a class (a group with both labels is
    drawn once for each).
    """
    keys = np.asarray(groups)
    strata = np.zeros(len(keys), dtype=int) if labels is None else np.asarray(labels).astype(int)
    rng = np.random.default_rng(seed)
    members = []
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        _, inverse = np.unique(keys[rows], return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        members.append(np.split(rows[order], np.cumsum(np.bincount(inverse))[:-1]))
    value = float(statistic(np.arange(len(keys))))
    few = min(map(len, members), default=0)
    if few < MIN_CLUSTERS:
        return Interval(value)
    draws = np.empty(n)
    for i in range(n):
        draws[i] = statistic(np.concatenate([m[j] for m in members for j in rng.integers(0, len(m), len(m))]))
    left_out = []
    for side in members:
        others = [rows for m in members if m is not side for rows in m]
        left_out.append(
            np.array([statistic(np.concatenate([*others, *side[:j], *side[j + 1 :]])) for j in range(len(side))])
        )
    return bca(value, draws, left_out, few, unit=unit)


def binomial_interval(hits: int, n: int) -> Interval:
    """Share with the exact interval of Clopper and Pearson (1934), for independent images: those of one source."""
    from scipy.stats import binomtest

    if not n:
        return Interval(float("nan"))
    found = binomtest(hits, n).proportion_ci(0.95, "exact")
    return Interval(hits / n, float(found.low), float(found.high))


def share_interval(flags: ArrayLike, units: Sequence[str] | NDArray, confidence: float = 0.95) -> Interval:
    """Share of flagged images (n,) with an interval over their clusters; NaN bounds below :data:`MIN_CLUSTERS`.

    Clopper and Pearson's interval at the effective number of images (Korn and Graubard, "Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data", Survey Methodology 1998):
    p(1 − p) over the variance between clusters, at most n. Where all images are alike that variance is blind, and each
    cluster counts as one image.
    """
    from scipy.stats import beta, t

    x = np.asarray(flags, dtype=np.float64)
    _, cluster = np.unique(np.asarray(units).astype(str), return_inverse=True)
    n, k = len(x), int(cluster.max()) + 1 if len(x) else 0
    p = float(x.mean()) if n else float("nan")
    if k < MIN_CLUSTERS:
        return Interval(p)
    tail = (1.0 - confidence) / 2.0
    if p in (0.0, 1.0):
        effective = float(k)
    else:
        residuals = np.bincount(cluster, weights=x - p)
        variance = k / (k - 1.0) * float(np.square(residuals).sum()) / n**2
        shrink = float((t.ppf(tail, n - 1) / t.ppf(tail, k - 1)) ** 2)
        effective = min(float(n), p * (1.0 - p) / variance * shrink if variance > 0 else float(n))
    hits = p * effective
    low = float(beta.ppf(tail, hits, effective - hits + 1.0)) if hits > 0 else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1.0, effective - hits)) if hits < effective else 1.0
    return Interval(p, low, high)


def rate_interval(flags: ArrayLike, units: Sequence[str] | NDArray) -> Interval:
    """Share of flagged images (n,): exact within one source, over sources where there are enough, else no interval."""
    x = np.asarray(flags)
    return binomial_interval(int(x.sum()), len(x)) if len(np.unique(units)) == 1 else share_interval(x, units)
