"""Faults put into the source one at a time: which test notices? Run by hand; the table goes to RESULTS.md.

    python benchmarks/mutations.py [NAME...]

Each is applied to a temporary copy of the package and the tests; the named tests must go red, and were green before. A
text that is not found exactly once in its file is an error: the list has to follow the code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutation:
    """name: what is broken. file: below aigiscan/. old, new: the text and what takes its place. tests: for pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: str


NOISE = "tests/detector/test_noise.py"
MUTATIONS = [
    Mutation(
        "thresholds of fit from in-sample scores",
        "detector/fit.py",
        "    calibration = calibrated(table, scores[scored], settings)\n",
        "    calibration = calibrated(\n"
        "        table, classifier.decision_function(problem.matrices[0][scored])[:, None], settings)\n",
        f"{NOISE} -k source",
    ),
    Mutation(
        "folds of fit ignore groups",
        "detector/fit.py",
        "for number, (train, test) in enumerate(train_test(folds, self.table.groups)):",
        "for number, (train, test) in enumerate(train_test(folds)):",
        "tests/detector/test_leakage.py",
    ),
    Mutation(
        "folds of Candidate.held_out_scores ignore groups",
        "evaluation/candidate.py",
        "for train, test in train_test(folds, self.groups):",
        "for train, test in train_test(folds):",
        "tests/detector/test_leakage.py tests/evaluation/test_candidate.py",
    ),
    Mutation(
        "Candidate.held_out_scores weighs all pictures the same",
        "evaluation/candidate.py",
        'scores[test] = self.fit(train, "source").decision_function(self.X[test])',
        'scores[test] = self.fit(train, "none").decision_function(self.X[test])',
        "tests/detector/test_leakage.py tests/evaluation/test_candidate.py",
    ),
    Mutation(
        "the card's calibration error from a curve fitted on its own fold",
        "evaluation/card_metrics.py",
        "        inside, outside = folds != fold, folds == fold\n",
        "        inside, outside = folds == folds, folds == fold\n",
        "tests/detector/test_leakage.py",
    ),
    Mutation(
        "cross_calibrated includes the picture itself",
        "evaluation/heldout.py",
        "        rest = part != one\n",
        "        rest = part == part\n",
        "tests/detector/test_leakage.py tests/evaluation/test_heldout.py",
    ),
    Mutation(
        "the grid is tuned on groups that its fits saw",
        "detector/tune.py",
        "    train, held = next(train_test(folds, table.groups))\n",
        "    train, held = next(train_test(folds))\n",
        "tests/detector/test_leakage.py -k grid",
    ),
    Mutation(
        "the transfer threshold from in-sample scores",
        "evaluation/transfer.py",
        "        left = rows[~np.isin(keys[rows], keys[rows[held]])]\n",
        "        left = rows\n",
        "tests/detector/test_leakage.py tests/evaluation/test_transfer.py",
    ),
    Mutation(
        "the robustness bootstrap draws images instead of groups",
        "evaluation/robustness.py",
        "    drawn = resample(keys[y == 0], keys[y == 1], n=draws, seed=seed)\n",
        "    drawn = resample(np.flatnonzero(y == 0), np.flatnonzero(y == 1), n=draws, seed=seed)\n",
        "tests/detector/test_leakage.py tests/evaluation/test_robustness.py",
    ),
    Mutation(
        "the judge is fitted again on everything",
        "detector/fit.py",
        "    judge = averaged(members)\n",
        "    judge = problem.fitted(np.arange(len(problem.table)))\n",
        f"{NOISE} -k family",
    ),
    Mutation(
        "several equalisations count several times",
        "detector/fit.py",
        "    calibration = calibrated(table, scores[scored], settings)\n",
        "    calibration = calibrated(table, scores[scored].mean(axis=1, keepdims=True) - 1.0, settings)\n",
        f"{NOISE} -k equalisation tests/detector/test_detector.py",
    ),
    Mutation(
        "going on scores pictures it has seen",
        "detector/fold_choice.py",
        "    seen = np.zeros(len(table), dtype=bool) if previous is None else seen_rows(previous, table)\n",
        "    seen = np.zeros(len(table), dtype=bool)\n",
        f"{NOISE} -k going",
    ),
    Mutation(
        "a stack takes a base's own probability of what it has learnt",
        "detector/stacked.py",
        "            for train, test in train_test(folds, table.groups) if known.any() else ():\n",
        "            for train, test in ():\n",
        f"{NOISE} -k stacking",
    ),
    Mutation(
        "calibrate takes photographs that were fitted on",
        "detector/recalibrate.py",
        "    mine = [v for v, known in zip(readable.values(), fitted, strict=True) if not known]\n",
        "    mine = list(readable.values())\n",
        f"{NOISE} tests/detector/test_seen.py -k 'threshold or calibrating'",
    ),
    Mutation(
        "generators that chose the features are in the figures",
        "detector/fold_choice.py",
        "    return chosen if (fakes & ~chosen).any() else np.zeros(len(table), dtype=bool)\n",
        "    return np.zeros(len(table), dtype=bool)\n",
        f"{NOISE} -k columns",
    ),
    Mutation(
        "small pictures are held against all photographs",
        "detector/calibration.py",
        "        if sides is None:\n            return found\n",
        "        return found\n",
        "tests/detector/test_calibration.py -k small",
    ),
    Mutation(
        "reduced photographs do not stand for small ones",
        "detector/calibration.py",
        "        held_against = real[small] if reduced is None else finite_scores(reduced)\n",
        "        held_against = real[small]\n",
        "tests/detector/test_calibration.py -k reduced",
    ),
    Mutation(
        "rates of left-out sources forget the reduced photographs",
        "detector/achieved.py",
        "values[real & small] if reduced is None else reduced[real]",
        "values[real & small]",
        "tests/detector/test_calibration.py -k reduced",
    ),
    Mutation(
        "what is not judged counts as called ai",
        "detector/calibration.py",
        "        judged = ~np.asarray(doubtful, dtype=bool)\n",
        "        judged = np.asarray(True)\n",
        "tests/detector/test_detector.py -k small",
    ),
    Mutation(
        "the card's rates forget what is not judged",
        "evaluation/card_metrics.py",
        "    verdicts[doubtful(result.detector.card, table)] = UNCERTAIN\n",
        "",
        "tests/evaluation/test_card_metrics.py",
    ),
    Mutation(
        "discoveries at the plain rate",
        "detector/discovery.py",
        "    cut = discovery_threshold([_p(v) for v in readable], rate)\n",
        "    cut = rate\n",
        "tests/detector/test_discovery.py",
    ),
    Mutation(
        "one photograph more than the bound allows",
        "detector/tail.py",
        "(1.0 + n - np.searchsorted(",
        "(n - np.searchsorted(",
        "tests/detector/test_calibration.py",
    ),
    Mutation(
        "held out is said whatever the folds did",
        "classifiers/folds.py",
        "            parted = name in known or len(np.unique(folds[(y == label) & (names == name)])) > 1\n",
        "            parted = False\n",
        "tests/cli/test_fit.py -k 'heading or going'",
    ),
]


def red(copy: Path, tests: str) -> str:
    """The first test that fails in a copy; "" if all pass."""
    import shlex

    # -I would hide PYTHONPATH; the copy must come before an installed package
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(tests)]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest {tests} could not run:\n{done.stdout[-2000:]}")
    found = re.search(r"^FAILED (.+?)(?: - |$)", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def main(wanted: list[str]) -> int:
    """Prints a Markdown table; 1 if a mutation was not noticed."""
    missed = 0
    print("| what is broken | test that goes red |\n|---|---|")
    for mutation in MUTATIONS:
        if wanted and not any(word in mutation.name for word in wanted):
            continue
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place)
            for name in ("aigiscan", "tests", "models"):
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", copy)
            target = copy / "aigiscan" / mutation.file
            text = target.read_text(encoding="utf-8")
            if text.count(mutation.old) != 1:
                raise SystemExit(f"{mutation.name}: its text is {text.count(mutation.old)} times in {mutation.file}")
            target.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
            found = red(copy, mutation.tests)
        missed += not found
        print(f"| {mutation.name} | {f'`{found}`' if found else '**none**'} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
