"""Which parts of an encoder transfer: one regression per part, and small sets of them (Gaintseva et al., section 4).

A part is an attention head (:mod:`aigiscan.search.heads`) or a layer (:mod:`aigiscan.search.layers`). As in the paper,
training hyperparameters may be tuned on the same validation set that chooses the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from aigiscan.errors import InputError
from aigiscan.features.selection import FORMAT, HEADS, LAYERS, versions
from aigiscan.search.cluster import run_jobs
from aigiscan.search.greedy import SearchOptions
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import check_classes, counts
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES, by_chance, log_loss
from aigiscan.search.split import search_rows
from aigiscan.store import EmbeddingStore

STRATEGIES = ("top", "forward", "pairs")
Part = tuple[int, ...]
#: kind of selection → what the numbers of a part are
PART_KEYS = {HEADS: ("layer", "head"), LAYERS: ("layer",)}


@dataclass(frozen=True, slots=True)
class PartScore:
    """One part, or one set of them concatenated, on the validation side; C: the inverse penalty it was fitted with."""

    parts: tuple[Part, ...]
    score: float
    log_loss: float
    C: float


@dataclass(frozen=True, slots=True)
class PartSearch:
    """ranking: every part alone, best first. kept: the chosen set, best first, and its score together."""

    ranking: tuple[PartScore, ...]
    kept: tuple[Part, ...]
    together: PartScore


@dataclass(frozen=True, slots=True)
class PartData:
    """X (parts, n, k) and T (parts, n_test, k): features of every part in ``names``, float32; y, z: True = fake."""

    names: tuple[Part, ...]
    X: np.ndarray
    y: np.ndarray
    T: np.ndarray
    z: np.ndarray


@dataclass(frozen=True, slots=True)
class _Job:
    sets: tuple[tuple[int, ...], ...]
    data: PartData
    options: SearchOptions
    Cs: tuple[float, ...]


def part_rows(
    store: EmbeddingStore, train: str, validate: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rows to fit, which are fakes, rows to validate on, which are fakes) of a pair of generators."""
    if train == validate:
        raise InputError(f"--train {train} --validate {validate}: two different generators are needed")
    rows = search_rows(store, (train, validate), seed)
    train_rows, y = rows.side(train, rows.train)
    test_rows, z = rows.side(validate, rows.test)
    for name, labels in (("training", y), ("validation", z)):
        check_classes(name, labels)
    return train_rows, y, test_rows, z


