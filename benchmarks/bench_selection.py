"""What the searches choose, judged on generators they never saw: as paper 000, sections 4 and 5, on one store.

    python benchmarks/bench_selection.py STORE [--pair A B] [--draws 10]

STORE: labelled images with heads, for example

    aigiscan embed DATA -o mini.h5 --encoder mini --heads --equalize square:224,jpeg:75

Heads: select-heads for three seeds of the split (which photographs and fakes fit and which score) and the rank
correlation of the heads' scores between them. Components and heads: chosen on the pair, then classifiers on all
columns, on the kept ones, on as many drawn at random, on the best heads and on as many heads drawn at random; fitted in
turn on the five largest other generators, tested on all remaining ones. Prints Markdown.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np
from scipy.stats import spearmanr

from aigiscan.metrics import auc
from aigiscan.search.features import pair_problems, search_pairs
from aigiscan.search.greedy import SearchOptions
from aigiscan.search.heads import head_data, store_factors
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.parts import score_grid, search_parts
from aigiscan.search.split import SearchRows, search_rows
from aigiscan.store import EmbeddingStore

SEEDS, TRAINED_ON, TOP = (0, 1, 2), 5, 3


def all_heads(store: EmbeddingStore, factors: np.ndarray) -> np.ndarray:
    """(n, layers · heads, k): z R / σ of every head of every image."""
    rows = np.arange(len(store))
    sigma = store.read("sigma", rows=rows).reshape(-1, 1, 1)
    z = store.read("heads", rows=rows)
    found = np.einsum("nlhd,lhdk->nlhk", z.astype(np.float32), factors.astype(np.float32))
    return found.reshape(len(rows), -1, factors.shape[-1]) / sigma


def transfer(X: np.ndarray, rows: SearchRows, trained: list[str], tested: list[str], C: float) -> float:
    """Mean AUC over generators to fit on and generators to test on, no one of them in both."""
    found = []
    for generator in trained:
        fit_rows, y = rows.side(generator, rows.train)
        mean, scale = X[fit_rows].mean(0), X[fit_rows].std(0) + 1e-12
        fit = fit_logistic((X[fit_rows] - mean) / scale, y, C, intercept=True)
        scores = ((X - mean) / scale) @ fit.weights
        for other in tested:
            if other != generator:
                judged = np.flatnonzero((rows.generator == other) | (rows.real & rows.test))
                found.append(auc((~rows.real[judged]).astype(int), scores[judged]))
    return float(np.mean(found))


def spread(values: list[float]) -> str:
    """Mean and standard deviation of draws."""
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--pair", nargs=2, default=("stable_diffusion_v1", "latent_diffusion"), metavar=("A", "B"))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--C", type=float, default=0.01, help="of the classifiers that are compared")
    given = parser.parse_args()
    pair = (given.pair[0], given.pair[1])
    rng = np.random.default_rng(0)
    with EmbeddingStore(given.store) as store:
        factors = store_factors(store)
        searches = []
        for seed in SEEDS:
            data = head_data(store, *pair, factors, seed=seed)
            searches.append(search_parts(data, SearchOptions(score="auc"), top=TOP))
        grids = [score_grid(found.ranking, factors.shape[:2]).ravel() for found in searches]
        found = search_pairs([pair_problems(store, pair, standardize=True)], SearchOptions(C=0.1), jobs=2)[0]
        rows = search_rows(store, pair)
        embedding = store.read(rows=np.arange(len(store))).astype(np.float64)
        heads = all_heads(store, factors).astype(np.float64)
    correlations = [float(spearmanr(a, b).statistic) for a, b in combinations(grids, 2)]
    print(f"pair: {' and '.join(pair)}; rank correlation of {grids[0].size} heads between seeds: ", end="")
    print(", ".join(f"{c:.2f}" for c in correlations))
    print("best heads (layer, head): " + "; ".join(str(list(s.kept)) for s in searches) + "\n")
    names, counts = np.unique(rows.generator[~rows.real], return_counts=True)
    others = [str(name) for name in names[np.argsort(-counts, kind="stable")] if name and name not in pair]
    trained = others[:TRAINED_ON]
    width, kept = embedding.shape[1], np.array(found.kept)
    best = np.ravel_multi_index(np.array(searches[0].kept).T, factors.shape[:2])

    def judged(X: np.ndarray) -> float:
        return transfer(X, rows, trained, others, given.C)

    def by_heads(chosen: np.ndarray) -> np.ndarray:
        return heads[:, chosen].reshape(len(heads), -1)

    random = [judged(embedding[:, rng.choice(width, len(kept), replace=False)]) for _ in range(given.draws)]
    lots = [judged(by_heads(rng.choice(heads.shape[1], TOP, replace=False))) for _ in range(given.draws)]
    print(f"fitted on {', '.join(trained)} in turn, tested on {len(others)} generators\n")
    few = f"{TOP} × {heads.shape[2]}"
    print("| columns | count | mean AUC |\n|---|---|---|")
    print(f"| all | {width} | {judged(embedding):.3f} |")
    print(f"| kept by select-features | {len(kept)} | {judged(embedding[:, kept]):.3f} |")
    print(f"| as many at random, {given.draws} draws | {len(kept)} | {spread(random)} |")
    print(f"| best {TOP} heads of select-heads | {few} | {judged(by_heads(best)):.3f} |")
    print(f"| {TOP} heads at random, {given.draws} draws | {few} | {spread(lots)} |")


if __name__ == "__main__":
    main()
