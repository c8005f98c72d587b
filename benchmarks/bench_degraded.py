"""Do photographs that were degraded on their way keep the promise? And what do the rules of `fit` against it cost?

    python benchmarks/bench_degraded.py limit512 square224 limit320 -o DIR [--only blur:1,resize:0.5] [--photographs 3]

Stores as `models/fit_builtin.sh` makes them, the pictures where they were. One photograph of every source (or up to
--photographs) and one picture of every other generator are degraded, treated and encoded as `scan` would, scored by the
fold that saw neither, and judged by thresholds of the undegraded photographs as `models/fit_builtin.py` sets them.
Features of every degradation are kept in DIR. "rules": small pictures are held against reduced photographs, pictures
under the least side and those smoother than nearly all photographs stay uncertain; without them there is one threshold
for all sizes. Before that, the same of all pictures as they are, by shorter side; and with one threshold from the
higher of a photograph's scores under the first two equalisations.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from bench_features import fit_together, read

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from fit_builtin import SETTINGS, combined, tables_and_logits, unseen

from aigiscan.detector.calibration import AI, Calibration
from aigiscan.detector.doubt import most_smooth, spam_columns
from aigiscan.detector.fit import calibrated
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
    parser.add_argument("stores", nargs=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--photographs", type=int, default=1)
    parser.add_argument("--only", default=",".join(DEGRADED))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    data = read(given.stores, [], 1)
    table, folds = data.table, data.folds[0]
    matrix, real = table.channels["embedding"], table.label == 0
    tables, logits, own = tables_and_logits(given.stores)
    matrices = [t.channels["embedding"] for t in tables]  # the logits' columns are 0: they get no weight
    coef, intercept = fit_together(np.concatenate(matrices), data, SETTINGS.params["C"])

    def probe(rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        found: np.ndarray = (features @ coef.astype(np.float32) + intercept)[np.arange(len(rows)), folds[rows]]
        return found

    n = np.arange(len(table))
    held_out = np.stack([probe(n, m) for m in matrices], 1)
    everything, counts = combined(table, folds, held_out, unseen(table, folds, logits))
    plain = Calibration.from_scores(everything[real, 0], None)
    judge = calibrated(table, everything, SETTINGS)
    columns, smoothest = spam_columns(table.encoder["fingerprint"]), most_smooth(table, SETTINGS.smoothest)

    def called(scores: np.ndarray, sides: np.ndarray, features: np.ndarray, rate: float) -> tuple[np.ndarray, ...]:
        """(masks without rules, with them) of what is called ``ai``."""
        fine = (sides >= SETTINGS.least_side) & (smoothness(features[:, columns]) <= smoothest)
        with_rules = judge.with_rates(max_fpr=rate).verdict(scores, sides) == AI
        return plain.with_rates(max_fpr=rate).verdict(scores) == AI, with_rules & fine

    def scores(rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        network = own[folds[rows] // 2]
        found: np.ndarray = probe(rows, features) + counts[folds[rows]] * features[np.arange(len(rows)), network]
        return found

    rng = np.random.default_rng(0)
    sources, names = table.sources.astype(str), table.names.astype(str)
    rows = [rng.choice(np.flatnonzero(real & (sources == s))) for s in np.unique(sources[real])]
    for s in np.unique(sources[real]) if given.photographs > 1 else ():
        more = np.setdiff1d(np.flatnonzero(real & (sources == s)), rows)
        rows += rng.permutation(more)[: given.photographs - 1].tolist()
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

    higher = Calibration.from_scores(everything[real, :2].max(1), None)
    print("as they are: of all and by shorter side, called at 1 % and 5 % without rules → with, → by the higher score")
    for low, high in ((0, 10**6), (0, 256), (256, 320), (320, 10**6)):
        for name, kind in (("photographs", real), ("fakes", ~real)):
            kept, shares = kind & (low <= data.sides) & (data.sides < high), []
            for rate in (0.01, 0.05):
                masks = called(everything[:, 0], data.sides, matrix, rate)
                by_higher = higher.with_rates(max_fpr=rate).verdict(everything[:, 0]) == AI
                shares.append(" → ".join(f"{mask[kept].mean():.3f}" for mask in (*masks, by_higher)))
            print(f"{low} to {high - 1}: {int(kept.sum())} {name}: {'; '.join(shares)}")
    print(
        "\n| degraded by | photographs, fakes from 256 pixels on | photographs called at 1 % | with rules "
        "| at 5 % | with rules | fakes called at 1 % | with rules | at 5 % | with rules |\n|" + "---|" * 10
    )
    photographs = real[chosen]
    for spec in (one for one in DEGRADED if one in given.only.split(",")):
        file = given.output / f"{spec.replace(':', '') or 'as they are'}.npz"
        if not file.exists():
            features, sides = encoded(spec)
            np.savez(file, features=features, sides=sides, rows=chosen)
            print(spec, file=sys.stderr, flush=True)
        with np.load(file) as kept:
            assert (kept["rows"] == chosen).all(), f"{file} is of other pictures: delete it"
            features, sides = kept["features"], kept["sides"]
        found = scores(chosen, features)
        large = sides >= SETTINGS.least_side
        of = (photographs & large, ~photographs & large)
        figures = [
            f"{mask[kind].mean():.3f}" for kind in of for rate in (0.01, 0.05)
            for mask in called(found, sides, features, rate)
        ]  # fmt: skip
        print(f"| {spec or 'nothing'} | {of[0].sum()}, {of[1].sum()} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
