"""Fitted under one equalisation or under several: what happens to photographs of another size. Prints markdown.

    python benchmarks/bench_equalizations.py limit512 square224 limit320

The stores are those of models/fit_builtin.sh: the same pictures under several equalisations; the probe alone, without
the trained networks' logits. Out of fold: every picture is scored by a fit that saw neither its source nor its group.
The threshold is set on the photographs of the first store (so that 1 % or 5 % of them are flagged) and used on all.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_features import fit_together, read

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from fit_builtin import tables_and_logits

from aigiscan.metrics import auc, recall_at

C = 0.0005


def main(paths: list[str]) -> None:
    """Fit on the first store, the first two, and so on; measure under all."""
    data = read(paths, [], 1)
    label, rows = data.table.label, np.arange(len(data.table))
    middle = (data.sides >= 256) & (data.sides <= 448)
    matrices = [table.channels["embedding"] for table in tables_and_logits(paths)[0]]
    print("| fitted on | scored under | AUC | AUC, sides of 256 to 448 px | recall at 5 % | flagged at 1 % | at 5 % |")
    print("|---|---|---|---|---|---|---|")
    for k in range(1, len(paths) + 1):
        name = data.treatments[0] if k == 1 else f"the first {k}"
        some = replace(data, treatments=data.treatments[:k])
        coef, intercept = fit_together(np.concatenate(matrices[:k]), some, C)
        held_out = [(X @ coef.astype(np.float32) + intercept)[rows, data.folds[0]] for X in matrices]
        limits = [np.quantile(held_out[0][label == 0], 1 - rate) for rate in (0.01, 0.05)]
        for scores, treatment in zip(held_out, data.treatments, strict=True):
            flagged = " | ".join(f"{np.mean(scores[label == 0] > limit):.3f}" for limit in limits)
            figures = f"{auc(label, scores):.3f} | {auc(label[middle], scores[middle]):.3f}"
            print(
                f"| {name} | {treatment} | {figures} | {recall_at(label, scores, 0.05):.3f} | {flagged} |", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:])
