"""Classifiers trained by gradient steps: a two-layer network and UniFD's single layer by binary cross-entropy.

torch is imported while fitting alone; scoring is NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.classifiers.base import Array, LinearProbe, ProbeClassifier, Scaler
from aigiscan.errors import FitError


def train(
    start: Sequence[Array],
    loss: Callable[[Sequence[Any], Any, Any], Any],
    X: Array,
    y: NDArray[np.intp],
    weight: Array,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    seed: int,
) -> list[Array]:
    """AdamW over shuffled batches; returns the trained copies of ``start``, float64.

    loss(parameters, x, y) gives the loss of each image, a tensor (batch,). The mean over a batch is weighted by
    ``weight``, whose scale does not matter; images of weight 0 are left out. The same seed gives the same result, and
    torch's global random state is neither used nor changed.
    """
    import torch

    used = weight > 0
    x = torch.from_numpy(np.ascontiguousarray(X[used], dtype=np.float32))
    target = torch.from_numpy(np.ascontiguousarray(y[used], dtype=np.int64))
    share = torch.from_numpy((weight[used] / weight[used].mean()).astype(np.float32))
    parameters = [torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in start]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    shuffle = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=shuffle).split(batch_size):
            optimiser.zero_grad()
            # not divided by the batch's own weight: a batch of unimportant images must make a small step
            (loss(parameters, x[rows], target[rows]) * share[rows]).mean().backward()
            optimiser.step()
    return [p.detach().numpy().astype(np.float64) for p in parameters]


def initial_layer(rng: np.random.Generator, inputs: int, outputs: int) -> list[Array]:
    """Weights (inputs, outputs) and bias (outputs,), uniform within ±1/√inputs, as torch.nn.Linear begins."""
    bound = 1.0 / np.sqrt(inputs)
    return [rng.uniform(-bound, bound, (inputs, outputs)), rng.uniform(-bound, bound, outputs)]


def fold_in(scaler: Scaler, weights: Array, bias: Array) -> tuple[Array, Array]:
    """A first layer (inputs, outputs) on scaled columns → the same layer on the columns as they are."""
    folded = weights / scaler.scale[:, None]
    return folded, bias - scaler.mean @ folded


def unfold(scaler: Scaler, weights: Array, bias: Array) -> tuple[Array, Array]:
    """The inverse of :func:`fold_in`, so that training can go on in well-scaled columns."""
    return weights * scaler.scale[:, None], bias + scaler.mean @ weights


@dataclass(eq=False, repr=False)
class GradientMixin:
    """The parameters of AdamW that gradient-trained classifiers share, and their one call of :func:`train`.

    standardize: columns to mean 0 and variance 1 first.
    """

    epochs: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    batch_size: int = 128
    standardize: bool = True
    random_state: int = 0

    def _scaler(self, X: Array, weight: Array) -> Scaler:
        return Scaler.fit(X, weight) if self.standardize else Scaler.none(X.shape[1])

    def _train(self, start: Sequence[Array], loss: Any, X: Array, y: NDArray[np.intp], weight: Array) -> list[Array]:
        names = ("epochs", "learning_rate", "weight_decay", "batch_size")
        return train(start, loss, X, y, weight, seed=self.random_state, **{name: getattr(self, name) for name in names})


@dataclass(eq=False, repr=False)
class LinearBCEClassifier(GradientMixin, LinearProbe):
    """One linear layer trained by binary cross-entropy (UniFD, section 4.2).

    epochs, learning_rate, weight_decay, batch_size: of AdamW. standardize: columns to mean 0 and variance 1 first,
    folded into ``coef_`` afterwards; the paper trains on CLIP features as they are.
    """

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        scaler = self._scaler(X, weight)
        # nearly 0, as UniFD begins: what no image pulls at should stay near 0
        start = np.random.default_rng(self.random_state).normal(0.0, 0.02, (X.shape[1], 1))
        self._go([start, np.zeros(1)], scaler, X, y, weight)

    def continue_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LinearBCEClassifier:
        """As many epochs again on a second data set, from the weights already there."""
        matrix, target, weight = self._check_further(X, y, sample_weight)
        scaler = self._scaler(matrix, weight)
        self._go(unfold(scaler, self.coef_.T, self.intercept_), scaler, matrix, target, weight)
        return self

    def _go(self, start: Sequence[Array], scaler: Scaler, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        def loss(parameters: Sequence[Any], x: Any, target: Any) -> Any:
            from torch.nn import functional as F

            w, b = parameters
            return F.binary_cross_entropy_with_logits((x @ w + b)[:, 0], target.float(), reduction="none")

        weights, bias = fold_in(scaler, *self._train(start, loss, scaler.transform(X), y, weight))
        self.coef_, self.intercept_ = weights.T, bias


@dataclass(eq=False, repr=False)
class MLPClassifier(GradientMixin, ProbeClassifier):
    """Two fully connected layers with ReLU between (Saland's report, section 2.4; TIDY, equation 7).

    logits: 1, the score, trained by binary cross-entropy (equation 8); or 2, one a class, trained by cross-entropy, the
    score being their difference (TIDY, section 4.1). hidden: width. epochs, learning_rate, weight_decay: of AdamW,
    TIDY's values. standardize: columns to mean 0 and variance 1 first, folded into the first layer.
    """

    _arrays = ("weights1_", "bias1_", "weights2_", "bias2_")

    hidden: int = 256
    logits: int = 1

    def _outputs(self) -> int:
        if self.logits not in (1, 2):
            raise FitError(f"mlp has 1 or 2 logits, not {self.logits}")
        return self.logits

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        rng = np.random.default_rng(self.random_state)
        start = [*initial_layer(rng, X.shape[1], self.hidden), *initial_layer(rng, self.hidden, self._outputs())]
        self._go(start, self._scaler(X, weight), X, y, weight)

    def continue_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MLPClassifier:
        """As many epochs again on a second data set, from the weights already there (the report's fine-tuning)."""
        matrix, target, weight = self._check_further(X, y, sample_weight)
        scaler = self._scaler(matrix, weight)
        first = unfold(scaler, self.weights1_, self.bias1_)
        self._go([*first, self.weights2_, self.bias2_], scaler, matrix, target, weight)
        return self

    def _go(self, start: Sequence[Array], scaler: Scaler, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        def loss(parameters: Sequence[Any], x: Any, target: Any) -> Any:
            from torch.nn import functional as F

            w1, b1, w2, b2 = parameters
            logits = F.relu(x @ w1 + b1) @ w2 + b2
            if logits.shape[1] == 1:
                return F.binary_cross_entropy_with_logits(logits[:, 0], target.float(), reduction="none")
            return F.cross_entropy(logits, target, reduction="none")

        w1, b1, self.weights2_, self.bias2_ = self._train(start, loss, scaler.transform(X), y, weight)
        self.weights1_, self.bias1_ = fold_in(scaler, w1, b1)

    def _logits(self, X: Array) -> Array:
        return np.maximum(X @ self.weights1_ + self.bias1_, 0.0) @ self.weights2_ + self.bias2_

    def _decide(self, X: Array) -> Array:
        logits = self._logits(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
