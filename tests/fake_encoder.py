"""An encoder without weights whose numbers are trivial functions of the pixels, with every kind of channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from aigiscan.encoders.base import ChannelSpec, Encoder, EncoderOptions

LAYERS, HEADS, D_HEAD = 2, 3, 4


class FakeEncoder(Encoder):
    """embedding: the 4×4 RGB thumbnail in [0, 1], d = 48. With ``heads``: also ``heads`` (2, 3, 4) and ``sigma`` ()."""

    def __init__(self, options: EncoderOptions | None = None, name: str = "fake", seconds: float = 0.0) -> None:
        self.name = name
        self.options = options or EncoderOptions()
        self.seconds = seconds
        self.batches: list[int] = []

    def channels(self) -> dict[str, ChannelSpec]:
        specs = {"embedding": ChannelSpec((48,))}
        if self.options.heads:
            specs |= {"heads": ChannelSpec((LAYERS, HEADS, D_HEAD), "float16"), "sigma": ChannelSpec(())}
        return specs

    def fingerprint(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "weights": "",
            "preprocessing": {"size": 4},
            "precision": "fp32",
            "pooling": "class",
            "projection": "projected",
            "normalize": False,
        }

    def prepare(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((4, 4), Image.Resampling.BOX), dtype=np.uint8)

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        self.batches.append(len(inputs))
        x = np.stack(inputs).reshape(len(inputs), -1).astype(np.float32) / 255
        out = {"embedding": x}
        if self.options.heads:
            out["heads"] = x[:, : LAYERS * HEADS * D_HEAD].reshape(-1, LAYERS, HEADS, D_HEAD)
            out["sigma"] = x.sum(axis=1)
        return out
