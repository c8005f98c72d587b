"""Figures as means over generators, each counting once: of one set of scores, or of two on the same pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigiscan.evaluation.intervals import Draws, Interval, resample
from aigiscan.metrics import auc_draws, partial_auc_draws, threshold_draws

Array = NDArray[np.float64]

AUC, RECALL_5, RECALL_1, PARTIAL = "auc", "recall_5", "recall_1", "partial_auc"
FIGURES = (AUC, RECALL_5, RECALL_1, PARTIAL)


@dataclass(frozen=True)
class Pictures:
    """n pictures of both classes. names: generator of a fake, source of a photograph. units: what is drawn again as one
    (a photo source; the generators of one source); all (n,)."""

    labels: NDArray
    names: NDArray
    units: NDArray

    @property
    def generators(self) -> list[str]:
        """Names of the fakes, sorted."""
        return np.unique(self.names[self.labels == 1]).tolist()

    def draws(self, n: int, seed: int) -> Draws:
        """Sides: weights of the photographs, weights of the generators. A new photo source and a new generator are what
        the means are about, so these, not pictures, are drawn again."""
        fake = self.labels == 1
        units = [self.units[fake & (self.names == name)][0] for name in self.generators]
        return resample(self.units[self.labels == 0], np.asarray(units, dtype=str), n=n, seed=seed)


def mean_rows(pictures: Pictures, scores: Array, drawn: Draws) -> dict[str, Array]:
    """Figure → its mean over generators for every row of weights (rows,); photographs of all sources pooled."""
    y, (of_real, of_generator) = pictures.labels, drawn.sides
    real = scores[y == 0]
    cuts = {RECALL_5: threshold_draws(real, of_real, 0.05), RECALL_1: threshold_draws(real, of_real, 0.01)}
    columns: dict[str, list[Array]] = {name: [] for name in FIGURES}
    for name in pictures.generators:
        fake = np.sort(scores[(y == 1) & (pictures.names == name)])
        # the same generator in every row: its pictures stay as they are
        whole = np.ones((1, len(fake)))
        columns[AUC].append(auc_draws(fake, real, whole, of_real))
        columns[PARTIAL].append(partial_auc_draws(fake, real, whole, of_real))
        for figure, cut in cuts.items():
            columns[figure].append(1.0 - np.searchsorted(fake, cut, side="right") / len(fake))
    total = of_generator.sum(axis=1)
    return {name: (np.stack(found, axis=1) * of_generator).sum(axis=1) / total for name, found in columns.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """What ``name`` has more than ``than`` on the same pictures; intervals over photo sources and generators.

    An interval that does not hold 0 is a difference that other sources would show too.
    """

    name: str
    than: str
    n_real: int
    n_fake: int
    auc: Interval
    recall_5: Interval
    recall_1: Interval
    partial_auc: Interval


def differences(pictures: Pictures, scores: Mapping[str, Array], draws: int = 1000, seed: int = 0) -> list[Difference]:
    """Every set of scores (n,) against the first, paired: both are taken on the same draws of the same pictures."""
    drawn = pictures.draws(draws, seed)
    rows = {name: mean_rows(pictures, values, drawn) for name, values in scores.items()}
    (first, base), *others = rows.items()
    fakes = int((pictures.labels == 1).sum())
    return [
        Difference(
            name, first, len(pictures.labels) - fakes, fakes,
            **{figure: drawn.interval(mine[figure] - base[figure], unit=False) for figure in FIGURES},
        )
        for name, mine in others
    ]  # fmt: skip
