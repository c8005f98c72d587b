"""Every classifier on generators and photo sources it never saw, next to what the JPEG byte count alone reaches.

    python benchmarks/bench_classifiers.py STORE -o DIR [--text-store STORE_OF_A_CLIP --card CARD] [--only NAME …]

STORE: labelled images embedded after the same crop, size and re-encode, for example

    aigiscan embed DATA -o store.h5 --encoder lite+spam --equalize square:224,jpeg:75

Ten folds leave out whole generators and whole photo sources at once; every method has the same folds. Hyperparameters
are fixed below, except for the paper's grid, which is tuned on sources left out of the training side. The byte count is
that of the equalised JPEG, so the files must still be where the store says; without them that row is missing. Scores
are kept in DIR/scores: a run that was cut, or that adds a method, goes on from there (empty it after a change).

CARD (models/mini/card.yaml) names the sources that the model with the words never saw while it was trained: the methods
on it, and `logistic` of STORE beside them, are then judged on those alone, in a table of their own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.continued import fit_from
from aigiscan.classifiers.folds import out_of_fold, source_folds, train_test
from aigiscan.classifiers.grid import fit_grid
from aigiscan.classifiers.zero_shot import PROMPTS_FAKE, PROMPTS_REAL, prompt_features
from aigiscan.detector.table import sample_weights, table_from_store
from aigiscan.encoders import encoder_from_fingerprint
from aigiscan.evaluation.candidate import Candidate
from aigiscan.evaluation.heldout import Figures, held_out_figures
from aigiscan.evaluation.report import EvaluationReport
from aigiscan.evaluation.write import file_name, write_figures
from aigiscan.features.views import EmbeddingView
from aigiscan.images.equalize import Equalization
from aigiscan.images.measure import measure
from aigiscan.store import EmbeddingStore

#: for a few thousand standardised columns: about 1/n of the usual C
C, SVM_C = 1e-3, 1e-4
GRID_MAX_ITER = (10, 50, 100, 500)

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "logistic": ("logistic", {"C": C}),
    "logistic, no bias": ("logistic", {"C": C, "fit_intercept": False}),
    "residual": ("residual", {"standardize": True}),
    "svm": ("svm", {"C": SVM_C}),
    "knn, k = 1": ("knn", {"k": 1, "standardize": True}),
    "knn, k = 3": ("knn", {"k": 3, "standardize": True}),
    "knn, k = 5": ("knn", {"k": 5, "standardize": True}),
    "knn, k = 9": ("knn", {"k": 9, "standardize": True}),
    "mlp": ("mlp", {}),
    "linear-bce": ("linear-bce", {}),
    "tip-adapter, 50 shots, images alone": ("tip-adapter", {"standardize": True}),
    "tip-adapter-f, 50 shots, images alone": ("tip-adapter-f", {"standardize": True}),
    "multiclass-svm over generators": ("multiclass-svm", {"C": SVM_C}),
    "multiclass-svm over families": ("multiclass-svm", {"C": SVM_C, "families": "from data"}),
    "multiclass-mlp over generators": ("multiclass-mlp", {}),
    "multiclass-mlp over families": ("multiclass-mlp", {"families": "from data"}),
}
TEXT_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "zero-shot": ("zero-shot", {}),
    "tip-adapter, 50 shots": ("tip-adapter", {}),
    "tip-adapter-f, 50 shots": ("tip-adapter-f", {}),
    "logistic": ("logistic", {"C": 0.01}),
    "residual": ("residual", {}),
    "knn, k = 9": ("knn", {"k": 9}),
}


def held_out(candidate: Candidate, folds: np.ndarray, fit: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Score of every image by ``fit(training rows)`` of the folds that do not hold its source."""
    scores = np.full(len(folds), np.nan)
    for train, test in train_test(folds, candidate.groups):
        scores[test] = fit(train).decision_function(candidate.X[test])
    return scores


def weights(candidate: Candidate, rows: np.ndarray) -> np.ndarray:
    """The weights every method here is fitted with."""
    return sample_weights(candidate.labels[rows], candidate.sources[rows], "source")


def paper_grid(candidate: Candidate, rows: np.ndarray) -> Any:
    """Solver, C and iteration limit tuned on a fifth of the training side's sources.

    Without the limits 1,000 and 5,000: lbfgs has converged before 500 for every C, and there saga (25 ms an iteration
    of 1,700 × 3,186) would take four hours of a core.
    """
    inner = source_folds(candidate.labels[rows], candidate.sources[rows], candidate.groups[rows], 5, 0)
    fitted, _ = fit_grid(
        candidate.X[rows], candidate.labels[rows], inner == 0,
        sample_weight=weights(candidate, rows), standardize=True, max_iters=GRID_MAX_ITER,
    )  # fmt: skip
    return fitted


