"""Fitted under one equalisation or under both: what happens to photographs of another size. Prints markdown.

    python benchmarks/bench_equalizations.py STORE_LIMIT512 STORE_SQUARE224

The stores are those of models/fit_builtin.sh: the same pictures under two equalisations. Out of fold: every picture is
scored by a fit that saw neither its generator nor its photo source. The threshold is set on the photographs of the
first store (so that 1 % or 5 % of them are flagged) and used on both.
"""

from __future__ import annotations

import sys

import numpy as np

from aigiscan.detector.fit import FitSettings, fit
from aigiscan.detector.table import table_from_store
from aigiscan.evaluation.metrics import auc, recall_at
from aigiscan.store import EmbeddingStore


def sides(path: str) -> np.ndarray:
    """Shorter side of every labelled picture, in pixels."""
    with EmbeddingStore(path) as store:
        rows = store.rows
        return np.minimum(rows.width, rows.height)[np.asarray(rows.label) >= 0]


def main(paths: list[str]) -> None:
    """Fit on the first store alone and on both; measure under both."""
    tables = []
    for path in paths:
        with EmbeddingStore(path) as store:
            tables.append(table_from_store(store))
    side, label = sides(paths[0]), tables[0].label
    middle = (side >= 256) & (side <= 448)
    print("| fitted on | scored under | AUC | AUC, sides of 256 to 448 px | recall at 5 % | flagged at 1 % | at 5 % |")
    print("|---|---|---|---|---|---|---|")
    both = fit(tables, FitSettings(params={"C": 0.001})).held_out
    alone = one_fit_scored_under_both(tables)
    for name, held_out in ((tables[0].equalization, alone), ("both", both)):
        real = held_out[label == 0]
        limits = [np.quantile(real[:, 0], 1 - rate) for rate in (0.01, 0.05)]
        for column, table in enumerate(tables):
            scores = held_out[:, column]
            flagged = " | ".join(f"{np.mean(real[:, column] > limit):.3f}" for limit in limits)
            within = auc(label[middle], scores[middle])
            recall = recall_at(label, scores, 0.05)
            figures = f"{auc(label, scores):.3f} | {within:.3f} | {recall:.3f}"
            print(f"| {name} | {table.equalization} | {figures} | {flagged} |")


def one_fit_scored_under_both(tables: list) -> np.ndarray:
    """(n, 2) scores of fits that saw the first table alone, in the folds that ``fit`` uses."""
    from aigiscan.classifiers import make_classifier
    from aigiscan.classifiers.folds import source_folds, train_test
    from aigiscan.detector.table import sample_weights

    first = tables[0]
    scores = np.full((len(first), len(tables)), np.nan)
    folds = source_folds(first.label, first.sources, first.groups, n_folds=10, seed=0)
    for train, test in train_test(folds, first.groups):
        weights = sample_weights(first.label[train], first.sources[train], "source")
        probe = make_classifier("logistic", C=0.001)
        probe.fit(first.channels["embedding"][train], first.label[train], sample_weight=weights)
        for column, table in enumerate(tables):
            scores[test, column] = probe.decision_function(table.channels["embedding"][test])
    return scores


if __name__ == "__main__":
    main(sys.argv[1:3])
