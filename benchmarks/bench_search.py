"""The searches against one fit per candidate: prints markdown. Synthetic features; nothing is read or downloaded.

python benchmarks/bench_search.py            # all; about five minutes on two cores
python benchmarks/bench_search.py path small # by name: path, small, large, heads
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from aigiscan.search.features import search_pairs
from aigiscan.search.greedy import GreedySearch, SearchOptions
from aigiscan.search.parts import PartData, search_parts
from aigiscan.search.problem import Problem

C = 1.0


def embedding_like(n: int, n_test: int, d: int, seed: int = 0) -> tuple[Problem, Problem]:
    """Both directions of a pair with the spectrum of a CLIP embedding: a few strong directions, some outlier columns,
    two generators that share part of what gives them away."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    spectrum = np.arange(1, d + 1) ** -0.5
    spectrum /= np.sqrt(np.mean(spectrum**2))
    mean = rng.normal(size=d) * 0.5
    mean[rng.integers(d, size=3)] += 6
    common = rng.normal(size=d) * 0.08
    own = rng.normal(size=(2, d)) * 0.15 * (rng.random((2, d)) < 0.3)

    def rows(count: int, generator: int) -> tuple[np.ndarray, np.ndarray]:
        fake = np.arange(count) >= count // 2
        X = (rng.normal(size=(count, d)) * spectrum) @ rotation + mean
        X[fake] += common + own[generator]
        return (0.3 * X).astype(np.float32), fake

    names = tuple(f"c:{i}" for i in range(d))
    sides = [(rows(n, g), rows(n_test, g)) for g in range(2)]
    problems = [
        Problem(*sides[a][0], *sides[1 - a][1], names, "ab"[a], "ba"[a])
        for a in range(2)
    ]  # fmt: skip
    return problems[0], problems[1]


def seconds(work: Callable[..., object], *arguments: object, repeat: int = 1) -> float:
    """The best of some runs."""
    best = np.inf
    for _ in range(repeat):
        start = time.perf_counter()
        work(*arguments)
        best = min(best, time.perf_counter() - start)
    return float(best)


def fit_seconds(problem: Problem, width: int, tol: float, threads: int | None) -> float:
    """One scikit-learn fit (lbfgs). At its default tolerance, 1e-4, weights are too rough to tell candidates apart;
    1e-8 gives the converged fit that the search reproduces. threads: of BLAS, None for what it takes by itself."""
    X = np.ascontiguousarray(problem.X[:, :width], dtype=np.float64)
    model = LogisticRegression(C=C, fit_intercept=False, max_iter=10_000, tol=tol)
    with threadpool_limits(threads):  # two BLAS threads made these small fits slower here, by far on a busy machine
        return seconds(lambda: model.fit(X, problem.y), repeat=3)


def path() -> None:
    """d = 768, n = 1,400, both directions to the end, on two cores."""
    pair = embedding_like(1400, 600, 768)
    results = []
    ours = seconds(lambda: results.extend(search_pairs([pair], SearchOptions(C=C), jobs=2)))
    widths = (767, 512, 384, 256, 128, 64, 16)
    k = np.arange(1, 768)
    references = []
    for threads, tol in ((1, 1e-8), (None, 1e-8), (1, 1e-4), (None, 1e-4)):
        times = [fit_seconds(pair[0], width, tol, threads) for width in widths]
        one_direction = float(np.sum((k + 1) * np.interp(k, widths[::-1], times[::-1])))
        # One thread: both directions beside each other. All threads: one direction after the other.
        total = one_direction * (1 if threads else 2)
        how = "one BLAS thread each, two at a time" if threads else "default BLAS threads, one at a time"
        what = f"{'converged (tol 1e-8)' if tol == 1e-8 else 'default tolerance'}, {how}"
        one = ", ".join(f"d = {w}: {1000 * t:.1f}" for w, t in zip(widths, times, strict=True))
        references.append((what, total, one))
    print("\n### select-features, d = 768, 1,400 rows to fit and 600 to score, both directions\n")
    print("| | seconds | ratio |\n|---|---|---|")
    print(f"| select-features, 2 processes | {ours:.1f} | |")
    for what, total, _ in references:
        print(f"| one scikit-learn fit per candidate, {what}, summed | {total:,.0f} | {total / ours:,.0f} × |")
    for what, _, one in references:
        print(f"\none fit, {what} (ms): {one}")
    for direction in results[0].directions:
        best = max(direction.scores)
        print(
            f"\n{direction.train} → {direction.test}: {direction.baseline:.4f} with all, {best:.4f} after "
            f"{direction.best_step} removals; {direction.counters}"
        )
    print(f"\n{len(results[0].kept)} columns kept")


