"""What the trained networks of ``lite:trained`` add to frozen features, on pictures whose sources neither has seen.

    python benchmarks/bench_trained.py limit512 square224

Stores as ``models/fit_builtin.sh`` makes them. In the folds that the networks were trained in (seed 0): the probe on
frozen features, the logit of the network that had not seen the picture's source, and both as ``models/fit_builtin.py``
puts them together. Figures and intervals as in ``bench_features.py``, which draws sources; one seed of folds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bench_features as features

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from fit_builtin import SETTINGS, combined, tables_and_logits, unseen

from aigiscan.detector.fit import fit


def main() -> None:
    """Fit, judge, print."""
    tables, logits, _ = tables_and_logits(sys.argv[1:])
    result = fit(tables, SETTINGS)
    alone = unseen(result.table, result.folds, logits)
    together, counts = combined(result.table, result.folds, result.held_out, alone)
    sides = result.table.sides
    data = features.Data(result.table, list(result.equalizations), {}, sides, result.folds[None], [])
    print(f"a logit counts {counts.mean():.2f} ({counts.min():.2f} to {counts.max():.2f}) times the probe's score\n")
    print("| scored by | treatment | AUC | recall at 5 % | recall at 1 % | gain in AUC | in recall at 5 % | at 1 % |")
    print("|---|---|---|---|---|---|---|---|")
    scored = {"probe on frozen features": result.held_out, "trained networks": alone, "both": together}
    for name, scores in scored.items():
        for k, treatment in enumerate(data.treatments):
            figures = " | ".join(f"{v:.3f}" for v in features.per_generator(data, scores[:, k]))
            gain = features.gains(data, scores[None, :, k], result.held_out[None, :, k])
            shown = " | ".join(f"{m:+.3f} [{a:+.3f}, {b:+.3f}]" for m, a, b in gain.T)
            print(f"| {name} | {treatment} | {figures} | {'| |' if scores is result.held_out else shown} |")
    print(
        "\n| scored by | promised | photographs flagged | worst source of ≥ 20 | fakes called |\n|---|---|---|---|---|"
    )
    for name, scores in scored.items():
        for rate in (0.01, 0.05):
            found = " | ".join(f"{v:.3f}" for v in features.achieved(data, scores[:, 0], result.folds, rate))
            print(f"| {name} | {rate:.0%} | {found} |")


if __name__ == "__main__":
    main()
