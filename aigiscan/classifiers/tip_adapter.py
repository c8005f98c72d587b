"""Tip-Adapter: a cache of a few images beside CLIP's own words (Saland's report, section 2.10; Zhang et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.classifiers.base import Array, Scaler, unit_rows
from aigiscan.classifiers.neural import GradientMixin
from aigiscan.classifiers.zero_shot import PROMPTS_FAKE, PROMPTS_REAL, WordsClassifier


@dataclass(eq=False, repr=False)
class TipAdapterClassifier(WordsClassifier):
    """logits = α · exp(−β (1 − f Fᵀ)) L + s · f W_cᵀ; score = logit of fake − logit of real.

    shots: cached images per class, drawn by weight; fewer if a class has fewer. alpha, beta: α, β. scale: s (the
    report's formula is s = 1; Tip-Adapter's own is CLIP's logit scale, 100). Without text features the second term is
    left out, so that encoders without a text tower can use the cache alone. standardize: columns of the cache term to
    mean 0 and variance 1 first; cosines of raw columns of different units say little.
    """

    _arrays = ("keys_", "values_", "text_", "mean_", "scale_")

    shots: int = 50
    alpha: float = 5.0
    beta: float = 5.5
    scale: float = 100.0
    prompts_real: Sequence[str] = PROMPTS_REAL
    prompts_fake: Sequence[str] = PROMPTS_FAKE
    standardize: bool = False
    random_state: int = 0

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        scaler = Scaler.fit(X, weight) if self.standardize else Scaler.none(X.shape[1])
        self.mean_, self.scale_ = scaler.mean, scaler.scale
        rng = np.random.default_rng(self.random_state)
        candidates = [np.flatnonzero((y == label) & (weight > 0)) for label in (1, 0)]
        # the same number of both: the sums over the cache of a larger class would win by size alone
        shots = min(self.shots, *(len(rows) for rows in candidates))
        chosen = [
            np.sort(rng.choice(rows, shots, replace=False, p=weight[rows] / weight[rows].sum())) for rows in candidates
        ]
        self.keys_ = self._rows(X[np.concatenate(chosen)])
        self.values_ = np.repeat([1.0, -1.0], shots)

    def _rows(self, X: Array) -> Array:
        return unit_rows(Scaler(self.mean_, self.scale_).transform(X))

    def _decide(self, X: Array) -> Array:
        affinity = np.exp(-self.beta * (1.0 - self._rows(X) @ self.keys_.T))  # [n, 2 shots]
        return self.alpha * (affinity @ self.values_) + self._prior(X)


@dataclass(eq=False, repr=False)
class TipAdapterFClassifier(GradientMixin, TipAdapterClassifier):
    """Tip-Adapter whose cached keys are then trained on all training images by cross-entropy (Tip-Adapter-F).

    epochs, learning_rate, weight_decay, batch_size: of AdamW.
    """

    weight_decay: float = 1e-2
    standardize: bool = False

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        super()._fit(X, y, weight)
        self._tune(X, y, weight)

    def continue_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> TipAdapterFClassifier:
        """As many epochs again on a second data set, from the keys already there."""
        matrix, target, weight = self._check_further(X, y, sample_weight)
        self._tune(matrix, target, weight)
        return self

    def _tune(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        features = self._rows(X).shape[1]
        # the prior of each image travels as a last column: it takes part in the loss but is not trained
        data = np.column_stack([self._rows(X), self._prior(X)])
        alpha, beta = self.alpha, self.beta

        def loss(parameters: Sequence[Any], x: Any, target: Any) -> Any:
            import torch
            from torch.nn import functional as F

            sign = torch.from_numpy(self.values_.astype(np.float32))
            affinity = torch.exp(-beta * (1.0 - x[:, :features] @ parameters[0].T))
            logit = alpha * (affinity @ sign) + x[:, features]
            return F.binary_cross_entropy_with_logits(logit, target.float(), reduction="none")

        (self.keys_,) = self._train([self.keys_], loss, data, y, weight)
