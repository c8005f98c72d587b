"""The figures of a detector's card, from scores of images whose generator or photo source the fit never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from aigiscan.classifiers.folds import left_out
from aigiscan.detector.achieved import cross_conformal_verdicts, pooled, rates_of
from aigiscan.detector.calibration import AI, UNCERTAIN, Calibration, is_small
from aigiscan.detector.detector import Detector
from aigiscan.detector.doubt import doubtful
from aigiscan.detector.fit import FitResult
from aigiscan.detector.table import FitTable
from aigiscan.evaluation.attribution import true_names
from aigiscan.evaluation.confusion import confusion
from aigiscan.evaluation.intervals import Interval, binomial_interval, group_bootstrap, share_interval
from aigiscan.metrics import accuracies, auc, average_precision, brier, ece, recall_at

#: rows of the table that ``fit`` prints
TableRow = tuple[str, float, str]
_DRAWS = 300
#: fewer photo sources than this, and the share flagged in a new one is hardly known
_FEW_SOURCES = 10

_BOUND = (
    "The bound on false alarms is for photographs like those calibrated on; for other cameras, sizes and editing it is "
    "a hope. Give your own photographs with `aigiscan calibrate DETECTOR PHOTOS`."
)


class Completed(NamedTuple):
    """The detector with its figures in the card; heading and rows of a table for a person."""

    detector: Detector
    heading: str
    rows: list[TableRow]


def complete_card(result: FitResult) -> Completed:
    """Figures on what each scoring fit had not seen, which :class:`aigiscan.classifiers.folds.LeftOut` names.

    Intervals by bootstrap over sources (95 %). In distribution: other images of the same generators and sources.
    """
    table = result.table
    first = result.held_out[:, 0]
    what = left_out(table.label, table.sources, result.folds, result.known_sources)
    held_out = {
        spec or "as they are": _figures(table, first, result.held_out[:, i], result.folds)
        for i, spec in enumerate(result.equalizations)
    }
    metrics: dict[str, Any] = {
        "held_out": held_out,
        "held_out_note": f"{what.heading}: {what.note}; photographs pooled",
        "per_generator_auc": _per_generator(table.label, first, table.names),
    }
    sources = len(_sources(table, 0))
    if sources > 1:
        metrics["achieved"] = [_achieved(result, rate) for rate in (0.01, 0.05)]
    if result.in_distribution is not None:
        metrics["in_distribution"] = _figures(table, result.in_distribution, result.in_distribution, result.folds)
    if result.named is not None:
        metrics["attribution"] = _attribution(result, result.named)
    limits = [*result.detector.card.limits, _BOUND]
    if sources < _FEW_SOURCES:
        limits.append(
            f"Calibrated on photographs of {sources} source{'s' * (sources > 1)}: what share of the photographs of "
            "another camera it flags is hardly known."
        )
    if chosen := result.detector.view.search_generators:
        limits.append(
            f"Its features were chosen with {', '.join(chosen)}, whose pictures are left out of the figures if there "
            "are others, and with photographs that may be among those calibrated on: the bound is approximate."
        )
    if small := result.detector.calibration.small_note:
        limits.append(small[0].upper() + small[1:] + ".")
    card = replace(result.detector.card, metrics=metrics, limits=limits)
    rows = [row for spec, figures in held_out.items() for row in _table_rows(spec, figures, len(held_out) > 1)]
    for achieved in metrics.get("achieved", []):
        worst = achieved["worst_source"]
        promise = f"{achieved['promised']:.0%} promised"
        rows.append((f"photographs of left-out sources flagged, {promise}", *_with_bounds(achieved)))
        rows.append((f"  worst source ({worst['source']}, {worst['images']} images)", *_with_bounds(worst)))
    if "attribution" in metrics:
        names = {
            "accuracy": "generator named rightly",
            "mean_over_classes": "  mean over generators and photographs",
            "largest_class": "  always the commonest would have",
        }
        rows += [(words, metrics["attribution"][key], "") for key, words in names.items()]
    return Completed(replace(result.detector, card=card), what.heading, rows)


def _attribution(result: FitResult, named: np.ndarray) -> dict[str, Any]:
    """How often the generator is named rightly among those that the fit knows, on other images than it saw."""
    table = result.table
    families = result.detector.classifier.get_params().get("families")
    found = confusion(true_names(table.label, table.names, families), named)
    return {
        "accuracy": round(found.accuracy, 4),
        "mean_over_classes": round(float(np.mean([one.accuracy for one in found.classes])), 4),
        "largest_class": round(max(one.n for one in found.classes) / len(named), 4),
        "note": "known generators, images that the fit did not see",
    }


def _sources(table: FitTable, label: int) -> set[str]:
    return set(table.sources[table.label == label].tolist())


def _figures(table: FitTable, first: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Figures of scores (n,); the probability curve is fitted on the scores that are calibrated on, ``first``."""
    label, sources = table.label, table.sources
    p = _left_out_probabilities(label, first, scores, folds)

    def interval(statistic: Callable[[np.ndarray], float]) -> list[float | None]:
        return _plain(group_bootstrap(statistic, sources, label, n=_DRAWS))

    return {
        "auc": interval(lambda i: auc(label[i], scores[i])),
        "average_precision": interval(lambda i: average_precision(label[i], scores[i])),
        "tpr_at_5_percent_fpr": interval(lambda i: recall_at(label[i], scores[i], 0.05)),
        "tpr_at_1_percent_fpr": interval(lambda i: recall_at(label[i], scores[i], 0.01)),
        "balanced_accuracy_at_0": interval(lambda i: accuracies(label[i], scores[i])[0]),
        "mean_auc_per_generator": round(float(np.mean(list(_per_generator(label, scores, table.names).values()))), 4),
        "ece": round(ece(label, p), 4),
        "brier": round(brier(label, p), 4),
    }


