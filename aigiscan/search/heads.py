"""Which attention heads transfer: one regression per head, and small sets of them (paper 000, section 4).

Features of head (l, h) are its contribution to the embedding, ``E = (1/σ) z M`` (see :mod:`aigiscan.encoders.heads`).
With ``M = R Q``, the rows of Q orthonormal, ``E u = (1/σ) z R (Q u)`` and only the part of u in the rows of Q is worth
its penalty: a regression on ``(1/σ) z R`` (d_head columns) has the same optimum as one on E (d columns), and the same
scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from aigiscan.errors import InputError
from aigiscan.features.selection import FORMAT, HEADS, versions
from aigiscan.features.views import head_factors
from aigiscan.search.cluster import run_jobs
from aigiscan.search.greedy import SearchOptions
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import Problem
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES, log_loss
from aigiscan.search.split import search_rows
from aigiscan.store import EmbeddingStore

STRATEGIES = ("top", "forward", "pairs")
Head = tuple[int, int]


@dataclass(frozen=True, slots=True)
class HeadScore:
    """One head, or one set of them concatenated, on the validation side."""

    heads: tuple[Head, ...]
    score: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class HeadSearch:
    """ranking: every head alone, best first. kept: the chosen set, best first, and its score together."""

    ranking: tuple[HeadScore, ...]
    kept: tuple[Head, ...]
    together: HeadScore


@dataclass(frozen=True, slots=True)
class HeadData:
    """X (heads, n, k) and T (heads, n_test, k): ``z R / σ`` of every head in ``names``, float32; y, z: True = fake."""

    names: tuple[Head, ...]
    X: np.ndarray
    y: np.ndarray
    T: np.ndarray
    z: np.ndarray


@dataclass(frozen=True, slots=True)
class _Job:
    sets: tuple[tuple[int, ...], ...]
    data: HeadData
    options: SearchOptions


def store_factors(store: EmbeddingStore) -> np.ndarray:
    """R (layers, heads, d_head, k) of the encoder of a store."""
    for channel in ("heads", "sigma"):
        store.read(channel, rows=[])  # says what to do where there is none
    return head_factors(store.fingerprint)


def head_data(store: EmbeddingStore, train: str, validate: str, factors: np.ndarray, *, seed: int = 0) -> HeadData:
    """Features of all heads: the training generator's fakes and photographs of the training side, the validation
    generator's and photographs of the test side. factors: :func:`store_factors`."""
    if train == validate:
        raise InputError(f"--train {train} --validate {validate}: two different generators are needed")
    rows = search_rows(store, (train, validate), seed)
    train_rows, y = rows.side(train, rows.train)
    test_rows, z = rows.side(validate, rows.test)
    names = tuple((layer, head) for layer in range(factors.shape[0]) for head in range(factors.shape[1]))
    sides = []
    for chosen in (train_rows, test_rows):
        sigma = store.read("sigma", rows=chosen).reshape(-1, 1)
        side = np.empty((len(names), len(chosen), factors.shape[-1]), dtype=np.float32)
        for layer in range(factors.shape[0]):
            block = store.read("heads", rows=chosen, columns=[(layer, h) for h in range(factors.shape[1])])
            for head in range(factors.shape[1]):
                side[layer * factors.shape[1] + head] = block[:, head] @ factors[layer, head] / sigma
        sides.append(side)
    for name, labels in (("training", y), ("validation", z)):
        Problem(np.zeros((len(labels), 1)), labels, np.zeros((2, 1)), np.array([True, False]), ("",), name, name)
    return HeadData(names, sides[0], y, sides[1], z)


