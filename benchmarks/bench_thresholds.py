"""What thresholds promise and what photographs of a source they never saw get: three rules side by side.

    python benchmarks/bench_thresholds.py STORE_LIMIT512 STORE_SQUARE224 -o DIR [--seeds 3]

The stores are those of models/fit_builtin.sh: the same pictures under two equalisations. Nested: ten folds leave out
whole generators and photo sources; on what remains, ten folds again give the scores that a threshold is calibrated on.
So the pictures that are judged were in no fit and in no threshold. Prints a Markdown table, means over the seeds of the
folds; scores are kept in DIR and taken from there (empty it after a change).

Rules: `image` promises over all calibration photographs; `source` makes a photo source the unit of the promise;
`guarded`, what `aigiscan fit` does, asks in addition that all but a tenth of the sources keep the promise each for
itself (aigiscan/detector/guard.py).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.table import FitTable, sample_weights, table_from_store
from aigiscan.store import EmbeddingStore

C, FOLDS, LEAST = 1e-3, 10, 20  # LEAST: photographs of a source whose own share is looked at
RULES = ("image", "source", "guarded")


def nested_scores(tables: list[FitTable], seed: int) -> dict[str, np.ndarray]:
    """test (n, k): by fits without the picture's outer fold. inner (FOLDS, n, k): NaN inside that outer fold."""
    first = tables[0]
    y, sources, groups = first.label, first.sources, first.groups
    matrices = [t.channels["embedding"].astype(np.float64) for t in tables]
    k = len(matrices)

    def fitted(rows: np.ndarray) -> Any:
        weight = np.tile(sample_weights(y[rows], sources[rows], "source"), k) / k
        stacked = np.concatenate([X[rows] for X in matrices])
        return make_classifier("logistic", C=C).fit(stacked, np.tile(y[rows], k), sample_weight=weight)

    outer = source_folds(y, sources, groups, FOLDS, seed)
    inner, test = np.full((FOLDS, len(y), k), np.nan), np.full((len(y), k), np.nan)
    for number, (rows, left_out) in enumerate(train_test(outer, groups)):
        probe = fitted(rows)
        for j, X in enumerate(matrices):
            test[left_out, j] = probe.decision_function(X[left_out])
        folds = source_folds(y[rows], sources[rows], groups[rows], FOLDS, seed)
        for a, b in train_test(folds, groups[rows]):
            probe = fitted(rows[a])
            for j, X in enumerate(matrices):
                inner[number, rows[b], j] = probe.decision_function(X[rows[b]])
        print(f"seed {seed}: fold {number + 1} of {FOLDS}", file=sys.stderr, flush=True)
    return {"inner": inner, "test": test, "outer": outer}


def calibrated(rule: str, scores: np.ndarray, sources: np.ndarray, rate: float) -> Calibration:
    """Thresholds on photographs, scores (n, k), as `fit` calibrates on k equalisations."""
    flat, names = scores.ravel(), np.repeat(sources, scores.shape[1])
    if rule == "source":
        return Calibration.from_scores(flat, None, rate, real_sources=names)
    if rule == "guarded":
        return Calibration.from_scores(flat, None, rate, guard_sources=names, copies=scores.shape[1])
    return Calibration.from_scores(flat, None, rate)


def flagged(found: dict[str, np.ndarray], table: FitTable, column: int, rule: str, rate: float) -> np.ndarray:
    """(n,) bool: pictures of every outer fold above the threshold calibrated without that fold."""
    result = np.zeros(len(table.label), dtype=bool)
    for number in range(FOLDS):
        inner = found["inner"][number]
        photographs = (table.label == 0) & np.isfinite(inner).all(1)
        calibration = calibrated(rule, inner[photographs], table.sources[photographs].astype(str), rate)
        judged = found["outer"] == number
        result[judged] = found["test"][judged, column] > calibration.threshold_ai
    return result


def measured(flags: np.ndarray, table: FitTable, rate: float) -> list[float]:
    """Shares flagged: all photographs, mean over sources, worst large source, large sources above it; fakes' recall."""
    names = table.names.astype(str)
    by_label = [
        {s: flags[(names == s) & (table.label == v)] for s in np.unique(names[table.label == v])} for v in (0, 1)
    ]
    real, fake = ({name: float(own.mean()) for name, own in sources.items()} for sources in by_label)
    large = [real[name] for name, own in by_label[0].items() if len(own) >= LEAST]
    photographs = float(flags[table.label == 0].mean())
    above = float(sum(share > rate for share in large))
    return [photographs, float(np.mean(list(real.values()))), max(large), above, float(np.mean(list(fake.values())))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs=2)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    tables = []
    for path in given.stores:
        with EmbeddingStore(path) as store:
            tables.append(table_from_store(store))
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    scores = []
    for seed in range(given.seeds):
        kept = folder / f"nested{seed}.npz"
        if not kept.exists():
            np.savez(kept, **nested_scores(tables, seed))
        with np.load(kept) as content:
            scores.append({name: content[name] for name in ("inner", "test", "outer")})
    print(
        "| scored under | promised | rule | photographs flagged | mean over sources | worst source of ≥ 20 "
        "| such sources above the promise | recall, mean over generators |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for column, table in enumerate(tables):
        for rate in (0.01, 0.05):
            for rule in RULES:
                rows = [measured(flagged(found, table, column, rule, rate), table, rate) for found in scores]
                photographs, mean, worst, above, recall = np.mean(rows, axis=0)
                figures = f"{photographs:.3f} | {mean:.3f} | {worst:.2f} | {above:.1f} | {recall:.3f}"
                print(f"| {table.equalization} | {rate:.0%} | {rule} | {figures} |")


if __name__ == "__main__":
    main()
