"""Feature views: channels → one matrix with named columns (DESIGN section 5).

A view names the channels it needs; ``embed`` and ``scan`` compute exactly those. It carries all it needs to be used
again (kept indices, head maps), so that a detector does not depend on the file the selection came from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from aigiscan.errors import DetectorError, InputError


class FeatureView(ABC):
    """Channels → matrix (n_images, n_features)."""

    kind: ClassVar[str]
    channels: tuple[str, ...]
    #: generators whose fakes chose this view; evaluation leaves them out
    search_generators: tuple[str, ...] = ()

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


class EmbeddingView(FeatureView):
    """The embedding as it is."""

    kind = "embedding"
    channels = ("embedding",)

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return list(encoder_columns)

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        return np.asarray(channels["embedding"], dtype=np.float32)


class ComponentsView(FeatureView):
    """A kept subset of the embedding's components (Gaintseva et al., section 4, "Removing features")."""

    kind = "components"
    channels = ("embedding",)

    def __init__(self, kept: ArrayLike, search_generators: Sequence[str] = ()) -> None:
        self.kept = np.asarray(kept, dtype=np.int64)
        self.search_generators = tuple(search_generators)
        if self.kept.size == 0:
            raise InputError("a components view keeps no column: choose another selection")

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [encoder_columns[i] for i in self.kept]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        embedding = np.asarray(channels["embedding"], dtype=np.float32)
        if self.kept.max() >= embedding.shape[1]:
            raise InputError(
                f"the selection keeps component {self.kept.max()} but the embedding has {embedding.shape[1]} columns"
            )
        return embedding[:, self.kept]

    def arrays(self) -> dict[str, np.ndarray]:  # noqa: D102
        return {"kept": self.kept}


class HeadsView(FeatureView):
    """Embeddings of chosen attention heads, concatenated (Gaintseva et al., section 4, "attention head outputs").

    ``z / σ · R`` with ``M = R Q`` (DESIGN section 3): d_head columns per head instead of the joint dimension, with the
    same optimum for an L2-penalised classifier, since ``Q`` has orthonormal rows.
    """

    kind = "heads"
    channels = ("heads", "sigma")

    def __init__(
        self, heads: Sequence[tuple[int, int]], factors: np.ndarray, search_generators: Sequence[str] = ()
    ) -> None:
        self.heads = [(int(layer), int(head)) for layer, head in heads]
        self.factors = np.asarray(factors, dtype=np.float32)  # [k, d_head, d_head]
        self.search_generators = tuple(search_generators)
        if not self.heads or len(self.heads) != len(self.factors):
            raise InputError("a heads view needs at least one head, and one factor for each")

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [f"head:{layer}:{head}:{i}" for layer, head in self.heads for i in range(self.factors.shape[-1])]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        z = channels["heads"]  # [n, layers, heads, d_head]
        sigma = np.asarray(channels["sigma"], dtype=np.float32).reshape(-1, 1)  # [n, 1]
        parts = [
            np.asarray(z[:, layer, head], dtype=np.float32) @ factor / sigma
            for (layer, head), factor in zip(self.heads, self.factors, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def params(self) -> dict[str, Any]:  # noqa: D102
        return {**super().params(), "heads": [list(pair) for pair in self.heads]}

    def arrays(self) -> dict[str, np.ndarray]:  # noqa: D102
        return {"factors": self.factors}


def view_from_saved(params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> FeatureView:
    """Inverse of :meth:`FeatureView.params` and :meth:`FeatureView.arrays`."""
    generators = tuple(params.get("search_generators", ()))
    kind = params.get("kind")
    if kind == EmbeddingView.kind:
        return EmbeddingView()
    if kind == ComponentsView.kind:
        return ComponentsView(arrays["kept"], generators)
    if kind == HeadsView.kind:
        return HeadsView([(a, b) for a, b in params["heads"]], arrays["factors"], generators)
    raise DetectorError(f"feature view {kind!r} is not known to this version of aigiscan; update aigiscan")
