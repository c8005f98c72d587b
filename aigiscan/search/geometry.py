"""The curvature of one fit, shared by all candidates of the greedy search.

With ``H = D + C XᵀSX`` (D the penalty: 1 per column, 0 for the intercept; S the curvature p(1 − p) of the logistic loss
at some weights) the search needs, for every active column j, ``X H⁻¹ e_j`` on the training and on the test rows, and
the diagonal of H⁻¹. These are rebuilt from scratch by :meth:`Geometry.refresh`. When a column leaves, the inverse of
the smaller matrix follows from the larger one by a rank-one correction, so that a removal costs O((n + n_test) d), not
O(n d²). S may be older than the current weights: every bound of the search holds for any positive S.

All matrices are kept as (columns × rows), so that one candidate is one contiguous line of memory. Training rows of
fakes are kept with their sign turned: a margin is then positive where the row is on the wrong side, for both labels,
and the small p of well-classified rows keeps all its digits.

``A`` and ``B``, from which all candidates are judged, are float32; :meth:`Geometry.exact_lines` gives single lines of
them in float64. ``rounding`` is a generous estimate of what float32 loses, relative to the largest entry of a line.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, lapack

from aigiscan.errors import FitError

#: Rows whose curvature has underflowed still get this much; H is a metric, and any positive S serves as one.
CURVATURE_FLOOR = 1e-9


class Geometry:
    """Inverse curvature on the active columns; line 0 is the intercept where there is one.

    Public arrays, all cut to the active lines: ``X`` (lines × n, signed), ``T`` (lines × n_test), float64; ``X32``,
    ``A`` = H⁻¹X and ``B`` = H⁻¹T, float32; ``h`` = diag H⁻¹; ``index`` (the original column of each line, −1 for the
    intercept). Per row: ``s`` (curvature), ``norm2`` and ``test_norm2`` (xᵀH⁻¹x of each training and test row).
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, T: np.ndarray, C: float, *, intercept: bool):
        n, d = X.shape
        self.C = C
        self.fixed = int(intercept)
        self.sign = np.where(y, -1.0, 1.0)
        self._X = np.ones((d + self.fixed, n))
        self._X[self.fixed :] = X.T
        self._X *= self.sign
        self._T = np.ones((d + self.fixed, T.shape[0]))
        self._T[self.fixed :] = T.T
        self._X32 = self._X.astype(np.float32)
        self._T32 = self._T.astype(np.float32)
        self._A = np.empty_like(self._X32)
        self._B = np.empty_like(self._T32)
        self._index = np.concatenate([np.full(self.fixed, -1), np.arange(d)])
        self._h = np.empty(d + self.fixed)
        self.active = d + self.fixed
        # Either the inverse itself, or, where there are fewer rows than columns, what it can be had from.
        self._inverse: np.ndarray | None = None
        self._exact_A: np.ndarray | None = None
        self._gram: np.ndarray | None = None
        self.s = np.empty(n)
        self.norm2 = np.empty(n)
        self.test_norm2 = np.empty(T.shape[0])
        self.rounding = 0.0

    X = property(lambda self: self._X[: self.active], doc="Training rows, signed, (lines × n).")
    X32 = property(lambda self: self._X32[: self.active], doc="X in float32.")
    T = property(lambda self: self._T[: self.active], doc="Test rows, (lines × n_test).")
    T32 = property(lambda self: self._T32[: self.active], doc="T in float32.")
    A = property(lambda self: self._A[: self.active], doc="H⁻¹X, (lines × n), float32.")
    B = property(lambda self: self._B[: self.active], doc="H⁻¹T, (lines × n_test), float32.")
    h = property(lambda self: self._h[: self.active], doc="Diagonal of H⁻¹, (lines,).")
    index = property(lambda self: self._index[: self.active], doc="Original column of each line, −1: intercept.")

    @property
    def refresh_cost(self) -> float:
        """Multiplications of one refresh; the search weighs it against the work that an old S causes."""
        k, n, t = self.active, self._X.shape[1], self._T.shape[1]
        if n < k:
            return n**3 / 6 + n * n * (k + t) + n * k * t
        return n * k * k / 2 + k**3 / 2 + k * k * (n + t) / 2

    def refresh(self, curvature: np.ndarray) -> None:
        """Rebuild everything for S = ``curvature`` (n,), p(1 − p) of the current fit."""
        np.maximum(curvature, CURVATURE_FLOOR, out=self.s)
        if self._X.shape[1] < self.active:
            self._refresh_dual()
        else:
            self._refresh_primal()
        self.norm2 = np.maximum(np.einsum("ij,ij->j", self.X32, self.A).astype(np.float64), 0.0) * (1 + 1e-3)
        self.test_norm2 = np.maximum(np.einsum("ij,ij->j", self._T32[: self.active], self.B).astype(float), 0.0)
        self.test_norm2 *= 1 + 1e-3
        self.rounding = self._measure_rounding()

    def _refresh_primal(self) -> None:
        """At least as many rows as columns: invert the k × k matrix."""
        k = self.active
        self._gram = self._exact_A = None
        scaled = self.X * np.sqrt(self.C * self.s)
        hessian = blas.dsyrk(1.0, scaled.T, trans=1, lower=1)
        hessian[np.arange(self.fixed, k), np.arange(self.fixed, k)] += 1.0
        factor, failed = lapack.dpotrf(hessian, lower=1, overwrite_a=1)
        if failed:
            raise FitError("the features are too large for a regression in float64; use --standardize")
        inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
        inverse = np.tril(inverse)
        inverse += np.tril(inverse, -1).T
        self._inverse = np.ascontiguousarray(inverse)
        single = self._inverse.astype(np.float32)
        np.matmul(single, self.X32, out=self.A)
        np.matmul(single, self._T32[:k], out=self.B)
        self._h[:k] = np.diagonal(self._inverse)

    def _refresh_dual(self) -> None:
        """Fewer rows than columns: the same through N = I + YYᵀ, Y = √(CS) X (n × n), by Woodbury's identity."""
        k, f = self.active, self.fixed
        self._inverse = None
        if self._gram is None:
            self._gram = self.X[f:].T @ self.X[f:]
        root = np.sqrt(self.C * self.s)
        inner = self._gram * root[:, None] * root
        inner[np.arange(len(root)), np.arange(len(root))] += 1.0
        factor = cho_factor(inner, lower=True, overwrite_a=True)
        Z = cho_solve(factor, (self.X * root).T, overwrite_b=True).T  # N⁻¹Y, (lines × n)
        if f:
            # The intercept has no penalty: eliminate it from N (the limit of an infinitely wide prior).
            z0, y0 = Z[0].copy(), self.X[0] * root
            c = float(z0 @ y0)
            Z[1:] -= np.outer(Z[1:] @ y0 / c, z0)
            Z[0] = z0 / c
        self._exact_A = np.ascontiguousarray(Z / root)
        self._A[:k] = self._exact_A
        # D H⁻¹ = I − C A S Xᵀ gives all of H⁻¹ but the intercept's own entry, which is 1/c.
        weighted = self._exact_A * (self.C * self.s)
        self._h[f:k] = 1.0 - np.einsum("ij,ij->i", weighted[f:], self.X[f:])
        B = -(weighted @ (self.X[f:].T @ self.T[f:]))
        B[f:] += self.T[f:]
        if f:
            self._h[0] = 1.0 / c
            own = -(weighted[0] @ self.X[f:].T)  # H⁻¹[0, f:]
            B[0] = own @ self.T[f:] + self._h[0]
            B[f:] += own[:, None]
        self._B[:k] = B

    def _measure_rounding(self) -> float:
        lines = np.unique(np.linspace(0, self.active - 1, 6).astype(int))
        worst = 0.0
        for exact, single in zip(self.exact_lines(lines), (self.A[lines], self.B[lines]), strict=True):
            size = np.abs(exact).max(axis=1) + 1e-300
            worst = max(worst, float((np.abs(exact - single).max(axis=1) / size).max()))
        return 8 * worst + 2e-6

    def exact_lines(self, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lines of A and B in float64, (c × n) and (c × n_test)."""
        columns = np.stack([self.column(int(line)) for line in lines])  # [c, lines]
        return columns @ self.X, columns @ self.T

    def column(self, line: int) -> np.ndarray:
        """H⁻¹ e_line on the active lines, (lines,)."""
        if self._inverse is not None:
            return self._inverse[line, : self.active].copy()
        assert self._exact_A is not None
        column = -(self.X @ (self.C * self.s * self._exact_A[line]))
        column[line] += 1.0
        if self.fixed:
            column[0] = -float(self.X[line] @ (self.C * self.s * self._exact_A[0])) if line else self._h[0]
        return column

    def solve(self, gradients: np.ndarray) -> np.ndarray:
        """H⁻¹g for each row g of (c × lines)."""
        if self._inverse is not None:
            return gradients @ self._inverse[: self.active, : self.active]
        assert self._exact_A is not None
        solved = gradients - (gradients @ self._exact_A[: self.active] * (self.C * self.s)) @ self.X.T
        if self.fixed:
            solved[:, 0] = gradients @ self.column(0)
        return solved

    def remove(self, line: int) -> None:
        """Drop one active line; O((n + n_test + lines) · lines)."""
        last = self.active - 1
        column = self.column(line)
        factor = column / column[line]
        exact_a, exact_b = column @ self.X, column @ self.T
        self.norm2 = np.maximum(self.norm2 - exact_a**2 / column[line], 0.0)
        self.test_norm2 = np.maximum(self.test_norm2 - exact_b**2 / column[line], 0.0)
        _rank_one(self.A, factor, exact_a)
        _rank_one(self.B, factor, exact_b)
        self._h[: self.active] -= factor * column
        if self._gram is not None:
            self._gram -= np.outer(self.X[line], self.X[line])
        if self._exact_A is not None:
            _rank_one(self._exact_A[: self.active], factor, exact_a)
            self._exact_A[line] = self._exact_A[last]
        if self._inverse is not None:
            _rank_one(self._inverse[: self.active], factor, _padded(column, self._inverse.shape[1]))
            self._inverse[line] = self._inverse[last]
            self._inverse[:, line] = self._inverse[:, last]
        for array in (self._X, self._T, self._X32, self._T32, self._A, self._B, self._h, self._index):
            array[line] = array[last]
        self.active = last


def _rank_one(matrix: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """matrix −= left ⊗ right in place, without a temporary of its size."""
    ger = blas.dger if matrix.dtype == np.float64 else blas.sger
    ger(-1.0, right, left, a=matrix.T, overwrite_a=1)


def _padded(vector: np.ndarray, length: int) -> np.ndarray:
    out = np.zeros(length)
    out[: len(vector)] = vector
    return out
