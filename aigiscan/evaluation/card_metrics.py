"""The figures of a detector's card, from scores of images whose generator or photo source the fit never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from aigiscan.detector.achieved import cross_conformal_rates, pooled
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.detector import Detector
from aigiscan.detector.fit import FitResult
from aigiscan.detector.table import FitTable
from aigiscan.evaluation.intervals import Interval, group_bootstrap
from aigiscan.evaluation.metrics import accuracies, auc, average_precision, brier, ece, tpr_at_fpr

#: rows of the table that ``fit`` prints
TableRow = tuple[str, float, str]
_DRAWS = 300

_BOUND = (
    "The bound on false alarms is for photographs like those calibrated on; for other cameras, sizes and editing it is "
    "a hope. Give your own photographs with `aigiscan fit --calibrate-on FOLDER DETECTOR`."
)


def complete_card(result: FitResult) -> tuple[Detector, list[TableRow]]:
    """The detector with its metrics in the card, and the rows of a table for a person.

    Held out: whole generators and photo sources; intervals by bootstrap over sources (95 %). In distribution: other
    images of the same generators and sources.
    """
    table = result.table
    held_out = {
        spec or "as they are": _figures(table, result.held_out[:, i], result.folds)
        for i, spec in enumerate(result.equalizations)
    }
    first = result.held_out[:, 0]
    metrics: dict[str, Any] = {
        "held_out": held_out,
        "held_out_note": "each image scored without its generator or photo source in the fit; photographs pooled",
        "per_generator_auc": _per_generator(table.label, first, table.names),
    }
    if len(_sources(table, 0)) > 1:
        metrics["achieved"] = [_achieved(table.label, result.held_out, table.sources, rate) for rate in (0.01, 0.05)]
    if result.in_distribution is not None:
        metrics["in_distribution"] = _figures(table, result.in_distribution, result.folds)
    card = replace(result.detector.card, metrics=metrics, limits=[*result.detector.card.limits, _BOUND])
    rows = [row for spec, figures in held_out.items() for row in _table_rows(spec, figures, len(held_out) > 1)]
    for achieved in metrics.get("achieved", []):
        worst = achieved["worst_source"]
        promise = f"{achieved['promised']:.0%} promised"
        rows.append((f"photographs of left-out sources flagged, {promise}", achieved["flagged"], ""))
        rows.append((f"  worst source ({worst['source']}, {worst['images']} images)", worst["flagged"], ""))
    return replace(result.detector, card=card), rows


def _sources(table: FitTable, label: int) -> set[str]:
    return set(table.sources[table.label == label].tolist())


def _figures(table: FitTable, scores: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    label, sources = table.label, table.sources
    p = _left_out_probabilities(label, scores, folds)

    def interval(statistic: Callable[[np.ndarray], float]) -> list[float | None]:
        return _plain(group_bootstrap(statistic, sources, label, n=_DRAWS))

    return {
        "auc": interval(lambda i: auc(label[i], scores[i])),
        "average_precision": interval(lambda i: average_precision(label[i], scores[i])),
        "tpr_at_5_percent_fpr": interval(lambda i: tpr_at_fpr(label[i], scores[i], 0.05)),
        "tpr_at_1_percent_fpr": interval(lambda i: tpr_at_fpr(label[i], scores[i], 0.01)),
        "balanced_accuracy_at_0": interval(lambda i: accuracies(label[i], scores[i])[0]),
        "mean_auc_per_generator": round(float(np.mean(list(_per_generator(label, scores, table.names).values()))), 4),
        "ece": round(ece(label, p), 4),
        "brier": round(brier(label, p), 4),
    }


def _left_out_probabilities(label: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """p_ai of every image by a probability curve fitted on the other folds."""
    p = np.full(len(scores), np.nan)
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        curve = Calibration.from_scores(scores[inside & (label == 0)], scores[inside & (label == 1)])
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


def _achieved(label: np.ndarray, scores: np.ndarray, sources: np.ndarray, rate: float) -> dict[str, Any]:
    """What thresholds calibrated on the other sources did to each left-out source (promise ``rate``); scores (n, k)."""
    rates = cross_conformal_rates(scores, label, sources, max_fpr=rate, max_miss=rate)
    real, fake = pooled(rates, 0), pooled(rates, 1)
    by_source = [r for r in rates if r.label == 0]
    worst = max(by_source, key=lambda r: (r.ai, r.n))
    return {
        "promised": rate,
        "flagged": round(real.ai, 4),
        "fakes_flagged": round(fake.ai, 4),
        "fakes_called_real": round(fake.real, 4),
        "sources": len(by_source),
        "sources_over_promise": sum(r.ai > rate for r in by_source),
        "worst_source": {"source": worst.source, "images": worst.n, "flagged": round(worst.ai, 4)},
    }


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
            rows.append((label, value[0], "too few" if value[1] is None else f"{value[1]:.3f} – {value[2]:.3f}"))
        else:
            rows.append((label, value, ""))
    return rows


def _plain(interval: Interval) -> list[float | None]:
    """value, low, high; None for bounds where there are too few sources for an interval."""
    bounds = (interval.value, interval.low, interval.high)
    return [None if np.isnan(v) else round(float(v), 4) for v in bounds]
