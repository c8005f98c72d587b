"""Several encoders, each on its own treatment of a picture that is decoded once: for ensembles of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.base import ChannelSpec, Encoder, Treatment
from aigiscan.images.equalize import Equalization

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigiscan.images.records import ImageRecord


class ApartEncoder(Encoder):
    """The channels of its parts, side by side: ``<number>.<channel>``, counted from 0. There is no common embedding.

    parts: encoders that look at the picture alone. equalizations: what is done to the picture for each, "" nothing.
    """

    def __init__(self, parts: Sequence[Encoder], equalizations: Sequence[str]) -> None:
        self.parts = list(parts)
        self.equalizations = list(equalizations)
        self.name = " and ".join(
            f"{part.name} after {spec}" if spec else part.name
            for part, spec in zip(self.parts, self.equalizations, strict=True)
        )
        self.options = self.parts[0].options
        self._steps = [Equalization.parse(spec) if spec else None for spec in self.equalizations]

    def channels(self) -> dict[str, ChannelSpec]:
        """Those of all parts."""
        return {f"{i}.{name}": spec for i, part in enumerate(self.parts) for name, spec in part.channels().items()}

    def fingerprint(self) -> dict[str, Any]:
        """The parts' own under ``parts``, each with its equalisation; ``apart`` tells them from a concatenation."""
        parts = [
            {**part.fingerprint(), "equalization": spec}
            for part, spec in zip(self.parts, self.equalizations, strict=True)
        ]
        return {"name": self.name, "weights": "", "apart": True, "parts": parts}

    def prepare(self, image: Image) -> tuple[Any, ...]:
        """One input per part."""
        return tuple(
            part.prepare(image if step is None else step.apply(image))
            for part, step in zip(self.parts, self._steps, strict=True)
        )

    def prepare_record(
        self,
        record: ImageRecord,
        image: Image,
        treatment: Treatment | None = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[Any, ...]:
        """One input per part; ``treatment`` comes before the parts' own."""
        treated = image if treatment is None else treatment.apply(image)
        return tuple(
            part.prepare_record(record, treated, step, size) for part, step in zip(self.parts, self._steps, strict=True)
        )

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Every part on its own inputs."""
        return {
            f"{i}.{name}": values
            for i, part in enumerate(self.parts)
            for name, values in part.encode([one[i] for one in inputs]).items()
        }

    def columns(self) -> list[str]:
        """None: there is no common embedding."""
        return []
