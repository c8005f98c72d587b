"""Which rows of a store fit and which score, the same for every pair of generators (paper 000, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aigiscan.errors import InputError
from aigiscan.images.labels import split_by_group
from aigiscan.store import EmbeddingStore

TRAIN_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class SearchRows:
    """Rows of a store by their part in a search.

    real (n,) bool: rows labelled real. generator (n,): of the others. train, test (n,) bool. from_manifest: whether the
    split is the manifest's. without_split: rows left out because the manifest gives a split to others but not to them.
    """

    real: np.ndarray
    generator: np.ndarray
    train: np.ndarray
    test: np.ndarray
    from_manifest: bool
    without_split: int

    def side(self, generator: str, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row numbers, fake (bool)) of one generator's fakes and all photographs within a part."""
        fakes = (self.generator == generator) & ~self.real & part
        rows = np.flatnonzero(fakes | (self.real & part))
        return rows, fakes[rows]


def search_rows(store: EmbeddingStore, generators: Sequence[str], seed: int = 0) -> SearchRows:
    """Sort the rows of a store for a search over these generators.

    The split is the manifest's where it has one: ``train`` fits, ``test`` scores, anything else is left out. Else whole
    groups are assigned 7:3 by ``seed``, over the whole store at once, so that a photograph is on the same side whatever
    the pair. InputError for a generator that the store does not have, and for rows that would be used without a label:
    whoever does not know what they are must not have them taken for photographs.
    """
    rows = store.rows
    generator = np.asarray(rows.generator, dtype=object).astype(str)
    label = np.asarray(rows.label)
    real = label == 0
    unlabelled = int(np.sum((label < 0) & ((generator == "") | np.isin(generator, list(generators)))))
    if unlabelled:
        raise InputError(
            f"{store.path}: {unlabelled} of {len(label)} rows have no label; say which of them are photographs "
            "(a manifest with a column label, or folders real/ and fake/), or leave them out"
        )
    known = sorted({g for g in generator[~real].tolist() if g})
    for name in generators:
        if name not in known:
            raise InputError(
                f"{store.path} has no generator '{name}'; it has: {', '.join(known) or 'none (label the images)'}"
            )
    if not real.any():
        raise InputError(f"{store.path} has no photographs: rows labelled real")
    split = np.asarray(rows.split, dtype=object).astype(str)
    used = real | np.isin(generator, list(generators))
    if (split[used] != "").any():
        without = int(np.sum(used & ~np.isin(split, ("train", "test"))))
        return SearchRows(real, generator, split == "train", split == "test", True, without)
    # One label per generator keeps each of them near 7:3, not the fakes as a whole only.
    code = np.where(real, 0, 1 + np.searchsorted(known, generator))
    groups = np.asarray(rows.group, dtype=object).astype(str).tolist()
    part = split_by_group(groups, code, [TRAIN_SHARE, 1 - TRAIN_SHARE], seed)
    return SearchRows(real, generator, part == 0, part == 1, False, 0)