def one_fit_per_candidate(problem: Problem) -> list[int]:
    """The slow method with scikit-learn."""
    active, removed = list(range(problem.X.shape[1])), []
    while len(active) > 1:
        scores = []
        for candidate in active:
            rest = [c for c in active if c != candidate]
            model = LogisticRegression(C=C, fit_intercept=False, max_iter=1000).fit(problem.X[:, rest], problem.y)
            scores.append(model.score(problem.T[:, rest], problem.z))
        removed.append(active.pop(int(np.argmax(scores))))
    return removed


def search_to_the_end(problem: Problem) -> list[int]:
    """What one direction removes, in order."""
    return [removal.column for removal in GreedySearch(problem, SearchOptions(C=C))]


def small() -> None:
    """Sizes at which the slow methods finish; how all grow with d."""
    print(
        "\n### Against scikit-learn where it finishes (600 rows to fit, 300 to score, one direction, one thread each)\n"
    )
    print("| d | select-features | SequentialFeatureSelector backward | one fit per candidate | ratios |")
    print("|---|---|---|---|---|")
    logs = []
    for d in (16, 32, 48, 64):
        problem, _ = embedding_like(600, 300, d)
        ours = seconds(search_to_the_end, problem, repeat=2)
        X = np.concatenate([problem.X, problem.T])
        y = np.concatenate([problem.y, problem.z])
        fold = [(np.arange(600), np.arange(600, 900))]
        selector = SequentialFeatureSelector(
            LogisticRegression(C=C, fit_intercept=False, max_iter=1000),
            n_features_to_select=1, direction="backward", scoring="accuracy", cv=fold,
        )  # fmt: skip
        theirs = seconds(selector.fit, X, y)
        slow = seconds(one_fit_per_candidate, problem)
        logs.append((np.log(d), np.log(ours), np.log(theirs), np.log(slow)))
        print(f"| {d} | {ours:.2f} s | {theirs:.1f} s | {slow:.1f} s | {theirs / ours:.0f} ×, {slow / ours:.0f} × |")
    table = np.array(logs)
    growth = [np.polyfit(table[:, 0], table[:, k], 1)[0] for k in (1, 2, 3)]
    print(f"\ngrowth with d: d^{growth[0]:.1f}, d^{growth[1]:.1f}, d^{growth[2]:.1f}")


def large() -> None:
    """Many rows, many columns: ten steps."""
    import resource

    print("\n### Larger problems, ten steps, one direction, one thread\n")
    print("| rows to fit | d | setup | ten steps | peak memory | of the data alone |\n|---|---|---|---|---|---|")
    for n, n_test, d in ((70_000, 30_000, 768), (1400, 600, 4096)):
        problem, _ = embedding_like(n, n_test, d)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        start = time.perf_counter()
        search = GreedySearch(problem, SearchOptions(C=C, max_steps=10))
        setup = time.perf_counter() - start
        steps = seconds(list, search)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {n:,} | {d:,} | {setup:.1f} s | {steps:.1f} s | {peak:.1f} GB | {before:.1f} GB |")


def heads() -> None:
    """One regression for each of 24 × 16 heads of 64 numbers."""
    rng = np.random.default_rng(0)
    names = tuple((layer, head) for layer in range(24) for head in range(16))
    y, z = np.arange(1400) % 2 == 0, np.arange(600) % 2 == 0
    X = rng.normal(size=(384, 1400, 64)).astype(np.float32)
    T = rng.normal(size=(384, 600, 64)).astype(np.float32)
    X[:, y] += 0.1
    T[:, z] += 0.1
    data = PartData(names, X, y, T, z)
    print("\n### select-heads, 24 × 16 heads of 64 numbers, 1,400 rows to fit\n")
    print("| strategy | seconds |\n|---|---|")
    print(f"| top 3 | {seconds(lambda: search_parts(data, SearchOptions(C=C), top=3)):.1f} |")
    forward = seconds(lambda: search_parts(data, SearchOptions(C=C), top=3, strategy="forward", among=50, jobs=2))
    print(f"| forward 3 among the best 50, 2 processes | {forward:.1f} |")


if __name__ == "__main__":
    parts = {"path": path, "small": small, "large": large, "heads": heads}
    for name in sys.argv[1:] or parts:
        # One thread each: on a busy core two BLAS threads wait for each other, whoever calls them. path() sets its own.
        with threadpool_limits(None if name == "path" else 1):
            parts[name]()
        sys.stdout.flush()
