"""Folds that leave out whole generators and whole photo sources, and out-of-fold scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.errors import FitError

Index = NDArray[np.intp]


def source_folds(
    labels: ArrayLike,
    sources: Sequence[str] | NDArray,
    groups: Sequence[str] | NDArray | None = None,
    n_folds: int = 10,
    seed: int = 0,
) -> Index:
    """Fold number of every image (n,), 0 … k − 1, so that a fold holds whole generators *and* whole photo sources.

    labels: 0 real, 1 fake. sources: the generator of a fake, the source of a photograph. Sources are spread so that
    folds are about equally large, each class for itself. Sources of one class that share a ``group`` (the same prompts
    by two generators) stay together, unless that would leave nothing to hold out. A class with a single source is
    split by ``group`` instead (by image without groups): it is then not held out, and a figure on it is in
    distribution. k is at most the smaller class's number of units. FitError if a class is missing or has one unit.
    """
    y, names = np.asarray(labels), np.asarray(sources).astype(str)
    if groups is None:
        keys = np.array([f"image {i}" for i in range(len(y))])
    else:
        keys = np.asarray(groups).astype(str)
        keys = np.where(keys == "", np.array([f"image {i}" for i in range(len(y))]), keys)
    if not len(y) == len(names) == len(keys):
        raise FitError(f"{len(y)} labels, {len(names)} sources and {len(keys)} groups do not belong together")
    rng = np.random.default_rng(seed)
    units: dict[int, tuple[Index, Index]] = {}
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        unit = _units(names[rows], keys[rows])
        if not len(rows) or len(np.unique(unit)) < 2:
            kind = "photographs" if label == 0 else "AI-generated images"
            raise FitError(
                f"{kind} of two sources, or in two groups, are needed to leave any out; add images or groups"
            )
        units[label] = rows, unit
    k = min(n_folds, *(len(np.unique(unit)) for _, unit in units.values()))
    if k < 2:
        raise FitError(f"n_folds must be at least 2, not {n_folds}")
    folds = np.empty(len(y), dtype=np.intp)
    for rows, unit in units.values():
        _, inverse, counts = np.unique(unit, return_inverse=True, return_counts=True)
        # Large ones first balances the folds; the jitter lets another seed give other folds.
        order = np.argsort(-counts * rng.uniform(0.7, 1.3, len(counts)), kind="stable")
        filled, of_unit = np.zeros(k), np.empty(len(counts), dtype=np.intp)
        for one in order:
            of_unit[one] = np.argmin(filled)
            # + 0.5: an image more or less matters little; that every fold gets a source matters
            filled[of_unit[one]] += counts[one] + 0.5
        folds[rows] = of_unit[inverse]
    return folds


def train_test(folds: Index, groups: Sequence[str] | NDArray | None = None) -> Iterator[tuple[Index, Index]]:
    """(training rows, test rows) of every fold; training rows whose group is also in the test fold are left out.

    Rows of fold −1 are in every training part and in no test.
    """
    keys = None if groups is None else np.asarray(groups).astype(str)
    for fold in np.unique(folds[folds >= 0]):
        test = folds == fold
        train = ~test
        if keys is not None:
            train &= ~np.isin(keys, keys[test & (keys != "")])
        yield np.flatnonzero(train), np.flatnonzero(test)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many sources of each class some folds left out whole, and how many they did not; what may be said of it.

    generators, photo_sources: left out whole. split_generators, split_sources: those of which other pictures were
    fitted on – the only one of its class, or one that a detector gone on from had seen.
    """

    generators: int
    photo_sources: int
    split_generators: int
    split_sources: int

    @property
    def heading(self) -> str:
        """What figures on these folds may be called."""
        whole = [
            noun
            for noun, n, split in (
                ("generators", self.generators, self.split_generators),
                ("photo sources", self.photo_sources, self.split_sources),
            )
            if n and not split
        ]
        return f"held-out {' and '.join(whole)}" if whole else "other pictures of the same generators and photo sources"

    @property
    def note(self) -> str:
        """One sentence: each image was scored by a fit that had not seen what."""
        fakes, photographs = (
            f"their {noun}" if not split else f"themselves (but with others of {split} of {n + split} {noun}s)"
            for noun, n, split in (
                ("generator", self.generators, self.split_generators),
                ("photo source", self.photo_sources, self.split_sources),
            )
        )
        return f"fakes scored by fits without {fakes}, photographs by fits without {photographs}"


