"""Which frozen features tell generators never seen from photographs of sources never seen.

    aigiscan embed DATA -o limit512 --encoder lite+lite:native+spam --equalize limit:512,jpeg:80
    aigiscan embed DATA -o square224 --encoder lite+lite:native+spam --equalize square:224,jpeg:75
    python benchmarks/bench_features.py limit512 square224 -o DIR --use lite,spam@0.001 --use lite:native@0.0003

Stores of the same pictures under several treatments; one logistic probe is fitted on all treatments together, as `fit`
does, in ten folds that leave out whole sources of fakes and of photographs, with three seeds. ``--use PARTS@C``: parts
of the encoder and the inverse penalty; ``A@C|B@C``: standardised scores of several probes added. ``--extra FILE.npz``:
more columns, arrays ``NAME_0`` … per treatment and ``sha256``, used like parts.

Printed per treatment: AUC, recall at 5 % and at 1 % false alarms (means over generators, against photographs of all
sources, thresholds from them), and with thresholds from the photographs of the *other* folds alone the share of
photographs flagged, of all and in the worst source of at least 20, and the share of fakes called. Mean over seeds ±
deviation between them; the gain over the first line with a 95 % interval that draws sources of fakes and of
photographs again. By size: the first treatment, shorter sides as the files have them.

The thirty fits are one problem for L-BFGS (they share every product with the features), the same that
``LogisticClassifier`` solves one by one; ``--check`` compares one of them with it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.table import FitTable, sample_weights, table_from_store
from aigiscan.encoders import encoder_from_fingerprint
from aigiscan.metrics import auc
from aigiscan.store import EmbeddingStore

FOLDS, LEAST, DRAWS = 10, 20, 1000


@dataclass
class Data:
    """parts: name → one matrix (n, d) per treatment. sides: shorter sides (n,). folds: (seeds, n)."""

    table: FitTable
    treatments: list[str]
    parts: dict[str, list[np.ndarray]]
    sides: np.ndarray
    folds: np.ndarray
    train: list[np.ndarray]


def read(stores: Sequence[str], extra: Sequence[str], seeds: int) -> Data:
    """Stores and further columns of the same pictures."""
    tables: list[FitTable] = []
    parts: dict[str, list[np.ndarray]] = {}
    columns, sides = np.empty(0, dtype=str), np.empty(0)
    for path in stores:
        with EmbeddingStore(path) as store:
            tables.append(table_from_store(store))
            labelled = np.asarray(store.rows.label) >= 0
            sides = np.minimum(np.asarray(store.rows.width), np.asarray(store.rows.height))[labelled]
            columns = np.array([c.rpartition(":")[0] for c in encoder_from_fingerprint(store.fingerprint).columns()])
    first = tables[0]
    sha = first.text["sha256"].astype(str)
    for name in dict.fromkeys(columns.tolist()):
        parts[name] = [t.channels["embedding"][:, columns == name].astype(np.float32) for t in tables]
    for path in extra:
        with np.load(path) as content:
            order = {s: i for i, s in enumerate(content["sha256"].astype(str).tolist())}
            rows = [order[s] for s in sha]
            for name in sorted({key.rpartition("_")[0] for key in content.files if key != "sha256"}):
                parts[name] = [content[f"{name}_{k}"][rows].astype(np.float32) for k in range(len(tables))]
    folds, train = [], []
    for seed in range(seeds):
        folds.append(source_folds(first.label, first.sources, first.groups, FOLDS, seed))
        train += [rows for rows, _ in train_test(folds[-1], first.groups)]
    return Data(first, [t.equalization for t in tables], parts, sides, np.array(folds), train)


def held_out(data: Data, names: Sequence[str], C: float) -> np.ndarray:
    """(seeds, treatments, n) scores by fits that saw neither the picture's source nor its group."""
    matrices = [np.concatenate([data.parts[name][k] for name in names], 1) for k in range(len(data.treatments))]
    coef, intercept = fit_together(np.concatenate(matrices), data, C)
    scores = np.empty((len(data.folds), len(matrices), len(data.table)))
    rows = np.arange(len(data.table))
    for k, matrix in enumerate(matrices):
        found = matrix @ coef.astype(np.float32) + intercept
        for seed, folds in enumerate(data.folds):
            scores[seed, k] = found[rows, seed * FOLDS + folds]
    return scores


