"""How often does a 95 % interval hold the truth? Simulated worlds whose truth is known; results in RESULTS.md.

    python benchmarks/bench_intervals.py [--worlds 400] [--draws 500] [--seed 0]

Photo sources and generators differ by a normal shift (standard deviations 0.7 and 0.9), their pictures by a standard
normal; source sizes are 1 + Poisson(8), or as uneven as in shared/data. Scores of fakes lie 1.5 higher. Beside the
intervals of aigiscan stands the percentile bootstrap over sources, which it used before.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from aigiscan.evaluation.intervals import Interval, binomial_interval, resample, share_interval
from aigiscan.metrics import auc_draws, partial_auc_draws, threshold_draws

PHOTOS, FAKES, SHIFT, CUT = 0.7, 0.9, 1.5, 1.96
WIDE = float(np.hypot(1.0, PHOTOS))


def world(rng: np.random.Generator, cameras: int, generators: int, uneven: bool) -> tuple[np.ndarray, ...]:
    """(photograph scores, fake scores, their camera numbers, their generator numbers)."""

    def sizes(count: int) -> np.ndarray:
        return 1 + (rng.geometric(0.12, count) if uneven else rng.poisson(8, count))

    camera, generator = (np.repeat(np.arange(k), sizes(k)) for k in (cameras, generators))
    real = PHOTOS * rng.normal(size=cameras)[camera] + rng.normal(size=len(camera))
    fake = SHIFT + FAKES * rng.normal(size=generators)[generator] + rng.normal(size=len(generator))
    return real, fake, camera, generator


def truths() -> dict[str, float]:
    """What the figures are for all cameras and generators there could be."""
    grid = np.linspace(1e-6, 0.05, 20001)
    recall = norm.sf((norm.isf(grid) * WIDE - SHIFT) / np.hypot(1.0, FAKES))
    return {
        "AUC": float(norm.cdf(SHIFT / np.hypot(WIDE, np.hypot(1.0, FAKES)))),
        "partial AUC below 5 %": float(recall.mean()),
        "recall at 5 % false alarms, mean over generators": float(recall[-1]),
        "share of photographs flagged": float(norm.sf(CUT / WIDE)),
    }


def figures(
    real: np.ndarray, fake: np.ndarray, camera: np.ndarray, generator: np.ndarray, draws: int, seed: int
) -> dict[str, tuple[Interval, Interval]]:
    """Name → (interval of aigiscan, percentile interval)."""
    every = resample(camera, generator, n=draws, seed=seed)
    whole = resample(camera, np.arange(generator.max() + 1), n=draws, seed=seed)
    above = fake[None, :] > threshold_draws(real, every.sides[0], 0.05)[:, None]
    per = np.stack([above[:, generator == k].mean(axis=1) for k in range(generator.max() + 1)], axis=1)
    mean = (per * whole.sides[1]).sum(axis=1) / whole.sides[1].sum(axis=1)
    values = {
        "AUC": auc_draws(fake, real, every.sides[1], every.sides[0]),
        "partial AUC below 5 %": partial_auc_draws(fake, real, every.sides[1], every.sides[0]),
        "recall at 5 % false alarms, mean over generators": mean,
    }
    found = {name: (every.interval(v), _percentile(v[: draws + 1])) for name, v in values.items()}
    flagged = real > CUT
    shares = (every.sides[0][: draws + 1] @ flagged) / every.sides[0][: draws + 1].sum(axis=1)
    found["share of photographs flagged"] = (share_interval(flagged, camera), _percentile(shares))
    return found


def _percentile(values: np.ndarray) -> Interval:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    truth = truths()
    print(
        "| photo sources, generators | figure | covers | width | percentile covers | width |\n|---|---|---|---|---|---|"
    )
    for cameras, generators, uneven in (
        (10, 10, False), (10, 40, False), (20, 20, False), (54, 40, False), (54, 40, True), (164, 105, True),
    ):  # fmt: skip
        hits: dict[str, list[tuple[bool, float, bool, float]]] = {name: [] for name in truth}
        for one in range(given.worlds):
            rng = np.random.default_rng([given.seed, one, cameras])
            drawn = figures(*world(rng, cameras, generators, uneven), given.draws, one)
            for name, pair in drawn.items():
                hits[name].append(sum(((i.low <= truth[name] <= i.high, i.high - i.low) for i in pair), ()))
        for name, rows in hits.items():
            ours, width, old, old_width = np.mean(rows, axis=0)
            sizes = f"{cameras}, {generators}{', uneven' if uneven else ''}"
            print(f"| {sizes} | {name} | {ours:.3f} | {width:.2f} | {old:.3f} | {old_width:.2f} |", flush=True)
    rng = np.random.default_rng(given.seed)
    for n, p in ((8, 0.05), (30, 0.05), (100, 0.01)):
        counts = rng.binomial(n, p, 4000)
        inside = np.mean([(i := binomial_interval(int(k), n)).low <= p <= i.high for k in counts])
        print(f"one source of {n} photographs, {p:.0%} flagged: exact binomial covers {inside:.3f}")


if __name__ == "__main__":
    main()
