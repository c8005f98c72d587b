"""L2-penalised logistic regression, solved to the last digits: one converged fit.

Objective, as in the paper (section 4) and in scikit-learn: ``½‖w‖² + C Σ log(1 + exp(−y w·x))``, y = ±1. With an
intercept, a column of ones is added whose weight is not penalised.

The searches need this fit for their first step, for candidates whose cheap correction does not converge, and in their
tests as the slow method whose answer they must give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from aigiscan.errors import FitError

#: Newton stops at this decrement (the distance to the optimum in the norm of the Hessian), then takes one more step.
DECREMENT = 1e-9
MAX_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Fit:
    """weights (d,), intercept (0 if none was asked for), margins (n,) of the training rows: higher = more fake."""

    weights: np.ndarray
    intercept: float
    margins: np.ndarray
    iterations: int


def fit_logistic(
    X: np.ndarray, y: np.ndarray, C: float, *, intercept: bool = False, start: np.ndarray | None = None
) -> Fit:
    """Minimise the objective by damped Newton steps until nothing moves any more.

    X: (n, d) float64. y: (n,) bool, True = fake. start: (d,) weights, or (d + 1,) with the intercept last. FitError
    where the steps do not converge, which for this strictly convex problem means infinite or NaN input.
    """
    n, d = X.shape
    solution = np.zeros(d + intercept)
    if start is not None:
        solution[: len(start)] = start
    target = np.asarray(y, dtype=np.float64)
    gram = X @ X.T if n < d else None
    converged = False
    margins = _margins(X, solution, intercept)
    value = _objective(margins, target, solution[:d], C)
    for iteration in range(1, MAX_ITERATIONS + 1):
        p = expit(margins)
        gradient = np.empty_like(solution)
        gradient[:d] = solution[:d] + C * (X.T @ (p - target))
        if intercept:
            gradient[d] = C * float(np.sum(p - target))
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                step = _newton_system(X, C * p * (1 - p), gram, intercept)(gradient)
        except (LinAlgError, ValueError):  # not positive definite, or infinite, in float64
            break
        decrement = float(np.sqrt(max(float(gradient @ step), 0.0)))
        if not np.isfinite(decrement):
            break
        length = 1.0
        while True:
            trial = solution - length * step
            trial_margins = _margins(X, trial, intercept)
            trial_value = _objective(trial_margins, target, trial[:d], C)
            # Near the optimum the objective no longer resolves the progress; the full step is then right.
            if decrement < 1e-5 or trial_value <= value - 1e-4 * length * decrement**2 or length < 1e-12:
                break
            length /= 2
        solution, margins, value = trial, trial_margins, trial_value
        if converged:
            return Fit(solution[:d].copy(), float(solution[d]) if intercept else 0.0, margins, iteration)
        converged = decrement < DECREMENT
    raise FitError(
        "logistic regression did not converge: the features are infinite, NaN or extremely large; use --standardize"
    )


def _margins(X: np.ndarray, solution: np.ndarray, intercept: bool) -> np.ndarray:
    margins = X @ solution[: X.shape[1]]
    return margins + solution[-1] if intercept else margins


def _objective(margins: np.ndarray, target: np.ndarray, weights: np.ndarray, C: float) -> float:
    return float(0.5 * weights @ weights + C * np.sum(np.logaddexp(0, margins) - target * margins))


def _newton_system(
    X: np.ndarray, s: np.ndarray, gram: np.ndarray | None, intercept: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """g ↦ H⁻¹g with H = diag(1, …, 1, 0) + [X 1]ᵀ diag(s) [X 1]; through an n × n system if ``gram`` = XXᵀ is given."""
    n, d = X.shape
    if gram is None:
        design = np.column_stack([X, np.ones(n)]) if intercept else X
        scaled = design * np.sqrt(s)[:, None]
        hessian = scaled.T @ scaled
        hessian[np.arange(d), np.arange(d)] += 1.0
        if intercept:  # all s can underflow on separated data; the smallest ridge keeps the factor defined
            hessian[d, d] += 1e-14 * (1 + hessian[d, d])
        factor = cho_factor(hessian, lower=True)
        return lambda g: cho_solve(factor, g)

    root = np.sqrt(s)
    inner = gram * root[:, None] * root
    inner[np.arange(n), np.arange(n)] += 1.0
    factor = cho_factor(inner, lower=True)

    def feature_block(g: np.ndarray) -> np.ndarray:  # (I + XᵀSX)⁻¹ g, Woodbury
        return g - X.T @ (root * cho_solve(factor, root * (X @ g)))

    if not intercept:
        return feature_block
    border = X.T @ s
    solved = feature_block(border)
    schur = max(float(np.sum(s)) - float(border @ solved), 1e-14)

    def bordered(g: np.ndarray) -> np.ndarray:
        inner_part = feature_block(g[:d])
        last = (g[d] - float(border @ inner_part)) / schur
        return np.append(inner_part - solved * last, last)

    return bordered
