"""The search over a pair of generators: both directions, cut at the best score, the union of what remains."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aigiscan.errors import InputError
from aigiscan.features.selection import COMPONENTS, FORMAT, column_names, versions
from aigiscan.search.cluster import run_jobs
from aigiscan.search.greedy import GreedySearch, Removal, SearchOptions
from aigiscan.search.journal import Journal
from aigiscan.search.problem import Problem, counts
from aigiscan.search.scores import by_chance
from aigiscan.search.split import search_rows
from aigiscan.store import EmbeddingStore


@dataclass(frozen=True, slots=True)
class DirectionResult:
    """One direction: columns in the order of removal, the score after each, the score with all (``baseline``).

    rows: photographs and fakes of both sides. best_step: number of removals with the best score (0: none), the first of
    equals. chance: what the best of so many candidates is likely to reach where the features know nothing. counters:
    what the search did.
    """

    train: str
    test: str
    rows: dict[str, dict[str, int]]
    removed: tuple[int, ...]
    scores: tuple[float, ...]
    baseline: float
    best_step: int
    chance: float
    counters: dict[str, Any] = field(compare=False)

    @property
    def best_score(self) -> float:
        """The score at the cut."""
        return max([self.baseline, *self.scores])

    def kept(self, width: int) -> np.ndarray:
        """Columns left at the best score, ascending."""
        return np.setdiff1d(np.arange(width), self.removed[: self.best_step])


@dataclass(frozen=True, slots=True)
class PairResult:
    """Both directions of a pair and the union of what they keep, ascending."""

    pair: tuple[str, str]
    directions: tuple[DirectionResult, DirectionResult]
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DirectionJob:
    """What a worker gets."""

    problem: Problem
    options: SearchOptions
    journal: str
    threads: int


def pair_problems(
    store: EmbeddingStore, pair: tuple[str, str], *, seed: int = 0, standardize: bool = False
) -> tuple[Problem, Problem]:
    """Both directions of a pair: fit on one generator's fakes and the photographs of the training side, score on the
    other's and those of the test side. standardize: columns scaled to zero mean and unit variance of the training rows.
    """
    if pair[0] == pair[1]:
        raise InputError(f"--pair {pair[0]} {pair[1]}: two different generators are needed")
    rows = search_rows(store, pair, seed)
    problems = []
    for train, test in (pair, pair[::-1]):
        train_rows, y = rows.side(train, rows.train)
        test_rows, z = rows.side(test, rows.test)
        X, T = store.read(rows=train_rows), store.read(rows=test_rows)
        if standardize:
            mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
            scale[scale == 0] = 1.0
            X, T = (X - mean) / scale, (T - mean) / scale
        problems.append(Problem(X, y, T, z, column_names(store.fingerprint, X.shape[1]), train, test))
    return problems[0], problems[1]


def search_pairs(
    pairs: Sequence[tuple[Problem, Problem]],
    options: SearchOptions,
    *,
    jobs: int = 1,
    scheduler: str = "",
    journals: Path | None = None,
    done: Callable[[DirectionResult], None] = lambda _: None,
) -> list[PairResult]:
    """Search all pairs, every direction a job of its own.

    jobs: processes here; scheduler: address of a Dask scheduler instead. journals: file name to which each direction
    adds a digest and ``.progress``; a search that was cut goes on from there. done: called as directions finish.
    """
    problems = [problem for pair in pairs for problem in pair]
    jobs = max(1, min(jobs, len(problems)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    tasks = [
        DirectionJob(problem, options, str(_journal_path(journals, problem, options).absolute()) if journals else "",
                     0 if scheduler else threads)
        for problem in problems
    ]  # fmt: skip
    results: list[DirectionResult] = []
    for result in run_jobs(search_direction, tasks, jobs=jobs, scheduler=scheduler):
        done(result)
        results.append(result)
    found = []
    for k, (forth, back) in enumerate(pairs):
        directions = (results[2 * k], results[2 * k + 1])
        kept = np.union1d(*(d.kept(len(forth.columns)) for d in directions))
        found.append(PairResult((forth.train, back.train), directions, tuple(int(c) for c in kept)))
    return found


def progress(
    pairs: Sequence[tuple[Problem, Problem]], options: SearchOptions, journals: Path
) -> list[tuple[str, int, Callable[[], int]]]:
    """(which direction, how many steps it has, how many are done) of each search; of those that run elsewhere too."""
    found = []
    for problem in (problem for pair in pairs for problem in pair):
        steps = len(problem.columns) - 1
        journal = Journal(_journal_path(journals, problem, options), _key(problem, options))
        found.append((f"{problem.train} → {problem.test}", min(steps, options.max_steps or steps), journal.steps))
    return found


def remove_journals(pairs: Sequence[tuple[Problem, Problem]], options: SearchOptions, journals: Path) -> None:
    """Delete the progress of searches whose result is written."""
    for problem in (problem for pair in pairs for problem in pair):
        _journal_path(journals, problem, options).unlink(missing_ok=True)


def search_direction(job: DirectionJob) -> DirectionResult:
    """One direction from start, or from where its journal ends, to the end."""
    problem, options = job.problem, job.options
    journal = Journal(Path(job.journal), _key(problem, options)) if job.journal else None
    baseline, removals = journal.read() if journal else (None, [])
    removals = removals[: options.max_steps or None]
    search = GreedySearch(problem, options, removed=[r.column for r in removals], threads=job.threads)
    if baseline is None:
        baseline = search.baseline
        if journal:
            journal.begin(baseline)
    for removal in search:
        removals.append(removal)
        if journal:
            journal.add(len(removals), removal)
    return _result(problem, options, baseline, removals, asdict(search.counters))


def _result(
    problem: Problem, options: SearchOptions, baseline: float, removals: list[Removal], counters: dict[str, Any]
) -> DirectionResult:
    width, steps = len(problem.columns), len(removals)
    candidates = 1 + steps * width - steps * (steps - 1) // 2
    curve = [baseline, *(removal.score for removal in removals)]
    return DirectionResult(
        train=problem.train,
        test=problem.test,
        rows={"train": counts(problem.y), "test": counts(problem.z)},
        removed=tuple(removal.column for removal in removals),
        scores=tuple(curve[1:]),
        baseline=baseline,
        best_step=int(np.argmax(curve)),
        chance=by_chance(options.score, problem.z, candidates),
        counters=counters,
    )


def as_yaml(store: EmbeddingStore, found: PairResult, options: SearchOptions, settings: dict[str, Any]) -> dict:
    """The selection file of one pair; docs/search.md names its keys."""
    width = store.channels["embedding"].shape[0]
    names = column_names(store.fingerprint, width)
    return {
        "kind": COMPONENTS,
        "format": FORMAT,
        "encoder": store.fingerprint,
        "pair": list(found.pair),
        "C": options.C,
        "score": options.score,
        "intercept": options.intercept,
        **settings,
        "kept": [names[i] for i in found.kept],
        "directions": [
            {
                "train": direction.train,
                "test": direction.test,
                "rows": direction.rows,
                "baseline": direction.baseline,
                "best_step": direction.best_step,
                "best_score": direction.best_score,
                "chance": direction.chance,
                "removed": [names[i] for i in direction.removed],
                "scores": [float(score) for score in direction.scores],
                "counters": direction.counters,
            }
            for direction in found.directions
        ],
        "versions": versions(),
    }


def _key(problem: Problem, options: SearchOptions) -> str:
    # max_steps is not part of it: a longer search goes on from a shorter one
    settings = f"{options.C!r} {options.score} {options.intercept}"
    return hashlib.sha256(f"{problem.digest()} {settings}".encode()).hexdigest()


def _journal_path(journals: Path, problem: Problem, options: SearchOptions) -> Path:
    return journals.with_name(f".{journals.name}.{_key(problem, options)[:12]}.progress")
