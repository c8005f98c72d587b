"""What every encoder is: decoded pixels in, named channels out.

An encoder is made by :func:`aigiscan.encoders.create_encoder` from its name. Constructors store their arguments;
weights are read at the first call that needs them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from aigiscan.encoders.hub import Remote
    from aigiscan.images.equalize import Frame
    from aigiscan.images.records import ImageRecord

CHANNEL_EMBEDDING = "embedding"
CHANNEL_HEADS = "heads"
CHANNEL_SIGMA = "sigma"
CHANNEL_BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How to run an encoder; the second group changes the numbers and is part of the fingerprint.

    device: auto, cpu, cuda, cuda:N, mps. precision: auto, fp32, bf16, fp16.
    heads: also capture the channels ``heads`` and ``sigma`` (open_clip vision transformers only).
    blocks: also capture the channel ``blocks``, the pooled token after every layer (transformers of open_clip, timm).
    depth: run so many layers only, 0 for all; there is no embedding then, only ``blocks``.
    pooling: "class" (as the model does by itself: the class token, for most), "mean" over the last layer's tokens
    (open_clip), or "token", the class token after the final norm even where the model averages (timm: DINOv3).
    projection: "projected" into the joint image-text space, "hidden" (before the projection), or "norms": what
    the second norm of every layer gives, side by side, first layer first (open_clip).
    normalize: L2-normalise the embedding.
    """

    device: str = "auto"
    precision: str = "auto"
    heads: bool = False
    blocks: bool = False
    depth: int = 0
    pooling: str = "class"
    projection: str = "projected"
    normalize: bool = False


class Captures(TypedDict):
    """Options of what is captured beside the embedding."""

    heads: bool
    blocks: bool


def captures(channels: Collection[str]) -> Captures:
    """The options that bring these channels."""
    return {"heads": CHANNEL_HEADS in channels, "blocks": CHANNEL_BLOCKS in channels}


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """Shape of one image's entry in a channel (without the image axis) and how a store keeps it."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Treatment(Protocol):
    """What is done to every picture before it is encoded: an equalization, a perturbation, or both."""

    @property
    def least_side(self) -> int:
        """Pixels of the shorter side that a picture needs for it; 0: all that it has."""

    def apply(self, image: Image) -> Image:
        """RGB → RGB."""

    def frame(self, frame: Frame) -> Frame:
        """Where the points of a picture lie afterwards, given where they lie before."""


class Encoder(ABC):
    """Pixels → channels.

    ``prepare`` runs in loader workers (threads or processes): it must be thread-safe, deterministic, must not use the
    model, and returns something small (uint8 arrays where it can). ``encode`` runs in the main thread on a batch.
    The results of one image must not depend on what else is in the batch (beyond float rounding).
    """

    #: canonical name; ``create_encoder(encoder.name)`` gives the same encoder again
    name: str
    options: EncoderOptions
    #: whether ``options.heads`` can be asked for at all
    has_heads: ClassVar[bool] = False
    #: whether ``options.blocks`` can be asked for at all
    has_blocks: ClassVar[bool] = False
    #: fields of a record that the numbers depend on beside the picture: of caption, objects, twin
    beside: tuple[str, ...] = ()

    @abstractmethod
    def channels(self) -> dict[str, ChannelSpec]:
        """The channels ``encode`` returns; always has ``embedding`` with shape (d,), unless ``options.depth``
        stops before it."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two embeddings to be comparable, as plain JSON values.

        Keys: ``name``, ``weights`` (sha256 or ""), ``preprocessing`` (dict), ``precision``, ``pooling``,
        ``projection``, ``normalize``. Two encoders with equal fingerprints give the same numbers.
        """

    def _described(
        self,
        *,
        weights: str = "",
        preprocessing: Mapping[str, Any] | None = None,
        precision: str = "",
        pooling: str = "",
        projection: str = "",
        **more: Any,
    ) -> dict[str, Any]:
        """A :meth:`fingerprint` with all its keys, ``more`` behind them; what does not apply stays empty."""
        return {
            "name": self.name,
            "weights": weights,
            "preprocessing": dict(preprocessing or {}),
            "precision": precision,
            "pooling": pooling,
            "projection": projection,
            "normalize": self.options.normalize,
            **more,
        }

    @abstractmethod
    def prepare(self, image: Image) -> Any:
        """RGB image (upright, any size ≥ 1×1) → the input of one image."""

    def prepare_record(
        self,
        record: ImageRecord,
        image: Image,
        treatment: Treatment | None = None,
        size: tuple[int, int] | None = None,
    ) -> Any:
        """The input of one record. image: upright, as decoded; treatment: what is done to every picture first.

        size: of the file's picture, of which ``image`` may be a reduced one. Encoders that look at more than the
        picture (``beside``) take it from the record.
        """
        return self.prepare(image if treatment is None else treatment.apply(image))

    def remote(self) -> Remote | None:
        """Where its weights are downloaded from; None if nothing has to be."""
        return None

    def noted(self, prepared: Any) -> Mapping[str, Any]:
        """Fields of the record that encoding found out, after ``encode``; ``error``: why there are no numbers."""
        return {}

    @abstractmethod
    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """A batch of ``prepare`` results → channel name → array (n, *shape), float32, finite, in order."""

    def columns(self) -> list[str]:
        """Names of the embedding's columns, ``"<part>:<index>"``, e.g. ``lite:17``; unique within the encoder."""
        channels = self.channels()
        (d,) = channels[CHANNEL_EMBEDDING].shape if CHANNEL_EMBEDDING in channels else (0,)
        return [f"{self.name}:{i}" for i in range(d)]

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → L2-normalised embeddings (n, d) float32 in the joint space; EncoderError where there is no text
        tower."""
        from aigiscan.errors import EncoderError

        raise EncoderError(f"encoder {self.name} has no text tower; use an open_clip model or 'mini'")
