"""Encoders without weights: ``prepare`` computes the whole vector, where loader workers can share the work."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec, Encoder
from aigiscan.encoders.options import unit_length

if TYPE_CHECKING:
    from PIL.Image import Image


class VectorEncoder(Encoder):
    """One channel, ``embedding`` (width,), made by ``prepare`` alone."""

    width: ClassVar[int]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the numbers depend on; it stands in the fingerprint as preprocessing."""

    @abstractmethod
    def prepare(self, image: Image) -> np.ndarray:
        """RGB image → the finished vector (width,) float32."""

    def channels(self) -> dict[str, ChannelSpec]:
        """One channel: ``embedding`` (width,)."""
        return {CHANNEL_EMBEDDING: ChannelSpec((self.width,))}

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Encoder.fingerprint`."""
        return self._described(preprocessing=self.settings())

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Stack the vectors."""
        matrix = np.stack(list(inputs)) if len(inputs) else np.zeros((0, self.width), np.float32)
        return {CHANNEL_EMBEDDING: unit_length(matrix) if self.options.normalize else matrix}
