"""Feature views of a picture with what belongs to it: the image–text discrepancy (TIDY) and twins (DoubleCLIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from aigiscan.errors import InputError
from aigiscan.features.base import FeatureView

#: modality ("text", "image", "global") and distance ("global", "local", "both") of TIDY's ablations, section 4.3
MODES = {
    "text": ("text",),
    "image": ("embedding",),
    "global": ("embedding", "text"),
    "local": ("embedding", "text", "local", "objects"),
    "both": ("embedding", "text", "local", "objects"),
}


NO_OBJECT = "no object: the global distance alone"


class DiscrepancyView(FeatureView):
    """How far a picture lies from its caption, and its objects from their phrases, in the joint space (TIDY).

    mode: ``both``, ``w1 · |I₀ − T₀| + w2 · mean_i |I_i − T_i|`` (equation 6); ``global``, the first distance alone
    (equation 3); ``local``, the second alone (equation 5); ``text``, ``image``: T₀ and I₀ themselves, the single
    modalities of figure 4. A picture without objects has its global distance alone: ``w1 · |I₀ − T₀|``, and
    ``|I₀ − T₀|`` in ``local``. raw: on embeddings as the towers give them; else each is scaled to length 1 first, which
    the paper does not say: equation 2 is meant to go with the cosine similarity, and that is of directions.
    """

    kind = "discrepancy"
    usage = "discrepancy:text|image|global|local|both,w1=1,w2=1,raw"

    def __init__(self, mode: str = "both", w1: float = 1.0, w2: float = 1.0, *, raw: bool = False) -> None:
        if mode not in MODES:
            raise InputError(f"discrepancy:{mode} is not known: use {', '.join(MODES)}")
        self.mode, self.w1, self.w2, self.raw = mode, float(w1), float(w2), bool(raw)
        if not (np.isfinite(self.w1) and np.isfinite(self.w2)) or (self.w1 == 0 and self.w2 == 0):
            raise InputError(f"discrepancy: w1={w1} and w2={w2} leave no distance; give numbers, not both 0")
        self.channels = tuple("local_raw" if name == "local" and self.raw else name for name in MODES[mode])

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:
        """argument: a mode, ``w1=…``, ``w2=…`` and ``raw``, with commas between, each of which may be left out."""
        mode = "both"
        options: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in argument.split(","))):
            name, equals, value = part.partition("=")
            if part == "raw":
                options["raw"] = True
            elif equals and name in ("w1", "w2"):
                try:
                    options[name] = float(value)
                except ValueError:
                    raise InputError(f"discrepancy: {part} is no number") from None
            else:
                mode = part
        return cls(mode, **options)

    @classmethod
    def channels_of(cls, argument: str) -> tuple[str, ...]:  # noqa: D102
        return cls.from_name(argument, {}).channels

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: D102
        return cls(params["mode"], params["w1"], params["w2"], raw=params["raw"])

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [f"{self.mode}:{i}" for i in range(len(encoder_columns))]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        if self.mode == "text":
            return self._vectors(channels["text"])
        image = self._vectors(channels["embedding"])
        if self.mode == "image":
            return image
        whole = np.abs(image - self._vectors(channels["text"]))  # [n, d]
        if self.mode == "global":
            return whole
        local = np.asarray(channels["local_raw" if self.raw else "local"], dtype=np.float32)
        found = np.asarray(channels["objects"]).reshape(-1, 1) > 0
        if self.mode == "local":
            return np.where(found, local, whole)
        return np.asarray(self.w1 * whole + self.w2 * np.where(found, local, 0), dtype=np.float32)

    @property
    def has_notes(self) -> bool:
        """Where objects are read."""
        return "objects" in self.channels

    def notes(self, channels: Mapping[str, np.ndarray]) -> list[str]:
        """Which pictures had no object."""
        if not self.has_notes:
            return []
        return ["" if found > 0 else NO_OBJECT for found in np.ravel(channels["objects"])]

    def _vectors(self, matrix: np.ndarray) -> np.ndarray:
        rows = np.asarray(matrix, dtype=np.float32)
        return rows if self.raw else _unit(rows)

    def params(self) -> dict[str, Any]:  # noqa: D102
        return {**super().params(), "mode": self.mode, "w1": self.w1, "w2": self.w2, "raw": self.raw}


class TwinsView(FeatureView):
    """``[I, I′, |I − I′|]`` of a picture I and its twin I′ (Saland's report, section 2.8, DoubleCLIP): 3 d columns.

    The twin is what a generator makes of the picture's caption. The hope is that a generated picture lies nearer to its
    twin than a photograph to its own.
    """

    kind = usage = "twins"
    channels = ("embedding", "twin")

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:  # noqa: D102
        if argument:
            raise InputError(f"--features twins takes nothing after it, got {argument!r}")
        return cls()

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [f"{part}:{i}" for part in ("image", "twin", "between") for i in range(len(encoder_columns))]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        image, twin = (np.asarray(channels[name], dtype=np.float32) for name in self.channels)
        return np.concatenate([image, twin, np.abs(image - twin)], axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; a zero row stays zero."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny))
