"""The views of an embedding and of attention heads: as it is, chosen columns, chosen heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from aigiscan.errors import InputError
from aigiscan.features.base import FeatureView, generators_of
from aigiscan.features.selection import COMPONENTS, HEADS, selection_for


class EmbeddingView(FeatureView):
    """The embedding as it is."""

    kind = usage = "embedding"
    channels = ("embedding",)

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:  # noqa: D102
        if argument:
            raise InputError(f"--features embedding takes nothing after it, got {argument!r}")
        return cls()

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return list(encoder_columns)

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        return np.asarray(channels["embedding"], dtype=np.float32)


class ComponentsView(FeatureView):
    """A kept subset of the embedding's components (Gaintseva et al., section 4, "Removing features")."""

    kind = COMPONENTS
    usage = "components:SELECTION.yaml"
    channels = ("embedding",)

    def __init__(self, kept: ArrayLike, search_generators: Sequence[str] = ()) -> None:
        self.kept = np.asarray(kept, dtype=np.int64)
        self.search_generators = tuple(search_generators)
        if self.kept.size == 0:
            raise InputError("a components view keeps no column: choose another selection")

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:  # noqa: D102
        selection = selection_for(cls.kind, argument, fingerprint)
        return cls(selection.kept, selection.generators)

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: D102
        return cls(arrays["kept"], generators_of(params))

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

    ``z / σ · R`` with ``M = R Q`` (:mod:`aigiscan.encoders.heads`): d_head columns per head instead of the joint
    dimension, with the same optimum for an L2-penalised classifier, since ``Q`` has orthonormal rows.
    """

    kind = HEADS
    usage = "heads:SELECTION.yaml"
    channels = ("heads", "sigma")

    def __init__(
        self, heads: Sequence[tuple[int, int]], factors: np.ndarray, search_generators: Sequence[str] = ()
    ) -> None:
        self.heads = [(int(layer), int(head)) for layer, head in heads]
        self.factors = np.asarray(factors, dtype=np.float32)  # [k, d_head, d_head]
        self.search_generators = tuple(search_generators)
        if not self.heads or len(self.heads) != len(self.factors):
            raise InputError("a heads view needs at least one head, and one factor for each")

    @classmethod
    def from_name(cls, argument: str, fingerprint: Mapping[str, Any]) -> Self:  # noqa: D102
        selection = selection_for(cls.kind, argument, fingerprint)
        factors = head_factors(fingerprint)
        return cls(selection.kept, np.stack([factors[pair] for pair in selection.kept]), selection.generators)

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: D102
        return cls([(a, b) for a, b in params["heads"]], arrays["factors"], generators_of(params))

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


def head_factors(fingerprint: Mapping[str, Any]) -> np.ndarray:
    """R (layers, heads, d_head, k) of an encoder; needs its weights, but runs nothing through it."""
    from aigiscan.encoders.fingerprint import encoder_from_fingerprint, for_channels
    from aigiscan.encoders.heads import head_matrices

    encoder: Any = encoder_from_fingerprint(for_channels(fingerprint, ()), device="cpu", heads=True)
    with_heads = [part for part in getattr(encoder, "parts", ()) if part.has_heads]
    return head_matrices(with_heads[0] if with_heads else encoder).R
