"""Near-duplicates among many 64-bit hashes without comparing all pairs.

Hashes that differ in at most d bits agree in at least one of d + 1 parts of their bits (pigeonhole), so only those
that share a part are compared.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

_BITS_OF_16 = np.array([bin(i).count("1") for i in range(1 << 16)], dtype=np.uint8)
#: rows of a bucket compared at once: 2048 × bucket size × 8 bytes
_CHUNK = 2048
#: edges kept before they are reduced to a spanning forest
_MOST_EDGES = 2_000_000


def near_components(hashes: np.ndarray, distance: int, within: np.ndarray | None = None) -> np.ndarray:
    """Component number of each hash, (n,) int64; equal for hashes linked by steps of at most ``distance`` bits.

    hashes: (n,) uint64. within: (n,) integer codes; hashes with different codes are never linked.
    The answer is exact, and the numbers count up from 0 in the order of first appearance.
    """
    hashes = np.ascontiguousarray(hashes, dtype=np.uint64)
    codes = np.zeros(len(hashes), np.int64) if within is None else np.asarray(within, dtype=np.int64)
    if not len(hashes):
        return np.zeros(0, np.int64)
    # Equal hashes are one node: a thousand blank images are then no bucket of a thousand.
    keys = np.stack([codes.view(np.uint64), hashes], axis=1)  # [n, 2]
    nodes, inverse = np.unique(keys, axis=0, return_inverse=True)
    labels = _components(nodes[:, 1].copy(), nodes[:, 0].copy(), distance)[inverse.reshape(-1)]
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers.reshape(-1)]


def _components(hashes: np.ndarray, codes: np.ndarray, distance: int) -> np.ndarray:
    n = len(hashes)
    edges = np.zeros((2, 0), np.int64)
    pending: list[np.ndarray] = []
    bounds = np.linspace(0, 64, distance + 2).round().astype(int)
    for low, high in pairwise(bounds):
        part = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((part, codes))
        new = (np.diff(part[order]) != 0) | (np.diff(codes[order]) != 0)
        starts = np.concatenate([[0], np.flatnonzero(new) + 1, [n]])
        for bucket in np.flatnonzero(np.diff(starts) > 1):
            members = order[starts[bucket] : starts[bucket + 1]]
            for at in range(0, len(members), _CHUNK):
                rows = members[at : at + _CHUNK]
                near = bit_count(hashes[rows][:, None] ^ hashes[members][None, :]) <= distance  # [rows, members]
                i, j = np.nonzero(near)
                linked = i + at < j
                pending.append(np.stack([rows[i[linked]], members[j[linked]]]))
            if sum(p.shape[1] for p in pending[-8:]) > _MOST_EDGES or len(pending) > 10_000:
                edges, pending = _forest(n, [edges, *pending]), []
    return _linked(n, np.concatenate([edges, *pending], axis=1))


def _forest(n: int, edges: list[np.ndarray]) -> np.ndarray:
    """Edges with the same components, at most one per node."""
    labels = _linked(n, np.concatenate(edges, axis=1))
    _, first = np.unique(labels, return_index=True)
    nodes = np.arange(n)
    roots = first[labels]
    return np.stack([nodes, roots])[:, nodes != roots]


def _linked(n: int, edges: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def bit_count(values: np.ndarray) -> np.ndarray:
    """Number of set bits of each uint64, same shape, uint8."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    words = np.ascontiguousarray(values).view(np.uint16).reshape(*values.shape, 4)
    return _BITS_OF_16[words].sum(axis=-1, dtype=np.uint8)
