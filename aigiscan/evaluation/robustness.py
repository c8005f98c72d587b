"""What re-encoding, blur, noise and resizing do to a detector (issue: robustness; Saland's report, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aigiscan import metrics
from aigiscan.evaluation.intervals import Interval, resample
from aigiscan.metrics import auc_draws, share_draws, threshold_draws

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigiscan.encoders.base import Encoder
    from aigiscan.images.equalize import Frame
    from aigiscan.images.records import ImageRecord
    from aigiscan.runner import Encoded

CLEAN = "none"
#: Gaussian noise by its variance on the scale 0..1; blur by σ in pixels
PERTURBATIONS = (
    "jpeg:90", "jpeg:75", "jpeg:65", "jpeg:50", "jpeg:40", "jpeg:25",
    "blur:1", "blur:2", "blur:3",
    "noise:0.001", "noise:0.005", "noise:0.01",
    "resize:0.5", "resize:0.75", "resize:1.5",
)  # fmt: skip
#: JPEG qualities of the report's table 1
QUALITIES = (40, 65, 90)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps on pixels one after the other: what happened to the picture first, then what the detector does to it."""

    steps: tuple[Any, ...]

    @property
    def spec(self) -> str:
        """The steps' names, ``+`` between."""
        return "+".join(step.spec for step in self.steps)

    @property
    def least_side(self) -> int:
        """As an equalisation's own where it comes first; what is perturbed is perturbed at its own size."""
        return getattr(self.steps[0], "least_side", 0)

    def apply(self, image: Image) -> Image:
        """RGB → RGB."""
        for step in self.steps:
            image = step.apply(image)
        return image

    def frame(self, frame: Frame) -> Frame:
        """As :meth:`Equalization.frame`."""
        for step in self.steps:
            frame = step.frame(frame)
        return frame


def perturbed(
    records: Sequence[ImageRecord], encoder: Encoder, perturbation: str, equalization: str = "", **options: Any
) -> Iterator[Encoded]:
    """Images perturbed (``none`` or as :func:`aigiscan.images.perturb.parse_perturbation`), equalised, encoded."""
    from aigiscan.images.equalize import Equalization
    from aigiscan.images.perturb import parse_perturbation
    from aigiscan.runner import run

    steps: list[Any] = [] if perturbation == CLEAN else [parse_perturbation(perturbation)]
    steps += [Equalization.parse(equalization)] if equalization else []
    chain: Any = Chain(tuple(steps)) if steps else None
    return run(records, encoder, equalization=chain, **options)


def sample(labels: NDArray, sources: NDArray, most: int, seed: int = 0) -> NDArray[np.intp]:
    """At most ``most`` rows, sorted: half photographs, half fakes (all if there are fewer), sources giving alike."""
    if len(labels) <= most:
        return np.arange(len(labels))
    rng, names, y = np.random.default_rng(seed), np.asarray(sources).astype(str), np.asarray(labels)
    chosen: list[int] = []
    for label in (0, 1):
        queues = [
            rng.permutation(np.flatnonzero((names == name) & (y == label))) for name in np.unique(names[y == label])
        ]
        order = [int(queue[i]) for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
        chosen += order[: most // 2]
    return np.sort(np.array(chosen))


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """Figures under one perturbation. flagged_real, flagged_fake: shares above the threshold that was set on clean
    images; accuracy: the mean of fakes above it and photographs not above it."""

    perturbation: str
    n_real: int
    n_fake: int
    auc: Interval
    recall_5: Interval
    accuracy: Interval
    flagged_real: float
    flagged_fake: float


def robustness(
    scores: Mapping[str, Array], labels: NDArray, groups: NDArray, threshold: float, *, draws: int = 500, seed: int = 0
) -> list[RobustnessRow]:
    """perturbation → scores (n,) of the same images → one row each; the same draws for all, by group."""
    y = np.asarray(labels)
    keys = np.asarray(groups).astype(str)
    drawn = resample(keys[y == 0], keys[y == 1], n=draws, seed=seed)
    real_draws, fake_draws = drawn.sides
    rows = []
    for spec, values in scores.items():
        real, fake = values[y == 0], values[y == 1]
        above = fake[None, :] > threshold_draws(real, real_draws, 0.05)[:, None]
        passed, found = share_draws(real > threshold, real_draws), share_draws(fake > threshold, fake_draws)
        rows.append(
            RobustnessRow(
                perturbation=spec,
                n_real=len(real),
                n_fake=len(fake),
                auc=drawn.interval(auc_draws(fake, real, fake_draws, real_draws)),
                recall_5=drawn.interval((above * fake_draws).sum(axis=1) / fake_draws.sum(axis=1)),
                accuracy=drawn.interval((1.0 - passed + found) / 2.0),
                flagged_real=float(passed[0]),
                flagged_fake=float(found[0]),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class QualityCell:
    """Fitted on images of one JPEG quality, tested on images of another (the report's table 1)."""

    train: int
    test: int
    accuracy: float
    auc: float
    recall_5: float


def quality_matrix(
    matrices: Mapping[int, NDArray],
    labels: NDArray,
    test: NDArray[np.bool_],
    fit: Callable[[NDArray, NDArray[np.intp]], Any],
) -> list[QualityCell]:
    """JPEG quality → features (n, d) of the same images; fit(X, rows) gives an estimator fitted on these rows of X."""
    y, cells = np.asarray(labels), []
    for train in matrices:
        estimator = fit(matrices[train], np.flatnonzero(~test))
        for tested in matrices:
            scores = estimator.decision_function(matrices[tested][test])
            cells.append(
                QualityCell(
                    train,
                    tested,
                    metrics.accuracies(y[test], scores)[0],
                    metrics.auc(y[test], scores),
                    metrics.recall_at(y[test], scores, 0.05),
                )
            )
    return cells
