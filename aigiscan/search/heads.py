"""What a regression per attention head sees (Gaintseva et al., section 4).

Features of head (l, h) are its contribution to the embedding, ``E = (1/σ) z M`` (see :mod:`aigiscan.encoders.heads`).
With ``M = R Q``, the rows of Q orthonormal, ``E u = (1/σ) z R (Q u)`` and only the part of u in the rows of Q is worth
its penalty: a regression on ``(1/σ) z R`` (d_head columns) has the same optimum as one on E (d columns), and the same
scores.
"""

from __future__ import annotations

import numpy as np

from aigiscan.features.views import head_factors
from aigiscan.search.parts import PartData, part_rows
from aigiscan.store import EmbeddingStore


def store_factors(store: EmbeddingStore) -> np.ndarray:
    """R (layers, heads, d_head, k) of the encoder of a store."""
    for channel in ("heads", "sigma"):
        store.read(channel, rows=[])  # says what to do where there is none
    return head_factors(store.fingerprint)


def head_data(store: EmbeddingStore, train: str, validate: str, factors: np.ndarray, *, seed: int = 0) -> PartData:
    """``z R / σ`` of all heads, named (layer, head): the training generator's fakes and photographs of the training
    side, the validation generator's and photographs of the test side. factors: :func:`store_factors`."""
    layers, heads = factors.shape[:2]

    def features(rows: np.ndarray) -> np.ndarray:
        sigma = store.read("sigma", rows=rows).reshape(-1, 1)
        side = np.empty((layers * heads, len(rows), factors.shape[-1]), dtype=np.float32)
        for layer in range(layers):
            block = store.read("heads", rows=rows, columns=[(layer, h) for h in range(heads)])
            for head in range(heads):
                side[layer * heads + head] = block[:, head] @ factors[layer, head] / sigma
        return side

    train_rows, y, test_rows, z = part_rows(store, train, validate, seed)
    names = tuple((layer, head) for layer in range(layers) for head in range(heads))
    return PartData(names, features(train_rows), y, features(test_rows), z)
