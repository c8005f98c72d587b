"""How far the log loss of a candidate can be from where its fit has got to: one number per candidate, by its adjoint.

The test margins of a candidate whose gradient is Xᵀr, at most t from its optimum, are each known to ‖x‖ t only
(:mod:`aigiscan.search.sieve`). Their mean loss F is known far better, as the errors of the rows mostly cancel. With e
the way that is left (e_j = 0, ‖e‖ ≤ t in the norm of H), Tc the gradient of F and S̄ the mean curvature along e,

    e = −H_j⁻¹ X (r + C (S̄ − S) Xᵀe)        (H_j⁻¹: H⁻¹ on the remaining columns)
    (Tc)ᵀe = −q_j·r − C Σ q_ji (s̄_i − s_i) x_i·e,        q_j = XᵀH⁻¹Tc − (XᵀH⁻¹e_j) (e_jᵀH⁻¹Tc) / h_j

The first term is computed. The second is split at the curvature p(1 − p) where the fit has got to. As C XᵀSX ⪯ H, what
that differs from s adds at most t ‖√(Cs) q_j (p(1 − p)/s − 1)‖. With y_i = |x_i·e| ≤ ρt, the mean s̄_i differs from it
by a factor within (e^y − 1)/y, which adds at most t² max_i |q_ji| p_i(1 − p_i)/s_i · (e^{ρt} − 1 − ρt)/(ρt)².

One adjoint XᵀH⁻¹Tc, with c at the current fit, serves all candidates: what a candidate's own c differs from it by, Δc,
adds at most ‖TΔc‖ t in the norm of H⁻¹, and ‖TΔc‖² ≤ μ Σ Δc²/D for any D with T D Tᵀ ⪯ μ H. F is convex: what is left
beyond the gradient can only add to it, at most ½ t² Σ‖x‖² times the curvature of the loss there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aigiscan.search.bounds import sigmoid
from aigiscan.search.geometry import Geometry

#: What float32 may add to a log loss, and to each margin's share in it, relatively.
LOSS_ROUNDING = 5e-7
#: Rows per block of the kernel matrix of the test rows.
KERNEL_BLOCK = 1024
#: μ is found anew when S has changed so much that what it has become is above this multiple of what it was.
WORN = 1.8
#: Curvature of test rows is taken to be at least this, so that 1/D stays finite.
TEST_FLOOR = 1e-4


class TestSpread:
    """D (n_test,) and μ with T D Tᵀ ⪯ μ H, kept through removals and refreshes.

    D is the curvature of the mean test loss when μ was found. A removal takes a column from both sides, so that the
    bound holds on; a refresh to S' weakens it by at most 1 + b + Σ C (s − (1 + b) s')₊ xᵀH'⁻¹x, for any b ≥ 0.
    """

    __test__ = False  # for pytest

    def __init__(self) -> None:
        self.mu, self.D = np.inf, np.zeros(0)
        self._s, self._found = np.zeros(0), np.inf

    def update(self, geometry: Geometry, test_margins: np.ndarray) -> None:
        """After a refresh of the geometry; test_margins (n_test,) of the current fit."""
        if len(self._s):
            loss = [
                1.0 + b + geometry.C * float(np.maximum(self._s - (1 + b) * geometry.s, 0.0) @ geometry.norm2)
                for b in (0.0, 0.1, 0.2, 0.4, 0.8)
            ]
            self.mu = self._found * min(loss)
            if min(loss) < WORN:
                return
        p = sigmoid(np.array(test_margins, dtype=np.float64))
        self.D = np.maximum(p * (1 - p), TEST_FLOOR) / len(p)
        self._s = geometry.s.copy()
        self.mu = self._found = largest_eigenvalue(geometry.T32, geometry.B, self.D)


def largest_eigenvalue(T: np.ndarray, B: np.ndarray, D: np.ndarray) -> float:
    """Upper bound on the largest eigenvalue of √D TᵀH⁻¹T √D; T and B = H⁻¹T (lines × n_test), D (n_test,).

    Sum over blocks of rows of (tr M⁸)^⅛: at least the largest eigenvalue, and near it where few are that large.
    """
    root = np.sqrt(D).astype(np.float32)
    total = 0.0
    for first in range(0, len(D), KERNEL_BLOCK):
        part = slice(first, first + KERNEL_BLOCK)
        kernel = T[:, part].T @ B[:, part]
        kernel *= root[part, None]
        kernel *= root[part]
        size = float(np.abs(kernel).max(initial=0.0)) + 1e-300
        kernel /= np.float32(size)
        kernel = kernel @ kernel
        kernel = kernel @ kernel
        total += size * float(np.linalg.norm(kernel.astype(np.float64))) ** 0.25
    return total * 1.01


class LossGoal:
    """Bounds on the log loss of candidates; made once per step.

    test_margins (n_test,) of the current fit, fake (n_test,), spread of the test rows.
    """

    def __init__(self, geometry: Geometry, test_margins: np.ndarray, fake: np.ndarray, spread: TestSpread):
        self.geometry, self.spread = geometry, spread
        self.side = np.where(fake, -1.0, 1.0)  # the loss grows with side · margin
        c = self.side * sigmoid(self.side * test_margins) / len(fake)
        weights = geometry.solve((geometry.T @ c)[None])[0]  # H⁻¹Tc
        q = weights @ geometry.X
        self._double = {
            "c": c, "q": q, "weights": weights, "side": self.side, "Cs": geometry.C * geometry.s,
            "c_scale": self.side / len(fake),
            "inverse_s": 1.0 / geometry.s, "inverse_D": 1.0 / spread.D, "norm2": geometry.test_norm2,
        }  # fmt: skip
        self._single = {name: array.astype(np.float32) for name, array in self._double.items()}
        self.radius = float(np.sqrt(geometry.norm2.max()))
        self.largest = float(np.sqrt(geometry.test_norm2.max()))

    def training_side(
        self, lines: np.ndarray | slice, p: np.ndarray, residual: np.ndarray, a: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(−q_j·r, ‖√(Cs) q_j‖, ‖√(Cs) q_j (p(1 − p)/s − 1)‖, max |q_j| p(1 − p)/s) of ``lines``, each (c,).

        p = sigmoid of their margins (c, n), residual (c, n), a = their lines of A (c, n), of one dtype.
        """
        k = self._single if a.dtype == np.float32 else self._double
        coefficient = (k["weights"][lines] / self.geometry.h[lines]).astype(a.dtype)
        q = a * -coefficient[:, None]
        q += k["q"]
        shift = -np.einsum("ij,ij->i", q, residual).astype(np.float64)
        ratio = p * p
        np.subtract(p, ratio, out=ratio)
        ratio *= k["inverse_s"]
        bent = q * ratio
        peak = np.maximum(bent.max(axis=1), -bent.min(axis=1)).astype(np.float64)
        ratio -= 1.0
        q *= q
        size = np.sqrt((q @ k["Cs"]).astype(np.float64))
        ratio *= ratio
        ratio *= q
        return shift, size, np.sqrt((ratio @ k["Cs"]).astype(np.float64)), peak

    def test_side(self, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(F, mean slope of the losses, √μ‖Δc/√D‖ ≥ ‖TΔc‖, mean ‖x‖² times curvature), each (c,); test (c, n_test)."""
        k = self._single if test.dtype == np.float32 else self._double
        wrong = test * k["side"]
        slope = np.exp(-np.abs(wrong))
        loss = np.log1p(slope)
        loss += np.maximum(wrong, 0.0)
        value = loss.mean(axis=1, dtype=np.float64)
        slope /= 1.0 + slope
        bend = np.subtract(slope, slope * slope, out=loss)
        np.copyto(slope, 1.0 - slope, where=wrong > 0)
        steepness = slope.mean(axis=1)
        change = np.multiply(slope, k["c_scale"], out=wrong)
        change -= k["c"]
        change *= change
        spread = np.sqrt(self.spread.mu * (change @ k["inverse_D"]).astype(np.float64))
        return value, steepness, spread, (bend @ k["norm2"]).astype(np.float64) / len(self.side)

    def interval(
        self,
        training: Iterable[np.ndarray],
        test: Iterable[np.ndarray],
        reach: np.ndarray,
        pad: np.ndarray,
        blur: np.ndarray,
        *,
        single: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(lowest, highest) log loss at the optimum, each (c,), float64.

        training, test: what the methods above return. reach (c,) = t, finite. pad (c,): what rounding did to a test
        margin; blur (c,): what it did to the decrement. single: computed in float32.
        """
        shift, size, stale, peak = training
        value, steepness, spread, bend = test
        y = np.clip(self.radius * reach, 1e-6, 50.0)
        growth = (np.expm1(y) - y) / y**2  # (e^y − 1)/y − 1 = y · growth, and growth itself grows with y
        error = reach * (stale + reach * peak * growth + spread) + size * blur
        if single:
            error = error * 1.001 + LOSS_ROUNDING
        error += pad * steepness + 1e-14
        rise = np.exp(np.minimum(self.largest * reach, 50.0)) * bend * reach**2 / 2
        return value + shift - error, value + shift + error + rise