def fit_together(X: np.ndarray, data: Data, C: float) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients (d, fits), intercepts (fits,)) of ½‖w‖² + C Σ weight · loss on columns standardised per fit."""
    label, sources, k = data.table.label, data.table.sources, len(data.treatments)
    weight = np.zeros((len(label), len(data.train)))
    for j, rows in enumerate(data.train):
        weight[rows, j] = sample_weights(label[rows], sources[rows], "source")
    weight = np.tile(weight, (k, 1)) / k
    total, flat = weight.sum(0), weight.astype(np.float32)
    mean = (X.T @ flat).astype(np.float64) / total
    deviation = np.sqrt(np.maximum(((X * X).T @ flat).astype(np.float64) / total - mean**2, 0))
    inverse = np.where(deviation > 1e-6 * np.maximum(1, np.abs(mean)), 1 / np.maximum(deviation, 1e-30), 0.0)
    sign = np.tile(2.0 * label - 1.0, k)[:, None]
    shape = mean.shape

    def loss(flat_w: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = flat_w[: mean.size].reshape(shape), flat_w[mean.size :]
        scaled = w * inverse
        margin = sign * (X @ scaled.astype(np.float32) + (b - (scaled * mean).sum(0)))
        slope = -C * weight * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        back = (X.T @ slope.astype(np.float32)).astype(np.float64)
        gradient = w + (back - mean * slope.sum(0)) * inverse
        value = 0.5 * float((w * w).sum()) + C * float((weight * np.logaddexp(0, -margin)).sum())
        return value, np.append(gradient, slope.sum(0))

    start = np.zeros(mean.size + shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-8, "maxcor": 20}).x
    coef = found[: mean.size].reshape(shape) * inverse
    return coef, found[mean.size :] - (coef * mean).sum(0)


def check(data: Data, names: Sequence[str], C: float) -> float:
    """Greatest difference of scores between the first fit here and `LogisticClassifier`'s own."""
    rows, k = data.train[0], len(data.treatments)
    matrices = [np.concatenate([data.parts[name][i] for name in names], 1) for i in range(k)]
    weight = np.tile(sample_weights(data.table.label[rows], data.table.sources[rows], "source"), k) / k
    probe = make_classifier("logistic", C=C, tol=1e-8, max_iter=5000).fit(
        np.concatenate([m[rows] for m in matrices]).astype(np.float64), np.tile(data.table.label[rows], k), weight
    )
    test = data.folds[0] == 0
    mine = held_out(data, names, C)[0, 0, test]
    return float(np.abs(probe.decision_function(matrices[0][test]) - mine).max())


