"""What every feature view is: channels → one matrix with named columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from aigiscan.errors import InputError


class FeatureView(ABC):
    """Channels → matrix (n_images, n_features).

    A view names the channels it needs; ``embed`` and ``scan`` compute exactly those. It carries all it needs to be used
    again (kept indices, head maps), so that a detector does not depend on the file the selection came from.
    """

    #: the name before the colon of ``--features``, and in a detector's card
    kind: ClassVar[str]
    #: how it is written after ``--features``
    usage: ClassVar[str]
    channels: tuple[str, ...]
    #: how many layers of the encoder must run for it; 0: all
    depth: int = 0
    #: generators whose fakes chose this view: figures on them would be too good, evaluation leaves them out
    search_generators: tuple[str, ...] = ()

    @property
    def has_notes(self) -> bool:
        """Whether :meth:`notes` may have something to say."""
        return False

    def notes(self, channels: Mapping[str, np.ndarray]) -> list[str]:
        """What a reader of each image's score must know of its features, "" for nothing: one text per image, or none
        at all."""
        return []

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:
        """The view of that name. argument: what follows the colon ("" if nothing does). fingerprint: of the encoder
        that the features come from. InputError in one line where there is no such view."""
        raise InputError(f"a {cls.kind} view cannot be had by name")

    @classmethod
    def channels_of(cls, argument: str) -> tuple[str, ...]:
        """The channels that the view of that name needs; nothing is read for it."""
        return cls.channels

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Inverse of :meth:`params` and :meth:`arrays`; of a view that has neither, here."""
        return cls()

    @abstractmethod
    def columns(self, encoder_columns: Sequence[str]) -> list[str]:
        """Names of the view's columns, given the names of the embedding's columns."""

    @abstractmethod
    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Channel arrays with a common first axis n → (n, n_features) float32."""

    def params(self) -> dict[str, Any]:
        """Plain values for the card."""
        return {"kind": self.kind, "search_generators": list(self.search_generators)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays for the weights file."""
        return {}


def generators_of(params: Mapping[str, Any]) -> tuple[str, ...]:
    """``search_generators`` as a card keeps them."""
    return tuple(map(str, params.get("search_generators", ())))
