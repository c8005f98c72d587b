"""Do photographs that were degraded on their way keep the promise? And what do the rules of `fit` against it cost?

    python benchmarks/bench_degraded.py limit512 square224 -o DIR [--C 0.0005] [--smoothest 0.03] [--least-side 128]

Stores as `models/fit_builtin.sh` makes them, the pictures where they were. One photograph of every source and one
picture of every other generator are degraded, treated and encoded as `scan` would, and scored by the fold that saw
neither; thresholds are those of the undegraded photographs from 256 pixels on. Features of every degradation are kept
in DIR. "rules": pictures under --least-side pixels, and those smoother than all but --smoothest of the photographs,
stay uncertain.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from bench_features import fit_together, read

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from fit_builtin import combined, tables_and_logits, unseen

from aigiscan.detector.calibration import SMALL_SIDE, Calibration
from aigiscan.detector.doubt import most_smooth, spam_columns
from aigiscan.encoders import encoder_from_fingerprint
from aigiscan.encoders.spam import smoothness
from aigiscan.images.decode import decode
from aigiscan.images.equalize import Equalization
from aigiscan.images.perturb import parse_perturbation
from aigiscan.images.records import ImageRecord

DEGRADED = (
    "", "jpeg:40", "jpeg:20", "noise:0.002", "blur:1", "blur:2", "resize:0.5", "resize:0.5+resize:2",
)  # fmt: skip


def main() -> None:
    """Degrade, encode, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--C", type=float, default=0.0005)
    parser.add_argument("--smoothest", type=float, default=0.03)
    parser.add_argument("--least-side", type=int, default=128)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    data = read(given.stores, [], 1)
    table, folds = data.table, data.folds[0]
    matrix, real = table.channels["embedding"], table.label == 0
    tables, logits, own = tables_and_logits(given.stores)
    matrices = [t.channels["embedding"] for t in tables]  # the logits' columns are 0: they get no weight
    coef, intercept = fit_together(np.concatenate(matrices), data, given.C)

    def probe(rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        found: np.ndarray = (features @ coef.astype(np.float32) + intercept)[np.arange(len(rows)), folds[rows]]
        return found

    n = np.arange(len(table))
    held_out = np.stack([probe(n, m) for m in matrices], 1)
    counts = combined(table, folds, held_out, unseen(table, folds, logits))[1]

    def scores(rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        network = own[folds[rows] // 2]
        found: np.ndarray = probe(rows, features) + counts[folds[rows]] * features[np.arange(len(rows)), network]
        return found

    everything = scores(n, matrix)
    large = data.sides >= SMALL_SIDE
    limits = [Calibration.from_scores(everything[real & large], None, rate).threshold_ai for rate in (0.01, 0.05)]
    columns, limit = spam_columns(table.encoder["fingerprint"]), most_smooth(table, given.smoothest)
    rng = np.random.default_rng(0)
    sources, names = table.sources.astype(str), table.names.astype(str)
    rows = [rng.choice(np.flatnonzero(real & (sources == s))) for s in np.unique(sources[real])]
    rows += [rng.choice(np.flatnonzero(~real & (names == g))) for g in np.unique(names[~real])[::2]]
    chosen = np.array(rows)
    encoder = encoder_from_fingerprint(table.encoder["fingerprint"], device="cpu")
    treatment = Equalization.parse(table.equalization)

    def encoded(spec: str) -> tuple[np.ndarray, np.ndarray]:
        features, sides = [], []
        for row in chosen:
            image = decode(ImageRecord(str(table.text["path"][row]))).pixels
            assert image is not None
            for step in filter(None, spec.split("+")):
                image = parse_perturbation(step).apply(image)
            sides.append(min(image.size))
            features.append(encoder.encode([encoder.prepare(treatment.apply(image))])["embedding"][0])
        return np.array(features), np.array(sides)

    print(f"limits {limits[0]:.3f}, {limits[1]:.3f}; smoothness {limit}")
    smooth = smoothness(matrix[:, columns]) > (2.0 if limit is None else limit)
    for name, kept in (("photographs", real & large), ("fakes", ~real & large)):
        shares = [
            f"{np.mean(everything[kept] > x):.3f} → {np.mean((everything > x)[kept] & ~smooth[kept]):.3f}"
            for x in limits
        ]
        print(f"all {int(kept.sum())} {name} from {SMALL_SIDE} pixels on, at 1 %, 5 %: {', '.join(shares)}")
    print(
        f"\n| degraded by | photographs, fakes from {SMALL_SIDE} pixels on | photographs flagged at 1 % | with rules "
        "| at 5 % | with rules | fakes called at 1 % | with rules |\n|---|---|---|---|---|---|---|---|"
    )
    photographs = real[chosen]
    for spec in DEGRADED:
        file = given.output / f"{spec.replace(':', '') or 'as they are'}.npz"
        if not file.exists():
            features, sides = encoded(spec)
            np.savez(file, features=features, sides=sides, rows=chosen)
            print(spec, file=sys.stderr, flush=True)
        with np.load(file) as kept:
            assert (kept["rows"] == chosen).all(), f"{file} is of other pictures: delete it"
            features, sides = kept["features"], kept["sides"]
        found = scores(chosen, features)
        fine = smoothness(features[:, columns]) <= (2.0 if limit is None else limit)
        figures = []
        for of in (photographs, ~photographs):
            who = of & (sides >= max(SMALL_SIDE, given.least_side))
            for x in limits if of is photographs else limits[:1]:
                figures += [np.mean(found[who] > x), np.mean((found[who] > x) & fine[who])]
        count = (
            f"{int((photographs & (sides >= SMALL_SIDE)).sum())}, {int((~photographs & (sides >= SMALL_SIDE)).sum())}"
        )
        print(f"| {spec or 'nothing'} | {count} | {' | '.join(f'{v:.3f}' for v in figures)} |", flush=True)


if __name__ == "__main__":
    main()
