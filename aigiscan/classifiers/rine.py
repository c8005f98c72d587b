"""RINE's head (Koutlis and Papadopoulos, "Leveraging Representations from Intermediate Encoder-blocks for Synthetic
Image Detection", ECCV 2024): projection, importance of each block per dimension, projection, classification."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aigiscan.classifiers.base import Array, ProbeClassifier
from aigiscan.errors import FitError

#: the parts of the head, each a chain of linear layers; what follows the name in a tensor's key is the layer's number
CHAINS = ("proj1", "proj2", "head")


class RineHead(ProbeClassifier):
    """A head of that form, from its authors' file.

    K Linear + ReLU (``proj1``) on the features of each of n blocks, the sum over blocks weighted by the softmax of
    ``alpha`` (1, n, d'), K Linear + ReLU (``proj2``), three Linear with ReLU between (``head``).

    X: (images, n · d), blocks side by side, first block first. Dropout does nothing when it judges.
    """

    def set_arrays(self, arrays: Mapping[str, NDArray]) -> RineHead:
        """``alpha`` and ``CHAIN.NUMBER.weight|bias`` as in the file; ValueError if one is missing or does not fit."""
        own = {key: value for key, value in arrays.items() if key not in ("classes", "n_features")}
        self._arrays = tuple(own)  # type: ignore[misc]
        for key, value in own.items():
            setattr(self, key, np.asarray(value, dtype=np.float64))
        chains = {name: _layers(own, name) for name in CHAINS}
        width = chains["proj1"][0][0].shape[1]
        alpha = np.asarray(own["alpha"], dtype=np.float64) if "alpha" in own else np.empty(0)
        sizes = [width, *(weight.shape[0] for name in CHAINS for weight, _ in chains[name])]
        taken = [weight.shape[1] for name in CHAINS for weight, _ in chains[name]]
        known = 1 + sum(2 * len(chain) for chain in chains.values())
        if alpha.ndim != 3 or alpha.shape[2] != chains["proj1"][-1][0].shape[0] or taken != sizes[:-1]:
            raise ValueError("the layers of a RINE head do not fit each other")
        if sizes[-1] != 1 or known != len(own):
            raise ValueError("a RINE head has alpha, proj1, proj2 and a head with one output, and nothing else")
        share = np.exp(alpha[0] - alpha[0].max(0))
        self._share, self._chains = share / share.sum(0), chains
        self.classes_ = np.asarray(arrays.get("classes", np.array([0, 1])))
        self.n_features_in_ = len(alpha[0]) * width
        return self

    def _decide(self, X: Array) -> Array:
        blocks = X.reshape(len(X), len(self._share), -1)  # [images, n, d]
        z = (_run(self._chains["proj1"], blocks) * self._share).sum(1)
        z = _run(self._chains["proj2"], z)
        *hidden, (weight, bias) = self._chains["head"]
        return (_run(hidden, z) @ weight.T + bias)[:, 0]

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        raise FitError("rine is a published head, not fitted here: aigiscan detectors import rine-2 FILE -o FOLDER")


def _layers(arrays: Mapping[str, NDArray], chain: str) -> list[tuple[Array, Array]]:
    """(weight (out, in), bias (out,)) of the chain's layers, in order of their numbers."""
    numbers = sorted(
        int(key.split(".")[1]) for key in arrays if key.startswith(f"{chain}.") and key.endswith(".weight")
    )
    if not numbers:
        raise ValueError(f"a RINE head has a part {chain}")
    found = []
    for number in numbers:
        weight, bias = (np.asarray(arrays[f"{chain}.{number}.{part}"], dtype=np.float64) for part in ("weight", "bias"))
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(f"{chain}.{number} is not a linear layer")
        found.append((weight, bias))
    return found


def _run(chain: list[tuple[Array, Array]], x: Array) -> Array:
    for weight, bias in chain:
        x = np.maximum(x @ weight.T + bias, 0.0)
    return x