def _left_out_probabilities(label: np.ndarray, first: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """p_ai of every image by the curve that ships, fitted on the images of the other folds."""
    p = np.full(len(scores), np.nan)
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        curve = Calibration.from_scores(first[inside & (label == 0)], first[inside & (label == 1)])
        p[outside] = curve.p_ai(scores[outside])
    return p


def _per_generator(label: np.ndarray, scores: np.ndarray, names: np.ndarray) -> dict[str, float]:
    """AUC of each generator against all photographs, worst first."""
    real = scores[label == 0]
    found = {}
    for name in sorted(set(names[label == 1].tolist())):
        fake = scores[(label == 1) & (names == name)]
        pooled_labels = np.repeat([0, 1], [len(real), len(fake)])
        found[str(name)] = round(auc(pooled_labels, np.concatenate([real, fake])), 4)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _achieved(result: FitResult, rate: float) -> dict[str, Any]:
    """What thresholds calibrated on the other sources did to each left-out source (promise ``rate``), and by size.

    Pictures that the detector does not judge (:mod:`aigiscan.detector.doubt`) are uncertain, as in ``scan``.
    """
    table, column, side = result.table, result.settings.reduced, result.settings.small_side
    reduced = None if column is None else result.held_out[:, column]
    verdicts = cross_conformal_verdicts(
        result.held_out[:, 0], table.label, table.sources, max_fpr=rate, max_miss=rate, sides=table.sides,
        small_side=side, reduced=reduced,
    )  # fmt: skip
    verdicts[doubtful(result.detector.card, table)] = UNCERTAIN
    photographs = table.label == 0
    rates = rates_of(verdicts, table.label, table.sources)
    real, fake = pooled(rates, 0), pooled(rates, 1)
    by_source = [r for r in rates if r.label == 0]
    worst = max(by_source, key=lambda r: (r.ai, r.n))
    found = {
        "promised": rate,
        "flagged": round(real.ai, 4),
        "flagged_interval": _plain(share_interval(verdicts[photographs] == AI, table.sources[photographs]))[1:],
        "fakes_flagged": round(fake.ai, 4),
        "fakes_called_real": round(fake.real, 4),
        "sources": len(by_source),
        "sources_over_promise": sum(r.ai > rate for r in by_source),
        "worst_source": {
            "source": worst.source,
            "images": worst.n,
            "flagged": round(worst.ai, 4),
            "flagged_interval": _plain(binomial_interval(round(worst.ai * worst.n), worst.n))[1:],
        },
    }
    if table.sides is not None:
        small = is_small(table.sides, side)
        sizes = {f"under {side} pixels": small, f"from {side} pixels on": ~small}
        found["by_shorter_side"] = {
            name: _by_size(verdicts == AI, table.label, rows) for name, rows in sizes.items() if rows.any()
        }
    return found


def _by_size(flagged: np.ndarray, label: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for value, noun in ((0, "photographs"), (1, "fakes")):
        chosen = flagged[rows & (label == value)]
        counts |= {noun: len(chosen), f"{noun}_flagged": round(float(chosen.mean()), 4) if len(chosen) else None}
    return counts


def _table_rows(spec: str, figures: dict[str, Any], several: bool) -> list[TableRow]:
    names = {
        "auc": "AUC",
        "average_precision": "average precision",
        "tpr_at_5_percent_fpr": "recall at 5 % false alarms",
        "tpr_at_1_percent_fpr": "recall at 1 % false alarms",
        "balanced_accuracy_at_0": "balanced accuracy at score 0",
        "mean_auc_per_generator": "mean AUC per generator",
        "ece": "expected calibration error",
        "brier": "Brier score",
    }
    rows = []
    for key, name in names.items():
        value = figures[key]
        label = f"{name} ({spec})" if several else name
        if isinstance(value, list):
            rows.append((label, value[0], _bounds(value[1:])))
        else:
            rows.append((label, value, ""))
    return rows


def _with_bounds(found: dict[str, Any]) -> tuple[float, str]:
    return found["flagged"], _bounds(found["flagged_interval"])


def _bounds(bounds: list[float | None]) -> str:
    low, high = bounds
    return "too few sources" if low is None or high is None else f"{low:.3f} – {high:.3f}"


def _plain(interval: Interval) -> list[float | None]:
    """value, low, high; None for bounds where there are too few sources for an interval."""
    bounds = (interval.value, interval.low, interval.high)
    return [None if np.isnan(v) else round(float(v), 4) for v in bounds]
