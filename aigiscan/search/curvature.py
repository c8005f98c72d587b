"""The curvature of one fit, which all candidates of a step of the greedy search share.

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
        self.norm = np.sqrt(np.maximum(np.einsum("ij,ij->j", X, self.A), 1e-300))
        self.test_norm = np.sqrt(np.maximum(np.einsum("ij,ij->j", T, self.B), 1e-300))
        self.rho, self.share = float(self.norm.max()), C * self.s * self.norm**2

    def without(self, v: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """H_j⁻¹g from v = H⁻¹g, (c, k), for each of ``lines`` (c,): kept at 0 where the line j has been removed."""
        return v - self.inverse[lines] * (v[np.arange(len(lines)), lines] / self.h[lines])[:, None]
