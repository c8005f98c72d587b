"""Problems and stores whose answer is known, for the tests of the searches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aigiscan.encoders.base import ChannelSpec
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded
from aigiscan.search.greedy import Removal, SearchOptions
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.problem import Problem
from aigiscan.search.scores import LOSS_TIE, SCORE_TIE, SCORES, log_loss
from aigiscan.store import StoreWriter

FINGERPRINT = {"name": "planted", "weights": "", "preprocessing": {}, "precision": "fp32", "equalization": ""}


def one_fit_per_candidate(problem: Problem, options: SearchOptions) -> tuple[float, list[Removal]]:
    """The slow method: at each step a converged regression without each column, scored; the best one goes."""
    X, T = np.asarray(problem.X, float), np.asarray(problem.T, float)

    def judge(columns: list[int]) -> tuple[float, float]:
        fit = fit_logistic(np.ascontiguousarray(X[:, columns]), problem.y, options.C, intercept=options.intercept)
        margins = (T[:, columns] @ fit.weights + fit.intercept)[None]
        return float(SCORES[options.score](margins, problem.z)[0]), float(log_loss(margins, problem.z)[0])

    active = list(range(X.shape[1]))
    baseline, _ = judge(active)
    removals: list[Removal] = []
    while len(active) > 1 and not (options.max_steps and len(removals) == options.max_steps):
        found = [judge([c for c in active if c != candidate]) for candidate in active]
        scores, losses = np.array(found).T
        best = np.flatnonzero(scores >= scores.max() - SCORE_TIE)
        best = best[losses[best] <= losses[best].min() + LOSS_TIE]
        removals.append(Removal(active[best[0]], scores[best[0]], losses[best[0]]))
        del active[best[0]]
    return baseline, removals


def random_problem(
    seed: int,
    *,
    n: int = 120,
    n_test: int = 80,
    d: int = 12,
    shift: float = 0.5,
    fakes: float = 0.5,
    mixing: float = 0.0,
    copies: int = 0,
    constant: bool = False,
) -> Problem:
    """Two generators that share half of what gives them away.

    shift: size of it; 3 and more is separable. fakes: their share. mixing: correlation of the columns. copies: so many
    columns are there twice. constant: one column is the same everywhere, another is 0.
    """
    rng = np.random.default_rng(seed)
    y, z = rng.random(n) < fakes, rng.random(n_test) < fakes
    y[:2], z[:2] = (False, True), (False, True)
    mix = np.eye(d) + mixing * rng.normal(size=(d, d))
    one = rng.normal(size=d) * shift
    other = one + rng.normal(size=d) * shift * 0.7
    X = rng.normal(size=(n, d)) @ mix + np.outer(y, one)
    T = rng.normal(size=(n_test, d)) @ mix + np.outer(z, other)
    for c in range(copies):
        X[:, d - 1 - c], T[:, d - 1 - c] = X[:, c], T[:, c]
    if constant:
        X[:, 1] = T[:, 1] = 2.0
        X[:, 4] = T[:, 4] = 0.0
    return Problem(X, y, T, z, tuple(f"c:{i}" for i in range(d)), "a", "b")


def write_store(
    path: Path,
    channels: dict[str, np.ndarray],
    label: list[int],
    generator: list[str],
    *,
    split: list[str] | None = None,
    group: list[str] | None = None,
    fingerprint: dict | None = None,
    first: int = 0,
) -> Path:
    """A store of rows 000000, 000001, … (from ``first`` on) with these channels (n, …)."""
    n = len(label)
    rows = [
        Encoded(
            ImageRecord(
                f"/images/{first + i:06d}.png",
                label=None if label[i] < 0 else label[i],
                generator=generator[i],
                split=split[i] if split else "",
                group=group[i] if group else "",
            ),
            FileFacts(width=8, height=8, format="PNG", bytes=1, sha256=f"{first + i:064x}", mtime_ns=1),
            {name: values[i] for name, values in channels.items()},
        )
        for i in range(n)
    ]
    specs = {name: ChannelSpec(values.shape[1:]) for name, values in channels.items()}
    with StoreWriter(path, fingerprint or FINGERPRINT, specs) as writer:
        writer.append(rows)
    return path


#: planted columns: harmful ones tell the training generator alone, and mislead on the other
GOOD, HARMFUL = (2, 9), (5, 11, 14)


def planted_pair(seed: int, *, n: int = 240, d: int = 16) -> tuple[np.ndarray, list[int], list[str]]:
    """(embedding (3n, d), labels, generators) of photographs and two generators.

    Columns GOOD tell both generators from photographs. In columns HARMFUL the two lie on opposite sides of the
    photographs, so that what is learnt of one there is wrong for the other. The others are noise.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3 * n, d)).astype(np.float32)
    generator = ["", "a", "b"]
    for k, towards in ((1, 1.0), (2, -1.0)):
        rows = slice(k * n, (k + 1) * n)
        X[rows, list(GOOD)] += 1.5
        X[rows, list(HARMFUL)] += 2.0 * towards
    label = [0] * n + [1] * 2 * n
    return X, label, [generator[i // n] for i in range(3 * n)]
