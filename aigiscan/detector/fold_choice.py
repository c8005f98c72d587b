"""Which pictures of a table are left out together while a detector is fitted, and which take part in no figure."""

from __future__ import annotations

import numpy as np

from aigiscan.detector.bases import sources_of
from aigiscan.detector.detector import Detector
from aigiscan.detector.table import FitTable
from aigiscan.errors import FitError
from aigiscan.features.base import FeatureView


def folds_of(
    table: FitTable, n_folds: int, seed: int, view: FeatureView, previous: Detector | None = None
) -> np.ndarray:
    """Fold numbers (n,) by source; −1 for what is fitted on but never scored: the pictures that the previous detector
    has seen, and the fakes of generators that chose the features."""
    from aigiscan.classifiers.folds import source_folds

    seen = np.zeros(len(table), dtype=bool) if previous is None else seen_rows(previous, table)
    seen |= chose_features(table, view)
    fresh = table.select(~seen)
    if previous is not None and len(np.unique(fresh.label)) < 2:
        raise FitError(
            f"{previous.card.name} has seen {int(seen.sum())} of these {len(table)} pictures, and the others are not "
            "of both classes: no figure and no threshold could be taken; add pictures it has not seen, or fit anew"
        )
    folds = np.full(len(table), -1, dtype=np.intp)
    folds[~seen] = source_folds(fresh.label, fresh.sources, fresh.groups, n_folds=n_folds, seed=seed)
    return folds


def folds_of_pairs(table: FitTable, folds: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The folds, if each leaves pairs to learn from; else folds that leave out whole pairs, whatever their sources."""
    from aigiscan.classifiers.folds import group_folds, train_test
    from aigiscan.classifiers.pairs import pair_rows

    def pairs(rows: np.ndarray) -> int:
        groups = table.text["group"][rows].astype(str)
        return len(np.unique(groups[pair_rows(table.label[rows], groups)[0]]))

    if pairs(np.arange(len(table))) < 4:
        raise FitError("pairs are photographs and fakes with the same `group`: give at least four, in a manifest")
    if all(pairs(train) >= 2 for train, _ in train_test(folds, table.groups)):
        return folds
    return group_folds(table.label, table.groups, n_folds, seed)


def chose_features(table: FitTable, view: FeatureView) -> np.ndarray:
    """Mask (n,) of the fakes of generators that chose a view's features; none where there are no other fakes."""
    fakes = table.label == 1
    chosen = fakes & np.isin(table.names.astype(str), list(view.search_generators))
    return chosen if (fakes & ~chosen).any() else np.zeros(len(table), dtype=bool)


def seen_rows(detector: Detector, table: FitTable) -> np.ndarray:
    """Mask (n,) of the pictures of a table that a detector was fitted on.

    For a detector written before they were kept: all pictures of the generators and photo sources that its card names.
    """
    if detector.seen.known:
        return detector.seen.in_fit(table.text["sha256"])
    return np.isin(table.names.astype(str), sources_of(detector.card.training))
