"""Figures per generator and photo source: of held-out scores, or of a finished detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigiscan.detector.achieved import AchievedRate, achieved_rates, cross_conformal_rates, pooled
from aigiscan.detector.calibration import Calibration
from aigiscan.evaluation import metrics
from aigiscan.evaluation.intervals import Interval, resample
from aigiscan.evaluation.metrics import ReliabilityBin, auc_draws, threshold_draws

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GeneratorFigures:
    """One left-out generator against the photographs of all left-out sources.

    auc, tpr_1, tpr_5: intervals over the generator's groups and photo sources. found, missed: share called ``ai`` and
    ``real`` at the highest of the false-alarm rates asked for.
    """

    generator: str
    family: str
    n: int
    auc: Interval
    tpr_1: Interval
    tpr_5: Interval
    found: float
    missed: float


@dataclass(frozen=True)
class Figures:
    """mean_*: mean over generators, each counting once; intervals over generators and photo sources.

    generators: worst AUC first. rates: promised false-alarm rate → verdict shares of every source, photographs first,
    worst first. ece, brier, reliability: of ``p_ai``, both classes weighing the same; NaN and empty if there is none.
    """

    n_real: int
    n_fake: int
    mean_auc: Interval
    mean_tpr_1: Interval
    mean_tpr_5: Interval
    pooled_auc: float
    ece: float
    brier: float
    reliability: list[ReliabilityBin]
    generators: list[GeneratorFigures]
    rates: Mapping[float, list[AchievedRate]]

    def false_alarms(self, max_fpr: float) -> tuple[float, float, str]:
        """(share over all photographs, share in the worst source, that source) flagged where max_fpr was promised."""
        reals = [rate for rate in self.rates[max_fpr] if rate.label == 0]
        return pooled(self.rates[max_fpr], 0).ai, reals[0].ai, reals[0].source


def held_out_figures(
    scores: Array,
    labels: NDArray,
    sources: NDArray,
    groups: NDArray,
    families: Mapping[str, str] | None = None,
    *,
    units: NDArray | None = None,
    max_fprs: Sequence[float] = (0.01, 0.05),
    max_miss: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> Figures:
    """All figures of out-of-fold scores (n,): thresholds and probabilities calibrated on other sources.

    sources: the generator of a fake, the source of a photograph, (n,). groups: (n,), what the interval of a single
    generator draws again. units: (n,), what the folds left out as one where that is more than one generator.
    Photographs of all sources are pooled as the other side of every comparison. Where all come from one source, its
    groups are dealt into parts that stand for sources: in distribution, not a new camera.
    """
    y, names = np.asarray(labels), photo_parts(labels, sources, groups)
    unit = names if units is None else np.where(y == 1, np.asarray(units).astype(str), names)
    rates = {fpr: cross_conformal_rates(scores, y, names, fpr, max_miss, units=unit) for fpr in max_fprs}
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
    max_fprs: Sequence[float] = (),
    draws: int = 1000,
    seed: int = 0,
) -> Figures:
    """The same for a finished detector on images it was not fitted on: its own calibration, nothing fitted here.

    max_fprs: false-alarm rates besides the detector's own.
    """
    y, names = np.asarray(labels), np.asarray(sources).astype(str)
    wanted = sorted({calibration.max_fpr, *max_fprs})
    rates = {fpr: achieved_rates(calibration.with_rates(max_fpr=fpr), scores, y, names) for fpr in wanted}
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
    keys = np.asarray(groups).astype(str)
    real, cameras = scores[y == 0], np.asarray(sources).astype(str)[y == 0]
    generators = np.unique(names[y == 1])
    # A new photo source and a new generator are what the means are about, so these, not pictures, are drawn again.
    # Generators of one source are drawn together.
    units = [np.asarray(sources).astype(str)[(y == 1) & (names == name)][0] for name in generators]
    both = resample(cameras, units, n=draws, seed=seed)
    cuts = {fpr: threshold_draws(real, both.sides[0], fpr) for fpr in (0.01, 0.05)}
    by_name = {rate.source: rate for rate in rates[max(rates)] if rate.label == 1}
    rows, of_all = [], {"auc": [], 0.01: [], 0.05: []}  # type: ignore[var-annotated]
    for i, name in enumerate(generators.tolist()):
        fake, own = scores[(y == 1) & (names == name)], keys[(y == 1) & (names == name)]
        of_all["auc"].append(auc_draws(fake, real, np.ones((1, len(fake))), both.sides[0]))
        for fpr, cut in cuts.items():
            of_all[fpr].append(_share_above(fake, cut))
        one = resample(cameras, own, n=draws, seed=seed + 1 + i)
        recalls = {}
        for fpr in cuts:
            above = fake[None, :] > threshold_draws(real, one.sides[0], fpr)[:, None]  # [rows, fakes]
            recalls[fpr] = one.interval((above * one.sides[1]).sum(axis=1) / one.sides[1].sum(axis=1))
        rate = by_name[name]
        row = GeneratorFigures(
            name, families.get(name, ""), len(fake), one.interval(auc_draws(fake, real, one.sides[1], one.sides[0])),
            recalls[0.01], recalls[0.05], rate.ai, rate.real,
        )  # fmt: skip
        rows.append(row)

    def mean(values: list[Array]) -> Interval:
        stacked = np.stack(values, axis=1)  # [rows, generators]
        return both.interval((stacked * both.sides[1]).sum(axis=1) / both.sides[1].sum(axis=1))

    known = bool(np.isfinite(p_ai).all())
    return Figures(
        n_real=int((y == 0).sum()),
        n_fake=int((y == 1).sum()),
        mean_auc=mean(of_all["auc"]),
        mean_tpr_1=mean(of_all[0.01]),
        mean_tpr_5=mean(of_all[0.05]),
        pooled_auc=metrics.auc(y, scores),
        ece=metrics.ece(y, p_ai) if known else float("nan"),
        brier=metrics.brier(y, p_ai) if known else float("nan"),
        reliability=metrics.reliability(y, p_ai, 10) if known else [],
        generators=sorted(rows, key=lambda r: (r.auc.value, r.generator)),
        rates=rates,
    )


def _share_above(fake: Array, cuts: Array) -> Array:
    """Share of the fakes above every cut (rows,)."""
    return 1.0 - np.searchsorted(np.sort(fake), cuts, side="right") / len(fake)


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