def left_out(labels: ArrayLike, sources: Sequence[str] | NDArray, folds: Index, known: Collection[str] = ()) -> LeftOut:
    """What folds of :func:`source_folds` really left out. known: sources that an earlier fit had seen."""
    y, names = np.asarray(labels), np.asarray(sources).astype(str)
    whole, split = [0, 0], [0, 0]
    for label in (0, 1):
        for name in np.unique(names[y == label]):
            parted = name in known or len(np.unique(folds[(y == label) & (names == name)])) > 1
            (split if parted else whole)[label] += 1
    return LeftOut(whole[1], whole[0], split[1], split[0])


def group_folds(labels: ArrayLike, groups: Sequence[str] | NDArray, n_folds: int = 5, seed: int = 0) -> Index:
    """Fold number of every image (n,): groups stay whole, classes are spread evenly (in-distribution folds)."""
    from sklearn.model_selection import StratifiedGroupKFold

    y, keys = np.asarray(labels), np.asarray(groups).astype(str)
    smallest = min((len(np.unique(keys[y == label])) for label in np.unique(y)), default=0)
    if len(np.unique(y)) < 2 or smallest < 2:
        raise FitError("both real and AI-generated images in at least two groups each are needed to make folds")
    splitter = StratifiedGroupKFold(min(n_folds, smallest), shuffle=True, random_state=seed)
    folds = np.zeros(len(y), dtype=np.intp)
    for fold, (_, test) in enumerate(splitter.split(np.zeros(len(y)), y, keys)):
        folds[test] = fold
    return folds


def out_of_fold(
    estimator: Any,
    X: NDArray,
    y: ArrayLike,
    groups: Sequence[str] | NDArray,
    seed: int = 0,
    *,
    n_folds: int = 5,
    sample_weight: NDArray | None = None,
    probability: bool = True,
    fold_ids: Index | None = None,
    fit: Callable[..., Any] | None = None,
) -> NDArray[np.float64]:
    """Score of every image (n,) by a clone of ``estimator`` that was fitted without its group: what stacking learns on.

    y: labels 0/1, or generator names with ``"real"`` for multi-class estimators. probability: the probability of fake,
    in [0, 1]; else the decision function. fold_ids: use these folds (:func:`source_folds`) instead of folds by group.
    """
    from sklearn.base import clone

    from aigiscan.classifiers.base import fit_classifier

    target = np.asarray(y)
    labels = target if target.dtype.kind in "biuf" else (target.astype(str) != "real").astype(int)
    folds = group_folds(labels, groups, n_folds, seed) if fold_ids is None else fold_ids
    scores = np.full(len(labels), np.nan)
    for train, test in train_test(folds, groups):
        if len(np.unique(labels[train])) < 2:
            raise FitError("a fold leaves one class only; give more groups of both classes")
        weight = None if sample_weight is None else sample_weight[train]
        fitted = (fit or fit_classifier)(clone(estimator), X[train], target[train], sample_weight=weight)
        scores[test] = fitted.predict_proba(X[test])[:, 1] if probability else fitted.decision_function(X[test])
    return scores


def _units(sources: NDArray, groups: NDArray) -> Index:
    """What is left out as one, for the images of one class: linked sources, or groups if there is one source alone."""
    if len(np.unique(sources)) < 2:
        return np.unique(groups, return_inverse=True)[1]
    names, of = np.unique(sources, return_inverse=True)
    parent = np.arange(len(names))

    def root(i: int) -> int:
        while parent[i] != i:
            i = int(parent[i])
        return i

    for group in np.unique(groups):
        first, *others = np.unique(of[groups == group]).tolist() if len(groups) else [0]
        for other in others:
            parent[root(other)] = root(first)
    linked = np.array([root(i) for i in range(len(names))])
    # The same prompts given to every generator link all of them: then leave out generators alone, and leave the
    # shared groups to train_test().
    return (linked if len(np.unique(linked)) >= 2 else np.arange(len(names)))[of]