def continued(candidate: Candidate, rows: np.ndarray, second: np.ndarray) -> Any:
    """Fitted on the training rows outside ``second``, then trained further on those inside."""
    first, further = rows[~second[rows]], rows[second[rows]]
    fitted = candidate.fit(first, "source")
    return fit_from(fitted, candidate.X[further], candidate.labels[further], weights(candidate, further))


class Stack:
    """A meta-classifier on base classifiers; each base sees its own columns."""

    def __init__(
        self, candidate: Candidate, bases: list[tuple[np.ndarray, Callable[[], Any]]], rows: np.ndarray
    ) -> None:
        inner = source_folds(candidate.labels[rows], candidate.sources[rows], candidate.groups[rows], 5, 0)
        y, weight, keys = candidate.labels[rows], weights(candidate, rows), candidate.groups[rows]
        self.columns = [columns for columns, _ in bases]
        inside = np.column_stack(
            [
                out_of_fold(make(), candidate.X[np.ix_(rows, columns)], y, keys, sample_weight=weight, fold_ids=inner)
                for columns, make in bases
            ]
        )
        self.bases = [
            make().fit(candidate.X[np.ix_(rows, columns)], y, sample_weight=weight) for columns, make in bases
        ]
        self.meta = make_classifier("stacking").fit(inside, y, sample_weight=weight)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Scores (n,)."""
        columns = [base.predict_proba(X[:, c])[:, 1] for base, c in zip(self.bases, self.columns, strict=True)]
        return self.meta.decision_function(np.column_stack(columns))


def byte_counts(store: EmbeddingStore, rows: np.ndarray, kept: Path) -> np.ndarray | None:
    """JPEG bytes of every image after the store's equalisation; None where a file is gone. Remembered in ``kept``."""
    if kept.exists():
        return np.load(kept)
    spec = str(store.fingerprint.get("equalization", ""))
    records = [store.rows.record(int(i)) for i in rows]
    if not spec or not all(Path(record.path).is_file() for record in records):
        return None
    found = measure(records, perceptual=False, equalization=Equalization.parse(spec))
    counts = np.array([item.equalized_bytes for item in found], dtype=np.float64)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, counts)
    return counts


