"""The curvature of one fit, which all candidates of one or a few steps of the greedy search share.

``H = D + C X S Xᵀ``: D the penalty (1 per column, 0 for the intercept), S = p(1 − p) of the training images. Lengths of
weights are meant in the norm of H, lengths of images and gradients in that of H⁻¹.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from aigiscan.errors import FitError

#: Images whose curvature has underflowed still get this much: any positive S will do for steps and bounds.
FLOOR = 1e-9


class Curvature:
    """H⁻¹ and its products with the images, float64; lines are the columns that are left, and the intercept.

    X (k, n): training images, those of fakes with their sign turned, so that a positive margin is a wrong one whatever
    the label. T (k, n_test): test images. penalty (k,): 1 or 0. p (n,): probabilities of being wrong.

    inverse (k, k) = H⁻¹, h its diagonal; A = H⁻¹X, B = H⁻¹T; s (n,) the curvature S of each training image; norm (n,)
    and test_norm (n_test,) the images' lengths, rho the largest of norm, share (n,) = C s ‖x‖².
    """

    def __init__(self, X: np.ndarray, T: np.ndarray, penalty: np.ndarray, C: float, p: np.ndarray) -> None:
        self.X, self.T, self.C = X, T, C
        self.s = np.maximum(p * (1 - p), FLOOR)
        scaled = X * np.sqrt(C * self.s)
        hessian = blas.dsyrk(1.0, scaled.T, trans=1, lower=1)
        hessian[np.diag_indices(len(X))] += penalty
        factor, failed = lapack.dpotrf(hessian, lower=1, overwrite_a=1)
        if failed:
            raise FitError("the features are too large for a regression in float64; use --standardize")
        lower = lapack.dpotri(factor, lower=1, overwrite_c=1)[0]  # zero above the diagonal, as dsyrk left it
        self.inverse = lower + lower.T
        self.inverse[np.diag_indices(len(X))] /= 2
        self.h = np.diagonal(self.inverse)
        self.A, self.B = self.inverse @ X, self.inverse @ T
        self._measure(np.einsum("ij,ij->j", X, self.A), np.einsum("ij,ij->j", T, self.B))

    def _measure(self, square: np.ndarray, test_square: np.ndarray) -> None:
        """Set the lengths from their squares, (n,) and (n_test,)."""
        self.norm, self.test_norm = (np.sqrt(np.maximum(each, 1e-300)) for each in (square, test_square))
        self.rho, self.share = float(self.norm.max()), self.C * self.s * self.norm**2

    def changed(self, p: np.ndarray) -> float:
        """How far S is from what it would be at these p (n,): root mean square of the relative differences."""
        return float(np.sqrt(np.mean((p * (1 - p) / self.s - 1) ** 2)))

    def remove(self, line: int, X: np.ndarray, T: np.ndarray) -> None:
        """Take one line out by a rank-one update, at the S there is: a fraction of the work of a curvature of its own.

        X (k − 1, n) and T (k − 1, n_test): what remains, with the last line in the place of the removed one.
        """
        pivot = self.inverse[line].copy()
        lengths = zip((self.norm, self.test_norm), (self.A, self.B), strict=True)
        self._measure(*(norm**2 - array[line] ** 2 / pivot[line] for norm, array in lengths))
        self.inverse, self.A, self.B = (_without(each, line, pivot) for each in (self.inverse, self.A, self.B))
        self.inverse[:, line] = self.inverse[:, -1]
        self.inverse = self.inverse[:, :-1]
        self.h = np.diagonal(self.inverse)
        self.X, self.T = X, T

    def without(self, v: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """H_j⁻¹g from v = H⁻¹g, (c, k), for each of ``lines`` (c,): kept at 0 where the line j has been removed."""
        return v - self.inverse[lines] * (v[np.arange(len(lines)), lines] / self.h[lines])[:, None]


def _without(array: np.ndarray, line: int, pivot: np.ndarray) -> np.ndarray:
    """H_j⁻¹V (k − 1, m) from ``array`` H⁻¹V (k, m), which it overwrites, and ``pivot`` H⁻¹e_j (k,)."""
    array = blas.dger(-1 / pivot[line], array[line].copy(), pivot, a=array.T, overwrite_a=1).T
    array[line] = array[-1]
    return array[:-1]
