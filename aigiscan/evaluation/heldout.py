"""Figures per generator and photo source: of held-out scores, or of a finished detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan import metrics
from aigiscan.detector.achieved import AchievedRate, achieved_rates, cross_conformal_rates
from aigiscan.detector.calibration import Calibration
from aigiscan.evaluation.evidence import Curve, cllr, min_cllr, roc
from aigiscan.evaluation.intervals import MIN_CLUSTERS, Interval, rate_interval, resample
from aigiscan.evaluation.means import AUC, FIGURES, PARTIAL, RECALL_1, RECALL_5, Pictures, mean_rows
from aigiscan.metrics import ReliabilityBin, auc_draws, threshold_draws

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GeneratorFigures:
    """One left-out generator against the photographs of all left-out sources.

    auc, recall_1, recall_5: intervals over the generator's groups and the photo sources; recalls at 1 % and 5 % false
    alarms. found, missed: share called ``ai`` and ``real`` at the highest of the false-alarm rates asked for.
    """

    generator: str
    family: str
    n: int
    auc: Interval
    recall_1: Interval
    recall_5: Interval
    found: float
    missed: float


@dataclass(frozen=True)
class Figures:
    """mean_*: mean over generators, each counting once; intervals over photo sources and generators.

    partial_auc: below 5 % false alarms, likewise. generators: worst AUC first. rates: promised false-alarm rate →
    verdict shares of every source, photographs first, worst first. false_alarms: promised rate → share of all
    photographs called ``ai``, interval over their sources. ece, brier, cllr, reliability: of ``p_ai``, both classes
    weighing the same; NaN and empty if there is none. min_cllr, roc: of the scores of all generators together.
    sources: numbers of photo sources and of generators' sources, what an interval can be taken over. Without
    photographs, or without fakes, what needs both is NaN.
    """

    n_real: int
    n_fake: int
    sources: tuple[int, int]
    mean_auc: Interval
    mean_recall_1: Interval
    mean_recall_5: Interval
    partial_auc: Interval
    pooled_auc: float
    ece: float
    brier: float
    cllr: float
    min_cllr: float
    reliability: list[ReliabilityBin]
    roc: Curve
    generators: list[GeneratorFigures]
    rates: Mapping[float, list[AchievedRate]]
    false_alarms: Mapping[float, Interval]

    @property
    def no_interval(self) -> str:
        """Why the means have none, in words; "" where they have."""
        few = [f"{n} {what}" for n, what in zip(self.sources, ("photo source", "generator"), strict=True)
               if n < MIN_CLUSTERS]  # fmt: skip
        return " and ".join(f"{text}s" if not text.startswith("1 ") else text for text in few)

    def worst_source(self, max_fpr: float) -> AchievedRate | None:
        """The photo source of which most were flagged where max_fpr was promised; None without photographs."""
        return next((rate for rate in self.rates[max_fpr] if rate.label == 0), None)


def held_out_figures(
    scores: Array,
    labels: NDArray,
    sources: NDArray,
    groups: NDArray,
    families: Mapping[str, str] | None = None,
    *,
    units: NDArray | None = None,
    sides: NDArray | None = None,
    max_fprs: Sequence[float] = (0.01, 0.05),
    max_miss: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> Figures:
    """All figures of out-of-fold scores (n,): thresholds and probabilities calibrated on other sources.

    sources: the generator of a fake, the source of a photograph, (n,). groups: (n,), what the interval of a single
    generator draws again. units: (n,), what the folds left out as one where that is more than one generator. sides:
    (n,), shorter sides in pixels: small pictures are calibrated apart.
    Photographs of all sources are pooled as the other side of every comparison. Where all come from one source, its
    groups are dealt into parts that stand for sources: in distribution, not a new camera.
    """
    y, names = np.asarray(labels), photo_parts(labels, sources, groups)
    unit = names if units is None else np.where(y == 1, np.asarray(units).astype(str), names)
    rates = {fpr: cross_conformal_rates(scores, y, names, fpr, max_miss, units=unit, sides=sides) for fpr in max_fprs}
    drawn = np.where(y == 1, unit, np.asarray(sources).astype(str))  # parts of one camera are no cameras
    p_ai = cross_calibrated(scores, y, unit)
    return _figures(scores, y, names, drawn, groups, families or {}, rates, p_ai, draws, seed)


def photo_parts(labels: NDArray, sources: NDArray, groups: NDArray, parts: int = 10) -> NDArray:
    """Sources (n,); photographs that are all of one source get ``"<source> (part k)"`` by their groups."""
    y, names = np.asarray(labels), np.asarray(sources).astype(str)
    known = np.unique(names[y == 0])
    if len(known) != 1:
        return names
    _, group = np.unique(np.asarray(groups).astype(str)[y == 0], return_inverse=True)
    dealt = names.astype(object)
    dealt[y == 0] = [f"{known[0]} (part {g % parts + 1})" for g in group.tolist()]
    return dealt.astype(str)


def detector_figures(
    scores: Array,
    labels: NDArray,
    sources: NDArray,
    groups: NDArray,
    calibration: Calibration,
    families: Mapping[str, str] | None = None,
    *,
    units: NDArray | None = None,
    sides: NDArray | None = None,
    doubtful: ArrayLike = False,
    max_fprs: Sequence[float] = (),
    draws: int = 1000,
    seed: int = 0,
) -> Figures:
    """The same for a finished detector on images it was not fitted on: its own calibration, nothing fitted here.

    doubtful: (n,) mask of the pictures that it does not judge. max_fprs: false-alarm rates besides the detector's own.
    """
    y, names = np.asarray(labels), np.asarray(sources).astype(str)
    wanted = sorted({calibration.max_fpr, *max_fprs})
    rates = {
        fpr: achieved_rates(calibration.with_rates(max_fpr=fpr), scores, y, names, sides, doubtful) for fpr in wanted
    }
    p_ai = calibration.p_ai(scores)
    drawn = names if units is None else np.where(y == 1, np.asarray(units).astype(str), names)
    return _figures(scores, y, names, drawn, groups, families or {}, rates, p_ai, draws, seed)


def _figures(
    scores: Array,
    y: NDArray,
    names: NDArray,
    sources: NDArray,
    groups: NDArray,
    families: Mapping[str, str],
    rates: Mapping[float, list[AchievedRate]],
    p_ai: Array,
    draws: int,
    seed: int,
) -> Figures:
    pictures = Pictures(y, names, np.asarray(sources).astype(str))
    drawn = pictures.draws(draws, seed)
    both = bool((y == 0).any() and (y == 1).any())
    means = mean_rows(pictures, scores, drawn) if both else dict.fromkeys(FIGURES, np.full(1, np.nan))
    known = both and bool(np.isfinite(p_ai).all())
    real = y == 0
    one_source = len(np.unique(pictures.units[real])) == 1
    return Figures(
        n_real=int(real.sum()),
        n_fake=int((~real).sum()),
        sources=drawn.clusters,  # type: ignore[arg-type]
        mean_auc=drawn.interval(means[AUC]),
        mean_recall_1=drawn.interval(means[RECALL_1]),
        mean_recall_5=drawn.interval(means[RECALL_5]),
        partial_auc=drawn.interval(means[PARTIAL]),
        pooled_auc=metrics.auc(y, scores),
        ece=metrics.ece(y, p_ai) if known else float("nan"),
        brier=metrics.brier(y, p_ai) if known else float("nan"),
        cllr=cllr(y, p_ai) if known else float("nan"),
        min_cllr=min_cllr(y, scores),
        reliability=metrics.reliability(y, p_ai, 10) if known else [],
        roc=roc(y, scores),
        generators=sorted(
            (
                _generator(name, families.get(name, ""), pictures, scores, groups, rates[max(rates)], draws, seed + i)
                for i, name in enumerate(pictures.generators, start=1)
            ),
            key=lambda row: (not np.isnan(row.auc.value) and row.auc.value, row.generator),
        ),
        rates=rates,
        false_alarms={fpr: _flagged(found, one_source) for fpr, found in rates.items()},
    )


def _flagged(rates: Sequence[AchievedRate], one_source: bool) -> Interval:
    """Share of all photographs called ``ai``; the interval is over their sources, exact where there is but one."""
    real = [rate for rate in rates if rate.label == 0]
    flags = [np.arange(rate.n) < round(rate.ai * rate.n) for rate in real]
    units = [np.full(rate.n, "" if one_source else rate.source) for rate in real]
    return rate_interval(np.concatenate(flags), np.concatenate(units)) if real else Interval(float("nan"))


def _generator(
    name: str,
    family: str,
    pictures: Pictures,
    scores: Array,
    groups: NDArray,
    rates: Sequence[AchievedRate],
    draws: int,
    seed: int,
) -> GeneratorFigures:
    photos, mine = pictures.labels == 0, (pictures.labels == 1) & (pictures.names == name)
    rate = next(rate for rate in rates if rate.label == 1 and rate.source == name)
    n, nothing = int(mine.sum()), Interval(float("nan"))
    if not photos.any():
        return GeneratorFigures(name, family, n, nothing, nothing, nothing, rate.ai, rate.real)
    real, fake = scores[photos], scores[mine]
    drawn = resample(pictures.units[photos], np.asarray(groups).astype(str)[mine], n=draws, seed=seed)
    of_real, of_fake = drawn.sides
    recalls = []
    for fpr in (0.01, 0.05):
        above = fake[None, :] > threshold_draws(real, of_real, fpr)[:, None]  # [rows, fakes]
        recalls.append(drawn.interval((above * of_fake).sum(axis=1) / of_fake.sum(axis=1)))
    area = drawn.interval(auc_draws(fake, real, of_fake, of_real))
    return GeneratorFigures(name, family, n, area, recalls[0], recalls[1], rate.ai, rate.real)


def cross_calibrated(scores: Array, labels: NDArray, sources: NDArray, parts: int = 10) -> Array:
    """``p_ai`` of every image (n,) by a calibration on the images of other sources: sources in ``parts`` parts."""
    names, p_ai = np.asarray(sources).astype(str), np.full(len(scores), np.nan)
    place = {}
    for label in (0, 1):
        for i, name in enumerate(np.unique(names[labels == label]).tolist()):
            place[label, name] = i % parts
    part = np.array([place[label, name] for label, name in zip(labels.tolist(), names.tolist(), strict=True)])
    for one in np.unique(part):
        rest = part != one
        if not (rest & (labels == 0)).any() or not (rest & (labels == 1)).any():
            rest = np.ones(len(part), dtype=bool)  # a single source of a class: it is calibrated on itself
        calibration = Calibration.from_scores(scores[rest & (labels == 0)], scores[rest & (labels == 1)])
        p_ai[part == one] = calibration.p_ai(scores[part == one])
    return p_ai