def per_generator(data: Data, scores: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """Mean over generators of AUC, recall at 5 % and at 1 % false alarms, of the pictures kept."""
    kept = np.ones(len(scores), dtype=bool) if kept is None else kept
    real = scores[kept & (data.table.label == 0)]
    limits = [np.quantile(real, 1 - rate, method="higher") for rate in (0.05, 0.01)]
    names, rows = data.table.names.astype(str), kept & (data.table.label == 1)
    found = []
    for name in np.unique(names[rows]):
        fake = scores[rows & (names == name)]
        area = auc(np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([real, fake]))
        found.append([area, *(float(np.mean(fake > limit)) for limit in limits)])
    return np.mean(found, axis=0)


def achieved(data: Data, scores: np.ndarray, folds: np.ndarray, rate: float) -> list[float]:
    """Shares flagged: of photographs, of the worst source of at least 20, of fakes (mean over generators)."""
    real, names = data.table.label == 0, data.table.names.astype(str)
    flags = np.zeros(len(scores), dtype=bool)
    for fold in np.unique(folds):
        limit = Calibration.from_scores(scores[real & (folds != fold)], None, rate).threshold_ai
        flags[folds == fold] = scores[folds == fold] > limit
    large = [s for s in np.unique(names[real]) if (names[real] == s).sum() >= LEAST]
    fakes = [flags[~real & (names == g)].mean() for g in np.unique(names[~real])]
    return [float(flags[real].mean()), max(float(flags[real & (names == s)].mean()) for s in large), np.mean(fakes)]


def gains(data: Data, scores: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(3, 3): mean gain of AUC and recalls over the base, low, high; scores (seeds, n) of one treatment."""
    rng, label = np.random.default_rng(0), data.table.label
    names, sources = data.table.names.astype(str), data.table.sources.astype(str)
    fakes, photos = np.unique(sources[label == 1]), np.unique(sources[label == 0])
    photo_of = np.searchsorted(photos, sources[label == 0])
    generators = np.unique(names[label == 1])
    rows = [np.flatnonzero((label == 1) & (names == g)) for g in generators]
    unit = np.array([np.searchsorted(fakes, sources[r[0]]) for r in rows])
    drawn_photos = np.vstack(
        [np.ones(len(photos)), rng.multinomial(len(photos), [1 / len(photos)] * len(photos), DRAWS)]
    )
    drawn_fakes = np.vstack([np.ones(len(fakes)), rng.multinomial(len(fakes), [1 / len(fakes)] * len(fakes), DRAWS)])

    def drawn(values: np.ndarray) -> np.ndarray:
        order = np.argsort(values[label == 0])
        real, weight = values[label == 0][order], drawn_photos[:, photo_of[order]]
        share = np.cumsum(weight, 1) / weight.sum(1, keepdims=True)  # of the photographs at or below, per draw
        found = np.empty((len(drawn_photos), 3, len(rows)))
        for g, own in enumerate(rows):
            at = np.searchsorted(real, values[own], side="left")
            below = np.where(at > 0, share[:, np.maximum(at - 1, 0)], 0.0)
            found[:, 0, g], found[:, 1, g], found[:, 2, g] = (
                below.mean(1),
                (below >= 0.95).mean(1),
                (below >= 0.99).mean(1),
            )
        weights = drawn_fakes[:, unit]
        return (found * weights[:, None]).sum(2) / weights.sum(1)[:, None]

    difference = np.mean([drawn(a) - drawn(b) for a, b in zip(scores, base, strict=True)], axis=0)
    return np.vstack([difference[0], np.quantile(difference[1:], [0.025, 0.975], axis=0)])


def spread(values: np.ndarray) -> str:
    """Mean ± deviation between seeds of every column."""
    return " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), values.std(0), strict=True))


def main() -> None:
    """Fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--use", action="append", required=True, metavar="PARTS@C[|PARTS@C]")
    parser.add_argument("--extra", action="append", default=[], metavar="FILE.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    data = read(given.stores, given.extra, given.seeds)
    given.output.mkdir(parents=True, exist_ok=True)
    probes: dict[str, np.ndarray] = {}
    real = data.table.label == 0
    for use in given.use:
        for probe in use.split("|"):
            file = given.output / f"{probe.replace(':', '_').replace(',', '+')}-{given.seeds}.npy"
            if not file.exists():
                began = time.perf_counter()
                names, _, C = probe.partition("@")
                np.save(file, held_out(data, names.split(","), float(C)))
                print(f"{probe}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            probes[probe] = np.load(file)
    if given.check:
        names, _, C = given.use[0].split("|")[0].partition("@")
        print(f"greatest difference from LogisticClassifier: {check(data, names.split(','), float(C)):.2g}")

    def scores(use: str) -> np.ndarray:
        several = [probes[probe] for probe in use.split("|")]
        if len(several) == 1:
            return several[0]
        return np.sum([s / s[:, :, real].std(2, keepdims=True) for s in several], axis=0)

    print("| features | treatment | AUC | recall at 5 % | recall at 1 % | gain in AUC | in recall at 5 % | at 1 % |")
    print("|---|---|---|---|---|---|---|---|")
    for use in given.use:
        for k, treatment in enumerate(data.treatments):
            own = scores(use)[:, k]
            gain = gains(data, own, scores(given.use[0])[:, k])
            shown = " | ".join(f"{m:+.3f} [{a:+.3f}, {b:+.3f}]" for m, a, b in gain.T)
            figures = spread(np.array([per_generator(data, s) for s in own]))
            print(f"| {use} | {treatment} | {figures} | {shown if use != given.use[0] else ' | | '} |", flush=True)
    print(
        "\n| features | promised | photographs flagged | worst source of ≥ 20 | fakes called |\n|---|---|---|---|---|"
    )
    for use in given.use:
        for rate in (0.01, 0.05):
            rows = [achieved(data, s[0], f, rate) for s, f in zip(scores(use), data.folds, strict=True)]
            print(f"| {use} | {rate:.0%} | {spread(np.array(rows))} |")
    print(
        "\n| features | shorter side | photographs, fakes | AUC | recall at 5 % | at 1 % |\n|---|---|---|---|---|---|"
    )
    for use in given.use:
        for low, high in ((0, 256), (256, 384), (384, 10**9)):
            kept = (data.sides >= low) & (data.sides < high)
            count = f"{int((kept & real).sum())}, {int((kept & ~real).sum())}"
            figures = spread(np.array([per_generator(data, s[0], kept) for s in scores(use)]))
            size = f"under {high}" if not low else f"{low} and more" if high == 10**9 else f"{low} to {high - 1}"
            print(f"| {use} | {size} | {count} | {figures} |")


if __name__ == "__main__":
    main()