def search_heads(
    data: HeadData,
    options: SearchOptions,
    *,
    top: int = 3,
    strategy: str = "top",
    among: int = 0,
    jobs: int = 1,
    scheduler: str = "",
) -> HeadSearch:
    """Rank all heads alone, then choose ``top`` of them.

    strategy "top": the best ones alone, as in the paper. "forward": the best one, then at every step the head that is
    best together with those chosen. "pairs": the best of all pairs (``top`` is then 2). among: forward and pairs look
    at so many of the best heads only (0: all). Ties: smaller log loss, then lower layer and head.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"--strategy {strategy} is not known: use {', '.join(STRATEGIES)}")
    count = len(data.names)
    if not 1 <= top <= count:
        raise InputError(f"--top {top}: the store has {count} heads")

    def judge(sets: Sequence[tuple[int, ...]]) -> list[HeadScore]:
        return _judge(sets, data, options, jobs, scheduler)

    alone = judge([(i,) for i in range(count)])
    order = _rank(alone)
    ranking = tuple(alone[i] for i in order)
    pool = order[: among or count]
    if strategy == "top":
        chosen = tuple(order[:top])
        together = judge([chosen])[0]
    elif strategy == "pairs":
        if len(pool) < 2:
            raise InputError("--strategy pairs needs at least two heads to choose from")
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
    return HeadSearch(ranking, tuple(data.names[i] for i in chosen), together)


def _best(scores: list[HeadScore], sets: list[tuple[int, ...]]) -> tuple[HeadScore, tuple[int, ...]]:
    best = _rank(scores)[0]
    return scores[best], sets[best]


def _rank(scores: Sequence[HeadScore]) -> list[int]:
    """Best first; equal scores by log loss, equal log losses by position. Rounded, so that equal means equal."""
    keys = [(-round(s.score / SCORE_TIE) * SCORE_TIE, round(s.log_loss / LOSS_TIE), i) for i, s in enumerate(scores)]
    return [i for *_, i in sorted(keys)]


def _judge(
    sets: Sequence[tuple[int, ...]], data: HeadData, options: SearchOptions, jobs: int, scheduler: str
) -> list[HeadScore]:
    lots = 1 if jobs == 1 and not scheduler else max(1, min(len(sets), 4 * max(jobs, 4)))
    pieces = [tuple(sets[i] for i in part) for part in np.array_split(np.arange(len(sets)), lots) if len(part)]
    tasks = [_Job(piece, data, options) for piece in pieces]
    return [score for scores in run_jobs(score_sets, tasks, jobs=jobs, scheduler=scheduler) for score in scores]


def score_sets(job: _Job) -> list[HeadScore]:
    """One regression for each set of heads, on their columns side by side."""
    from threadpoolctl import threadpool_limits

    data, options = job.data, job.options
    out = []
    # Several BLAS threads gain nothing on so few columns, and wait for each other for minutes where a core is busy.
    with threadpool_limits(1, user_api="blas"):
        for members in job.sets:
            X = np.concatenate([data.X[i] for i in members], axis=1).astype(np.float64)
            T = np.concatenate([data.T[i] for i in members], axis=1).astype(np.float64)
            fit = fit_logistic(X, data.y, options.C, intercept=options.intercept)
            margins = (T @ fit.weights + fit.intercept)[None]
            score = float(SCORES[options.score](margins, data.z)[0])
            names = tuple(data.names[i] for i in members)
            out.append(HeadScore(names, score, float(log_loss(margins, data.z)[0])))
    return out


def as_yaml(
    fingerprint: Mapping[str, Any], train: str, validate: str, found: HeadSearch, options: SearchOptions, settings: dict
) -> dict:
    """The selection file; docs/search.md names its keys."""
    return {
        "kind": HEADS,
        "format": FORMAT,
        "encoder": dict(fingerprint),
        "train": train,
        "validate": validate,
        "C": options.C,
        "score": options.score,
        "intercept": options.intercept,
        **settings,
        "kept": [list(head) for head in found.kept],
        "kept_score": found.together.score,
        "ranking": [
            {"layer": s.heads[0][0], "head": s.heads[0][1], "score": s.score, "log_loss": s.log_loss}
            for s in found.ranking
        ],
        "versions": versions(),
    }


def score_grid(ranking: Iterable[HeadScore], shape: tuple[int, int]) -> np.ndarray:
    """Scores as (layers, heads)."""
    grid = np.full(shape, np.nan)
    for score in ranking:
        grid[score.heads[0]] = score.score
    return grid
