"""How far the optimum of a candidate can be from where its fit has got to, and what that leaves open.

A candidate's fit, with the gradient ``X r`` on the columns that remain to it, is ``t`` at most from its optimum:

- As C X S Xᵀ ⪯ H, the gradient's length λ has λ² ≤ Σ r_i² / (C s_i) − (e_jᵀH⁻¹X r)² / h_j.
- Let the curvature where it is be κH at least. The logistic loss is self-concordant: along a way of length τ no margin
  moves by more than ρτ, ρ the longest training image, so that the curvature falls by e^−ρτ at most.
- So along any way the objective grows again before −λ + ∫ κ e^−ρτ dτ = 0, that is at t = −log(1 − ρλ/κ) / ρ.

A test margin is then known up to t times the image's length, which bounds the score. The log loss F of all test images,
which decides among equal scores, is one number and known far better. With e the way that is left, S̄ the mean curvature
along it and H_j⁻¹ = H⁻¹ on the remaining columns,

    e = −H_j⁻¹ X (r + C (S̄ − S) Xᵀe)
    ∇F·e = −q·r − C Σ q_i (s̄_i − s_i) x_i·e,        q = XᵀH_j⁻¹∇F

The first term is computed; the second is at most t ‖√(Cs) q (s̄/s − 1)‖, as C Σ s_i (x_i·e)² ≤ t². One ∇F serves all
candidates, that of the current fit. Their own differs by T d, d the difference of the images' probabilities over their
number n: by (T d)·e ≤ t √μ ‖d‖ at most, μ the largest eigenvalue of M = TᵀH⁻¹T. As F is convex, what is left beyond
∇F·e cannot make it smaller, and makes it larger by ½ t² μ / 4n at most, as no p(1 − p) is above ¼.
"""

from __future__ import annotations

import numpy as np

from aigiscan.search.curvature import Curvature
from aigiscan.search.scores import mean_loss_and_sigmoid

#: A candidate keeps 1 − SPARED of the curvature of all images; what single images lose beyond is charged to them.
SPARED = 0.3
#: Larger exponents overflow; there, nothing is known.
LARGEST = 700.0


def sigmoid(margins: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−m), with all digits also where it is small; several times faster than scipy's expit."""
    p = np.exp(np.minimum(margins, LARGEST))
    p /= 1.0 + p
    return p


def lost_curvature(curvature: Curvature, p: np.ndarray) -> np.ndarray:
    """1 − p(1 − p) / s, (c, n): the share of its curvature that each training image has lost."""
    lost = p - 1.0
    lost *= p
    lost /= curvature.s
    lost += 1.0
    return lost


def kept_curvature(share: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The largest κ that can be shown, (c,), for what images have lost (c, n): the curvature is κH at least.

    Either what the image that lost most has kept; or 1 − SPARED, less what images lost beyond, C s x xᵀ ⪯ share H with
    share = C s ‖x‖² (n,).
    """
    beyond = np.maximum(lost - SPARED, 0.0) @ share
    return np.maximum(np.minimum(1.0 - lost.max(axis=1), 1.0), 1.0 - SPARED - beyond)


def distance(decrement: np.ndarray, kappa: np.ndarray, rho: float) -> np.ndarray:
    """t (c,) for λ and κ (c,); ∞ where nothing can be said, 0 where there is no gradient."""
    t = np.where(decrement > 0, np.inf, 0.0)
    safe = (rho * decrement < 0.999 * kappa) & (decrement > 0)
    t[safe] = -np.log1p(-rho * decrement[safe] / kappa[safe]) / rho
    return t


class Reach:
    """Upper bounds of μ, the largest eigenvalue of TᵀH⁻¹T, along the steps of one search.

    Where H ⪰ κH', H' the curvature of an earlier step on the lines that remain, μ ≤ μ'/κ. So μ is computed at few
    steps, from the trace of a power: μ⁸ ≤ tr M⁸.
    """

    #: A bound is taken over from an earlier step while κ is above this, and for so many steps at most.
    KEPT, STEPS = 0.5, 20

    def __init__(self) -> None:
        self.bound, self.s, self.share, self.age = np.inf, np.ones(1), np.zeros(1), self.STEPS

    def at(self, curvature: Curvature) -> float:
        """The bound at this step's curvature."""
        self.age += 1
        kept = 0.0 if self.age > self.STEPS else float(kept_curvature(self.share, (1 - curvature.s / self.s)[None])[0])
        if kept < self.KEPT:
            self.bound, self.age, kept = self._compute(curvature), 0, 1.0
            self.s, self.share = curvature.s, curvature.share
        return self.bound / kept

    @staticmethod
    def _compute(curvature: Curvature) -> float:
        T, B = curvature.T, curvature.B
        power = T.T @ B if T.shape[1] < len(T) else B @ T.T  # both have the same eigenvalues, but for zeros
        trace = max(float(np.trace(power)), 1e-300)
        power /= trace
        for _ in range(2):
            power = power @ power
        return trace * float(np.einsum("ij,ji->", power, power)) ** (1 / 8)


class LossBound:
    """Intervals for the log loss on the test images, around one fit with test margins (n_test,); fake (n_test,);
    reach: μ."""

    def __init__(self, curvature: Curvature, test: np.ndarray, fake: np.ndarray, reach: float) -> None:
        self.curvature, self.reach, self.side = curvature, reach, np.where(fake, -1.0, 1.0)
        self.p = sigmoid(test * self.side)
        gradient = curvature.T @ (self.p * self.side) / len(test)
        self.solved = curvature.inverse @ gradient
        self.q = self.solved @ curvature.X
        self.length = float(np.sqrt(gradient @ self.solved))

    def interval(
        self, lines: np.ndarray, lost: np.ndarray, residual: np.ndarray, test: np.ndarray, t: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(log loss, lowest, highest of the optimum), each (c,): of candidates ``lines`` with lost curvature and r
        (c, n), test margins (c, n_test), that are at most t (c,) from their optimum."""
        g, n = self.curvature, len(self.side)
        wrong = test * self.side
        loss, own = mean_loss_and_sigmoid(wrong)
        q = g.A[lines] * (-self.solved[lines] / g.h[lines])[:, None]
        q += self.q
        better = loss - np.einsum("ij,ij->i", q, residual)
        q *= lost
        q *= q
        stale = np.sqrt(q @ (g.C * g.s))
        own -= self.p
        other = np.sqrt(self.reach * np.einsum("ij,ij->i", own, own)) / n
        with np.errstate(invalid="ignore", over="ignore"):
            way = np.minimum(g.rho * t, LARGEST)  # s̄, a mean along it, is within a factor 1 + growth of the candidate's
            growth = np.expm1(way) / np.maximum(way, 1e-300) - 1.0
            error = t * (stale + growth * (stale + self.length) + other) + 1e-14
            rise = t**2 / 2 * self.reach / (4 * n)
            low, high = better - error, better + error + rise
        return loss, np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
