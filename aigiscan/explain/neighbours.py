"""The known real and AI-generated images that are nearest to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aigiscan.errors import StoreError

if TYPE_CHECKING:
    from aigiscan.features.base import FeatureView
    from aigiscan.store import EmbeddingStore

#: rows of a store that are compared at once, so that a store of millions fits
_BLOCK = 32_768
#: bytes of known features that are kept between pictures; those of a larger store are read for every picture
_KEPT = 1 << 29


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row of a store and its cosine similarity (−1 to 1) with the image asked about."""

    row: int
    path: str
    generator: str
    similarity: float


class NeighbourIndex:
    """Cosine similarity in the detector's features.

    view: channels → features. standardize: bring every column to mean 0 and spread 1 over the store first; needed where
    columns have different units, not for one embedding. Raises StoreError if no row is labelled.
    """

    def __init__(self, store: EmbeddingStore, view: FeatureView, *, standardize: bool) -> None:
        self._store, self._view = store, view
        labels = np.asarray(store.rows.label)
        self.rows = {"real": np.flatnonzero(labels == 0), "fake": np.flatnonzero(labels == 1)}
        if not any(len(rows) for rows in self.rows.values()):
            raise StoreError(f"{store.path} has no labelled rows, so it has no known images to compare with")
        self._blocks: dict[tuple[str, int], np.ndarray] = {}
        self._mean: np.ndarray | float = 0.0
        self._scale: np.ndarray | float = 1.0
        if standardize:
            self._mean, self._scale = self._moments()

    def nearest(self, X: np.ndarray, k: int, *, exclude: Sequence[str] = ()) -> list[dict[str, list[Neighbour]]]:
        """For every row of X (n, n_features) ``{"real": […], "fake": […]}``: the k most similar of each, nearest first.

        exclude: one sha256 per row of X: store rows of the same content are the image itself and are left out.
        """
        queries = self._unit(X)
        paths, generators, hashes = (getattr(self._store.rows, name) for name in ("path", "generator", "sha256"))
        result: list[dict[str, list[Neighbour]]] = [{} for _ in range(len(queries))]
        for side, rows in self.rows.items():
            best: list[list[tuple[float, int]]] = [[] for _ in range(len(queries))]
            for start in range(0, len(rows), _BLOCK):
                block = rows[start : start + _BLOCK]
                similarity = queries @ self._known(side, start, block).T  # [n, block]
                for i, line in enumerate(similarity):
                    if exclude and exclude[i]:
                        line = np.where(hashes[block] == exclude[i], -np.inf, line)
                    # Stable order: equal similarities go to the lower row, whatever the block size.
                    order = np.argsort(-line, kind="stable")[:k]
                    found = [(float(line[j]), int(block[j])) for j in order if np.isfinite(line[j])]
                    best[i] = sorted(best[i] + found, key=lambda pair: (-pair[0], pair[1]))[:k]
            for i, pairs in enumerate(best):
                result[i][side] = [Neighbour(row, str(paths[row]), str(generators[row]), s) for s, row in pairs]
        return result

    def _known(self, side: str, start: int, block: np.ndarray) -> np.ndarray:
        """Features of a block of known rows at unit length, kept while there is room."""
        if (side, start) in self._blocks:
            return self._blocks[side, start]
        found = self._unit(self._features(block))
        if sum(kept.nbytes for kept in self._blocks.values()) + found.nbytes <= _KEPT:
            self._blocks[side, start] = found
        return found

    def _features(self, rows: np.ndarray) -> np.ndarray:
        return self._view.transform({name: self._store.read(name, rows=rows) for name in self._view.channels})

    def _unit(self, X: np.ndarray) -> np.ndarray:
        rows = (np.asarray(X, dtype=np.float32) - self._mean) / self._scale
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        total: np.ndarray | float = 0.0
        squares: np.ndarray | float = 0.0
        labelled = np.sort(np.concatenate(list(self.rows.values())))
        for start in range(0, len(labelled), _BLOCK):
            features = self._features(labelled[start : start + _BLOCK]).astype(np.float64)
            total, squares = total + features.sum(axis=0), squares + np.square(features).sum(axis=0)
        mean = np.asarray(total) / len(labelled)
        spread = np.sqrt(np.maximum(np.asarray(squares) / len(labelled) - mean**2, 0))
        return mean.astype(np.float32), np.where(spread > 1e-9, spread, 1).astype(np.float32)
