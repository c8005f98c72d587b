"""What the promise on false alarms is worth: on noise, and on photographs of sources that nothing saw.

    python benchmarks/bench_promise.py noise [--draws 40]
    python benchmarks/bench_promise.py nested STORE [--also STORE] [--outer 5]

noise: 300 columns, 100 pictures per class, 5 % promised. Folds give the scores that a threshold is taken from; fresh
photographs are judged by the mean of the fold classifiers (what ``fit`` saves) and by one fitted again on everything
(what it saved before, and saves where members are too large). Prints Markdown.

nested: `fit` as it is, on all but a part of the generators and photo sources; these are judged by what it made, at the
promised rates. Prints flagged photographs (by size) and fakes.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.base import REAL_NAME, fit_classifier
from aigiscan.classifiers.ensemble import FoldEnsemble
from aigiscan.classifiers.folds import source_folds
from aigiscan.detector.calibration import AI, Calibration, is_small
from aigiscan.detector.fit import FitSettings, fit
from aigiscan.detector.table import FitTable, aligned, table_from_store
from aigiscan.features.views import EmbeddingView
from aigiscan.store import EmbeddingStore

COLUMNS, EACH, RATE, FRESH = 300, 100, 0.05, 400
KINDS: dict[str, dict[str, Any]] = {
    "logistic": {}, "svm": {}, "residual": {}, "knn": {"k": 9}, "mlp": {}, "tip-adapter": {}, "multiclass-svm": {},
    "multiclass-mlp": {},
}  # fmt: skip


def one_draw(name: str, params: dict[str, Any], folds: int, rng: np.random.Generator) -> tuple[float, float]:
    """Shares of fresh photographs flagged by (the mean of the fold classifiers, one fitted on everything)."""
    X = rng.normal(size=(2 * EACH, COLUMNS))
    y = np.repeat([0, 1], EACH)
    fold = np.concatenate([rng.permutation(EACH) % folds for _ in range(2)])
    made = make_classifier(name, **params)
    target = np.where(y == 1, np.array(["a", "b", "c", "d"])[rng.permutation(2 * EACH) % 4], REAL_NAME)
    target = target if made.multiclass else y

    def fitted(rows: np.ndarray) -> Any:
        return fit_classifier(make_classifier(name, **params), X[rows], target[rows])

    members, scores = [], np.empty(len(y))
    for k in range(folds):
        members.append(fitted(fold != k))
        scores[fold == k] = members[-1].decision_function(X[fold == k])
    calibration = Calibration.from_scores(scores[y == 0], None, RATE)
    fresh = rng.normal(size=(FRESH, COLUMNS))
    judges = FoldEnsemble(members), fitted(np.ones(len(y), dtype=bool))
    mean, refit = (float(np.mean(calibration.verdict(judge.decision_function(fresh)) == AI)) for judge in judges)
    return mean, refit


def noise(draws: int) -> None:
    """One row per classifier and number of folds."""
    print("| classifier | folds | flagged by the mean of the fold classifiers, % | by one fitted again, % |")
    print("|---|---|---|---|")
    for name, params in KINDS.items():
        for folds in (2, 5, 10) if name == "logistic" else (10,):
            found = np.array([one_draw(name, params, folds, np.random.default_rng(seed)) for seed in range(draws)])
            cells = (
                f"{100 * m:.1f} ± {100 * s:.1f}"
                for m, s in zip(found.mean(0), found.std(0) / np.sqrt(draws), strict=True)
            )
            print(f"| {name} | {folds} | {' | '.join(cells)} |", flush=True)


def nested(tables: list[FitTable], outer: int, seed: int) -> None:
    """Shares of the left-out pictures called ``ai`` at both rates."""
    table = tables[0]
    folds = source_folds(table.label, table.sources, table.groups, outer, seed)
    flagged = {rate: np.zeros(len(table), dtype=bool) for rate in (0.01, 0.05)}
    for k in range(outer):
        train, test = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        settings = FitSettings(params={"C": 0.001}, seed=seed)
        made = fit([t.select(train) for t in tables], settings, EmbeddingView()).detector
        left_out = table.select(test)
        for rate, found in flagged.items():
            calibration = made.calibration.with_rates(max_fpr=rate)
            found[test] = calibration.verdict(made.scores(left_out.channels), left_out.sides) == AI
    small = np.zeros(len(table), dtype=bool) if table.sides is None else is_small(table.sides)
    print(
        "| promised | photographs flagged | of these under 256 pixels | others | fakes flagged |\n|---|---|---|---|---|"
    )
    for rate, found in flagged.items():
        parts = [table.label == 0, (table.label == 0) & small, (table.label == 0) & ~small, table.label == 1]
        shares = (f"{found[rows].mean():.3f} ({int(found[rows].sum())} of {int(rows.sum())})" for rows in parts)
        print(f"| {rate:.0%} | {' | '.join(shares)} |", flush=True)


def _table(path: str) -> FitTable:
    with EmbeddingStore(path) as store:
        return table_from_store(store)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["noise", "nested"])
    parser.add_argument("store", nargs="?")
    parser.add_argument("--also", default="")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--outer", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.what == "noise":
        noise(given.draws)
    else:
        first = _table(given.store)
        nested([first, *([aligned(_table(given.also), first)] if given.also else [])], given.outer, given.seed)