def table(figures: dict[str, Figures], seconds: dict[str, float]) -> str:
    """A Markdown table, best mean AUC first."""
    lines = [
        "| method | AUC | recall at 5 % false alarms | recall at 1 % false alarms | ECE "
        "| photographs called ai, 1 % promised (worst source) | 5 % promised (worst source) | fit and score, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, f in sorted(figures.items(), key=lambda item: -item[1].mean_auc.value):
        alarms = []
        for rate in (0.01, 0.05):
            worst = f.worst_source(rate)
            alarms.append(f"{f.false_alarms[rate]} ({worst.ai:.2f} of {worst.n}, {worst.source})" if worst else "")
        cells = (name, f.mean_auc, f.mean_recall_5, f.mean_recall_1, f"{f.ece:.3f}", *alarms, f"{seconds[name]:.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--text-store", help="the same images in a model with a text tower")
    parser.add_argument("--card", help="its card; names the sources it was not trained on")
    parser.add_argument("--only", action="append", default=[], help="methods whose name begins so (repeatable)")
    parser.add_argument("--skip", action="append", default=[], help="but not those (repeatable)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()

    with EmbeddingStore(given.store) as store:
        data = table_from_store(store)
        columns = np.array(encoder_from_fingerprint(store.fingerprint, device="cpu").columns())
        labelled = np.flatnonzero(np.asarray(store.rows.label) >= 0)
        counts = byte_counts(store, labelled, Path(given.output) / "scores" / "bytes.npy")
    base = Candidate.of("", data, EmbeddingView(), partial(make_classifier, "logistic", C=C))
    folds = source_folds(base.labels, base.sources, base.groups, 10, given.seed)
    jobs: dict[str, Callable[[], np.ndarray]] = {}

    def fixed(candidate: Candidate, name: str, classifier: str, params: dict[str, Any]) -> None:
        if params.get("families") == "from data":
            params = {**params, "families": dict(candidate.families)}
        chosen = replace(candidate, make=partial(make_classifier, classifier, **params))
        jobs[name] = lambda: held_out(chosen, folds, lambda rows: chosen.fit(rows, "source"))

    if counts is not None:
        size = np.log(counts)
        floor = replace(base, X=np.column_stack([size, size**2]), make=partial(make_classifier, "logistic"))
        jobs["floor: JPEG byte count alone"] = lambda: held_out(floor, folds, lambda rows: floor.fit(rows, "source"))
    for name, (classifier, params) in METHODS.items():
        fixed(base, name, classifier, params)
    jobs["logistic, paper's grid"] = lambda: held_out(base, folds, partial(paper_grid, base))
    wild = np.array(["/wild" in str(path) for path in base.paths])  # wild and wild2
    if wild.any() and not wild.all():
        jobs["logistic, first folders alone"] = lambda: held_out(
            base, folds, lambda rows: base.fit(rows[~wild[rows]], "source")
        )
        jobs["logistic, first folders, then continued"] = lambda: held_out(
            base, folds, lambda rows: continued(base, rows, wild)
        )
    of = np.array([column.rpartition(":")[0] for column in columns.tolist()])
    parts = {name: np.flatnonzero(of == name) for name in dict.fromkeys(of.tolist())}
    if {"lite", "spam"} <= set(parts):
        both = np.arange(len(columns))
        bases = [
            (parts["lite"], partial(make_classifier, "logistic", C=C)),
            (parts["spam"], partial(make_classifier, "logistic", C=C)),
            (both, partial(make_classifier, "residual", standardize=True)),
            (both, partial(make_classifier, "knn", standardize=True)),
        ]
        jobs["stacking of logistic on lite, on spam, residual, knn"] = lambda: held_out(
            base, folds, lambda rows: Stack(base, bases, rows)
        )
        for name, index in parts.items():
            one = replace(base, X=base.X[:, index])
            jobs[f"logistic on {name} alone"] = lambda one=one: held_out(  # type: ignore[misc]
                one, folds, lambda rows: one.fit(rows, "source")
            )
    with_words: set[str] = set()
    if given.text_store:
        with EmbeddingStore(given.text_store) as store:
            words = table_from_store(store)
            encoder = encoder_from_fingerprint(store.fingerprint, device="cpu")
        if words.text["sha256"].tolist() != data.text["sha256"].tolist():
            sys.exit("both stores must hold the same images")
        text = prompt_features(encoder.encode_text, PROMPTS_REAL, PROMPTS_FAKE)
        clip = Candidate.of("", words, EmbeddingView(), partial(make_classifier, "logistic"), text)
        for name, (classifier, params) in TEXT_METHODS.items():
            with_words.add(f"{encoder.name}: {name}")
            fixed(clip, f"{encoder.name}: {name}", classifier, params)

    unseen = np.ones(len(base.labels), dtype=bool)
    if given.card:
        card = yaml.safe_load(Path(given.card).read_text(encoding="utf-8"))
        unseen = np.isin(base.names.astype(str), card["data"]["kept_out"])
    everything, kept_out = (Judged(base, rows, given) for rows in (np.ones_like(unseen), unseen))
    for name, job in jobs.items():
        if (given.only and not name.startswith(tuple(given.only))) or (
            given.skip and name.startswith(tuple(given.skip))
        ):
            continue
        kept = Path(given.output) / "scores" / f"{file_name(name)}-{given.seed}.npz"
        if not kept.exists():
            began = time.perf_counter()
            scores = job()
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, scores=scores, seconds=time.perf_counter() - began)
        with np.load(kept) as saved:
            scores, seconds = saved["scores"], float(saved["seconds"])
        if name not in with_words or unseen.all():
            everything.add(name, scores, seconds)
        if not unseen.all() and (name in with_words or name == "logistic"):
            kept_out.add(name if name in with_words else f"{name} of {Path(given.store).name}", scores, seconds)
    for judged, title in (
        (everything, "Classifiers on generators and photo sources never seen"),
        (kept_out, "Words on generators and photo sources that their model never saw either"),
    ):
        if judged.figures:
            judged.write(title)


class Judged:
    """Figures of several methods on the same images."""

    def __init__(self, base: Candidate, rows: np.ndarray, given: argparse.Namespace) -> None:
        self.base, self.rows, self.given = base, rows, given
        self.figures: dict[str, Figures] = {}
        self.seconds: dict[str, float] = {}

    def add(self, name: str, scores: np.ndarray, seconds: float) -> None:
        """Judge a method; scores (n,) of all images."""
        base, given, rows = self.base, self.given, self.rows
        found = held_out_figures(
            scores[rows],
            *(kind[rows] for kind in (base.labels, base.names, base.groups)),
            base.families,
            units=base.sources[rows],
            draws=given.draws,
            seed=given.seed,
        )
        self.figures[name], self.seconds[name] = found, seconds
        print(f"{name}: AUC {found.mean_auc}, recall at 5 % {found.mean_recall_5}", file=sys.stderr, flush=True)

    def write(self, title: str) -> None:
        """The page, its tables and a Markdown table, which is printed too."""
        folder = Path(self.given.output) / ("" if self.rows.all() else "kept_out")
        report = EvaluationReport(folder, title)
        count = f"{int(self.rows.sum())} images, ten folds that leave out whole generators and photo sources at once."
        write_figures(report, "classifiers", "Classifiers", count, self.figures, {})
        report.write()
        text = table(self.figures, self.seconds)
        (folder / "table.md").write_text(text + "\n", encoding="utf-8")
        print(f"{title}\n\n{text}\n")


if __name__ == "__main__":
    main()
