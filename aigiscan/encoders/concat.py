"""``a+b``: several encoders side by side, one embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec, Encoder
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image


class ConcatEncoder(Encoder):
    """The embeddings of its parts, concatenated in the order of the name.

    Other channels (``heads``, ``sigma``) come from the one part that has them. With ``normalize`` each part is
    normalised by itself.
    """

    def __init__(self, parts: Sequence[Encoder]) -> None:
        self.parts = list(parts)
        self.name = "+".join(part.name for part in parts)
        if len({part.name for part in parts}) < len(parts):
            raise EncoderError(f"encoder {self.name}: a part is named twice")
        self.options = next((part.options for part in parts if part.options.heads), parts[0].options)

    def channels(self) -> dict[str, ChannelSpec]:
        """``embedding`` (sum of d,), and the extra channels of the parts."""
        width = 0
        merged: dict[str, ChannelSpec] = {}
        for part in self.parts:
            for channel, spec in part.channels().items():
                if channel == CHANNEL_EMBEDDING:
                    width += spec.shape[0]
                elif channel in merged:
                    raise EncoderError(f"encoder {self.name}: two parts have the channel {channel}; embed them apart")
                else:
                    merged[channel] = spec
        return {CHANNEL_EMBEDDING: ChannelSpec((width,)), **merged}

    def fingerprint(self) -> dict[str, Any]:
        """The fingerprints of the parts under ``parts``; the keys of the whole are empty where parts differ."""
        return self._described(parts=[part.fingerprint() for part in self.parts])

    def prepare(self, image: Image) -> tuple[Any, ...]:
        """One input per part."""
        return tuple(part.prepare(image) for part in self.parts)

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Every part on its own inputs, embeddings side by side."""
        embeddings = []
        merged: dict[str, np.ndarray] = {}
        for i, part in enumerate(self.parts):
            channels = part.encode([one[i] for one in inputs])
            embeddings.append(channels.pop(CHANNEL_EMBEDDING))
            merged.update(channels)
        return {CHANNEL_EMBEDDING: np.concatenate(embeddings, axis=1), **merged}

    def columns(self) -> list[str]:
        """The parts' own column names, one after the other."""
        return [column for part in self.parts for column in part.columns()]

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Not defined: a text has no place in the space of the other parts."""
        raise EncoderError(f"encoder {self.name} is a concatenation and has no text tower; use one part alone")
