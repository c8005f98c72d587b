"""``layers:5,11`` and ``layers:SELECTION.yaml``: the pooled token after chosen layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from aigiscan.errors import InputError
from aigiscan.features.base import FeatureView, generators_of
from aigiscan.features.selection import LAYERS, selection_for


class LayersView(FeatureView):
    """The channel ``blocks`` at chosen layers (from 0), concatenated; what comes after the last of them is not run.

    The best features for a probe often lie inside the network (RINE, Koutlis and Papadopoulos 2024, for CLIP; the
    Perception Encoder, Bolya et al. 2025).
    """

    kind = LAYERS
    usage = "layers:5,11 or layers:SELECTION.yaml"
    channels = ("blocks",)

    def __init__(self, layers: Sequence[int], search_generators: Sequence[str] = (), width: int = 0) -> None:
        self.width = width  # of a layer; 0 until the first picture has shown it
        self.layers = [int(layer) for layer in layers]
        self.search_generators = tuple(search_generators)
        if not self.layers or min(self.layers) < 0 or len(set(self.layers)) < len(self.layers):
            raise InputError("a layers view needs at least one layer, counted from 0, and each once")
        self.depth = max(self.layers) + 1

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:  # noqa: D102
        numbers = argument.split(",")
        if all(number.strip().isdigit() for number in numbers):
            return cls([int(number) for number in numbers])
        selection = selection_for(cls.kind, argument, fingerprint)
        return cls(selection.kept, selection.generators)

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: D102
        return cls(params["layers"], generators_of(params), params["width"])

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [f"layer:{layer}:{i}" for layer in self.layers for i in range(self.width)]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        blocks = channels["blocks"]  # [n, layers, width]
        if self.depth > blocks.shape[1]:
            raise InputError(f"--features layers:{self.depth - 1}: the encoder has layers 0 to {blocks.shape[1] - 1}")
        self.width = int(blocks.shape[2])
        return np.concatenate([np.asarray(blocks[:, layer], dtype=np.float32) for layer in self.layers], axis=1)

    def params(self) -> dict[str, Any]:  # noqa: D102
        return {**super().params(), "layers": self.layers, "width": self.width}