def search_parts(
    data: PartData,
    options: SearchOptions,
    *,
    top: int = 3,
    strategy: str = "top",
    among: int = 0,
    jobs: int = 1,
    scheduler: str = "",
    Cs: Sequence[float] = (),
) -> PartSearch:
    """Rank all parts alone, then choose ``top`` of them.

    strategy "top": the best ones alone, as in the paper. "forward": the best one, then at every step the part that is
    best together with those chosen. "pairs": the best of all pairs (``top`` is then 2). among: forward and pairs look
    at so many of the best parts only (0: all). Cs: every regression is fitted with each of these inverse penalties, and
    counts with the best ("For training hyperparameter search, the same validation set is used as for choosing attention
    heads", section 4); none: with that of ``options``. Ties: smaller log loss, then lower part, then lower C.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"--strategy {strategy} is not known: use {', '.join(STRATEGIES)}")
    count = len(data.names)
    if not 1 <= top <= count:
        raise InputError(f"--top {top}: the store has {count}")

    def judge(sets: Sequence[tuple[int, ...]]) -> list[PartScore]:
        return _judge(sets, data, options, tuple(Cs) or (options.C,), jobs, scheduler)

    alone = judge([(i,) for i in range(count)])
    order = _rank(alone)
    ranking = tuple(alone[i] for i in order)
    pool = order[: among or count]
    if strategy == "top":
        chosen = tuple(order[:top])
        together = judge([chosen])[0]
    elif strategy == "pairs":
        if len(pool) < 2:
            raise InputError("--strategy pairs needs at least two to choose from")
        sets = [tuple(pair) for pair in combinations(sorted(pool), 2)]
        scores = judge(sets)
        together, chosen = _best(scores, sets)
    else:
        chosen, together = (order[0],), alone[order[0]]
        for _ in range(top - 1):
            sets = [(*chosen, i) for i in sorted(pool) if i not in chosen]
            if not sets:
                break
            together, chosen = _best(judge(sets), sets)
    return PartSearch(ranking, tuple(data.names[i] for i in chosen), together)


def _best(scores: list[PartScore], sets: list[tuple[int, ...]]) -> tuple[PartScore, tuple[int, ...]]:
    best = _rank(scores)[0]
    return scores[best], sets[best]


def _rank(scores: Sequence[PartScore]) -> list[int]:
    """Best first; equal scores by log loss, equal log losses by position. Rounded, so that equal means equal."""
    keys = [(-round(s.score / SCORE_TIE) * SCORE_TIE, round(s.log_loss / LOSS_TIE), i) for i, s in enumerate(scores)]
    return [i for *_, i in sorted(keys)]


def _judge(
    sets: Sequence[tuple[int, ...]],
    data: PartData,
    options: SearchOptions,
    Cs: tuple[float, ...],
    jobs: int,
    scheduler: str,
) -> list[PartScore]:
    lots = 1 if jobs == 1 and not scheduler else max(1, min(len(sets), 4 * max(jobs, 4)))
    pieces = [tuple(sets[i] for i in part) for part in np.array_split(np.arange(len(sets)), lots) if len(part)]
    tasks = [_Job(piece, data, options, Cs) for piece in pieces]
    return [score for scores in run_jobs(score_sets, tasks, jobs=jobs, scheduler=scheduler) for score in scores]


def score_sets(job: _Job) -> list[PartScore]:
    """One regression for each set of parts and each C, on their columns side by side; the best C counts."""
    from threadpoolctl import threadpool_limits

    data, options = job.data, job.options
    out = []
    # Several BLAS threads gain nothing on so few columns, and wait for each other for minutes where a core is busy.
    with threadpool_limits(1, user_api="blas"):
        for members in job.sets:
            X = np.concatenate([data.X[i] for i in members], axis=1).astype(np.float64)
            T = np.concatenate([data.T[i] for i in members], axis=1).astype(np.float64)
            found, start = [], None
            for C in sorted(job.Cs):
                fit = fit_logistic(X, data.y, C, intercept=options.intercept, start=start)
                start = np.append(fit.weights, fit.intercept) if options.intercept else fit.weights
                margins = (T @ fit.weights + fit.intercept)[None]
                score = float(SCORES[options.score](margins, data.z)[0])
                names = tuple(data.names[i] for i in members)
                found.append(PartScore(names, score, float(log_loss(margins, data.z)[0]), C))
            out.append(found[_rank(found)[0]])
    return out


def as_yaml(
    kind: str,
    fingerprint: Mapping[str, Any],
    sides: tuple[str, str],
    data: PartData,
    found: PartSearch,
    options: SearchOptions,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The selection file; docs/search.md names its keys. kind: heads or layers; sides: the two generators."""
    keys = PART_KEYS[kind]
    return {
        "kind": kind,
        "format": FORMAT,
        "encoder": dict(fingerprint),
        "train": sides[0],
        "validate": sides[1],
        "rows": {"train": counts(data.y), "validate": counts(data.z)},
        "C": found.together.C,
        "score": options.score,
        "intercept": options.intercept,
        **settings,
        "chance": by_chance(options.score, data.z, len(data.names)),
        "kept": [list(part) if len(part) > 1 else part[0] for part in found.kept],
        "kept_score": found.together.score,
        "ranking": [
            {**dict(zip(keys, s.parts[0], strict=True)), "score": s.score, "log_loss": s.log_loss, "C": s.C}
            for s in found.ranking
        ],
        "versions": versions(),
    }


def score_grid(ranking: Iterable[PartScore], shape: tuple[int, ...]) -> np.ndarray:
    """Scores as an array over parts: (layers, heads), or (layers,)."""
    grid = np.full(shape, np.nan)
    for score in ranking:
        grid[score.parts[0]] = score.score
    return grid
