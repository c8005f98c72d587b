"""Stores of the development pictures → models/builtin: python models/fit_builtin.py limit512 square224 limit320 OUT.

A linear probe in ten folds over sources, as ``aigiscan fit`` makes it, on all columns but the logits of
``lite:trained``; then those logits. They come from networks that were trained on these pictures, so a picture's logit
is taken from the one network that saw neither its source nor its group (two folds each), and what it counts beside the
probe's score is a logistic regression on such scores of the other folds' pictures (stacking: Saland's report, section
2.6). All in all that is one linear probe again, the mean over the folds.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression

from aigiscan.classifiers.ensemble import classifier_entry
from aigiscan.detector.fit import FitSettings, calibrated, fit
from aigiscan.detector.table import FitTable, aligned, sample_weights, table_from_store
from aigiscan.encoders import encoder_from_fingerprint
from aigiscan.encoders.lite import shipped_file
from aigiscan.encoders.lite_trained import NETWORKS
from aigiscan.evaluation.card_metrics import complete_card
from aigiscan.store import EmbeddingStore

SETTINGS = FitSettings(
    params={"C": 0.0005},
    name="builtin",
    grade="demonstration grade",
    description="a linear probe on lite+lite:trained+spam features; try it, then fit your own",
    limits=(
        "Misses about half of the pictures of generators it has not seen at 5 % false alarms; see metrics.held_out.",
        "On a photo source that was left out it can flag more than promised; see metrics.achieved for the worst one.",
        "Fitted on 2,035 generated pictures of 136 generators up to 2026 and 1,542 photographs of 164 sources.",
        "It knows nothing of edited photographs, paintings, scans, screenshots or rendered graphics as such.",
    ),
    least_side=256,
    smoothest=0.03,
    small_side=320,
    reduced=2,
)


def tables_and_logits(stores: list[str]) -> tuple[list[FitTable], np.ndarray, np.ndarray]:
    """(tables without the logits, logits (n, treatments, networks), which columns they are)."""
    tables: list[FitTable] = []
    columns: list[str] = []
    for path in stores:
        with EmbeddingStore(path) as store:
            table = table_from_store(store)
            columns = encoder_from_fingerprint(store.fingerprint).columns()
        tables.append(aligned(table, tables[0]) if tables else table)
    own = np.array([":logit:" in name for name in columns])
    logits = np.stack([table.channels["embedding"][:, own] for table in tables], 1)
    # a constant column gets no weight
    without = [
        replace(t, channels={"embedding": np.where(own, np.float32(0), t.channels["embedding"])}) for t in tables
    ]
    return without, logits, np.flatnonzero(own)


def unseen(table: FitTable, folds: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """(n, treatments): each picture's logit by the network that did not see its source; checked against its file."""
    network = folds // 2
    lines = sorted(f"{sha} {i}" for sha, i in zip(table.text["sha256"], network, strict=True))
    with safe_open(shipped_file("trained.safetensors"), "np") as file:
        left_out = (file.metadata() or {}).get("left_out", "")
    if hashlib.sha256("\n".join(lines).encode()).hexdigest() != left_out:
        sys.exit("the networks of lite:trained left out other pictures than these folds do: run models/lite/train.py")
    return logits[np.arange(len(network)), :, network]


def combined(
    table: FitTable, folds: np.ndarray, held_out: np.ndarray, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(scores (n, treatments), what a logit counts beside a probe's score in each fold) of such scores and logits."""
    k, weight, counts = logits.shape[1], sample_weights(table.label, table.sources, "source"), []
    scores = held_out.copy()
    for fold in range(folds.max() + 1):
        others = folds != fold
        X = np.column_stack([held_out[others].T.ravel(), logits[others].T.ravel()])
        model = LogisticRegression(C=1e6).fit(X, np.tile(table.label[others], k), np.tile(weight[others], k))
        counts.append(model.coef_[0, 1] / model.coef_[0, 0])
        scores[~others] += counts[-1] * logits[~others]
    return scores, np.array(counts)


def main(stores: list[str], out: str) -> None:
    """Fit, add, calibrate, measure, write."""
    tables, logits, columns = tables_and_logits(stores)
    result = fit(tables, SETTINGS)
    scores, counts = combined(result.table, result.folds, result.held_out, unseen(result.table, result.folds, logits))
    print(f"a logit counts {counts.mean():.2f} ({counts.min():.2f} to {counts.max():.2f}) times the probe's score")
    detector, judge = result.detector, result.detector.classifier
    for i, column in enumerate(columns):
        judge.coef_[0, column] = counts[2 * i : 2 * i + 2].sum() / len(counts)
    calibration = calibrated(result.table, scores, SETTINGS)
    method = f"{detector.card.thresholds['method']}; small pictures are held against all photographs reduced to that"
    card = replace(
        detector.card,
        thresholds={"method": method, **calibration.describe()},
        classifier=classifier_entry(SETTINGS.classifier, judge),
    )
    detector = replace(detector, card=card, calibration=calibration)
    done = complete_card(replace(result, detector=detector, held_out=scores, in_distribution=None))
    done.detector.save(Path(out))
    for name, value, interval in done.rows:
        print(f"{name:50} {value:.3f} {interval}")


if __name__ == "__main__":
    assert SETTINGS.folds == 2 * NETWORKS
    main(sys.argv[1:-1], sys.argv[-1])
