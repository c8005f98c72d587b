"""Pieces of the search over candidates: the logistic function, the bounds, and the length of a step.

Derived in :mod:`aigiscan.search.sieve`; rows of the arrays are candidates, columns are images.
"""

from __future__ import annotations

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x) in place, with all digits also where it is small; several times faster than scipy's expit."""
    np.minimum(x, 80.0 if x.dtype == np.float32 else 700.0, out=x)
    np.exp(x, out=x)
    x /= 1.0 + x
    return x


def kept_curvature(p: np.ndarray, s: np.ndarray, leverage: np.ndarray) -> np.ndarray:
    """The largest κ that can be shown, (c,): curvature at the candidates is at least κ H.

    Rows that lose more than a share b of their curvature are charged b plus their leverage for the rest; the best
    of a few b counts.
    """
    lost = 1.0 - p * (1 - p) / s
    kappa = np.full(len(p), -np.inf)
    for allowed in (0.1, 0.3, 0.6):
        kappa = np.maximum(kappa, 1.0 - allowed - np.maximum(lost - allowed, 0.0) @ leverage)
    return np.maximum(kappa, np.minimum(1.0, 1.0 - lost.max(axis=1)))


def reach_of(decrement: np.ndarray, kappa: np.ndarray, radius: float) -> np.ndarray:
    """t = −log(1 − ρ λ / κ) / ρ, (c,): how far the optimum can be, in the norm of H; ∞ where nothing can be said."""
    reach = np.full(len(decrement), np.inf)
    safe = radius * decrement < 0.999 * kappa
    reach[safe] = -np.log1p(-radius * decrement[safe] / kappa[safe]) / radius
    return reach


def line_search(
    M: np.ndarray, R: np.ndarray, along: np.ndarray, image: np.ndarray, s: np.ndarray, C: float
) -> np.ndarray:
    """Length of the step of each candidate, (c,): a few Newton iterations on the slope of the objective, from 1.

    M (c, n): margins; R: residuals, the gradient is XᵀR; along: Xp of the direction p; image: what Hp = Xᵀ image is
    made of; s (n,): the curvature in H. All in sample space, see :class:`aigiscan.search.candidates.Refined`.

    The residual that is carried along is exact for any length, so that this one need not be.
    """
    slope0 = np.einsum("ij,ij->i", R, along)
    ridge = np.maximum(np.einsum("ij,ij->i", image, along) - C * (along**2 @ s), 0.0)
    before = sigmoid(M.copy())
    length = np.ones(len(M))
    rows = np.arange(len(M))
    for _ in range(6):
        p = sigmoid(M[rows] + length[rows, None] * along[rows])
        slope = slope0[rows] + length[rows] * ridge[rows]
        slope += C * np.einsum("ij,ij->i", p - before[rows], along[rows])
        bend = ridge[rows] + C * np.einsum("ij,ij->i", p * (1 - p), along[rows] ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            better = np.nan_to_num(length[rows] - slope / bend, nan=1.0)
        better = np.clip(better, length[rows] / 4, length[rows] * 4)
        change = np.abs(better - length[rows]) > 0.1 * length[rows]
        if not change.any():
            break
        rows = rows[change]
        length[rows] = better[change]
    return length
