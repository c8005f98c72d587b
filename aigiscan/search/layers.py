"""What a regression per layer sees: the pooled token after every block, standardised."""

from __future__ import annotations

import numpy as np

from aigiscan.search.parts import PartData, part_rows
from aigiscan.store import EmbeddingStore


def layer_data(store: EmbeddingStore, train: str, validate: str, *, seed: int = 0) -> PartData:
    """The channel ``blocks`` layer by layer, named (layer,); sides as in :func:`aigiscan.search.heads.head_data`.

    Columns are scaled to zero mean and unit variance of the training rows: unlike heads, which end in one space, the
    residual stream grows from layer to layer, and one penalty must mean the same for all of them.
    """
    store.read("blocks", rows=[])  # says what to do where there is none
    layers, width = store.channels["blocks"].shape
    train_rows, y, test_rows, z = part_rows(store, train, validate, seed)
    X, T = (np.empty((layers, len(rows), width), dtype=np.float32) for rows in (train_rows, test_rows))
    for layer in range(layers):
        for side, rows in ((X, train_rows), (T, test_rows)):
            side[layer] = store.read("blocks", rows=rows, columns=[layer])[:, 0]
        mean, scale = X[layer].mean(axis=0, dtype=np.float64), X[layer].std(axis=0, dtype=np.float64)
        scale[scale == 0] = 1.0
        X[layer], T[layer] = (X[layer] - mean) / scale, (T[layer] - mean) / scale
    return PartData(tuple((layer,) for layer in range(layers)), X, y, T, z)
