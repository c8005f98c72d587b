"""Every attention head in words (Gaintseva et al., table 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.fingerprint import compare_fingerprints
from aigiscan.encoders.heads import HeadMatrices, head_matrices
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.errors import EncoderError, StoreError
from aigiscan.explain.directions import members_of

if TYPE_CHECKING:
    from aigiscan.encoders.base import Encoder
    from aigiscan.explain.words import WordList
    from aigiscan.store import EmbeddingStore

#: rows of a store read at once
_BLOCK = 1024


def heads_of_store(
    store: EmbeddingStore, encoder: OpenClipEncoder, phrases: WordList, *, top: int = 5
) -> list[dict[str, Any]]:
    """Phrases nearest to and farthest from what each head wrote, over the images of a store.

    Cosine similarity of a phrase with the head's contribution to the embedding, averaged over images. One entry per
    head, layer by layer: ``layer``, ``head``, ``positive``, ``negative``. StoreError without ``heads``.
    """
    if "heads" not in store.channel_names:
        raise StoreError(f"{store.path} has no channel 'heads': embed again with --heads into a new store")
    if not len(store):
        raise StoreError(f"{store.path} has no images")
    matrices = head_matrices(encoder)
    if store.channels["heads"].shape != matrices.M.shape[:3]:
        raise StoreError(f"{store.path} holds heads of another shape than those of {encoder.name}")
    layers, heads, _ = matrices.M.shape[:3]
    total = np.zeros((layers, heads, matrices.R.shape[-1]))
    for start in range(0, len(store), _BLOCK):
        z = store.read("heads", rows=np.arange(start, min(start + _BLOCK, len(store))))  # [n, l, h, dh]
        inner = np.einsum("nlhk,lhkr->nlhr", z, matrices.R, optimize=True)
        # The rows of Q are orthonormal: the length in the joint space is the length before Q, and σ cancels in it.
        length = np.linalg.norm(inner, axis=-1, keepdims=True)
        total += np.divide(inner, length, out=np.zeros_like(inner), where=length > 0).sum(axis=0)
    mean = total / len(store)  # [l, h, k]
    vectors = np.einsum(
        "lhr,lhrd->lhd", mean, matrices.Q
    )  # mean of unit vectors, its length says how steady the head is
    return _entries(vectors, phrases, top)


def heads_of_encoder(encoder: OpenClipEncoder, phrases: WordList, *, top: int = 5) -> list[dict[str, Any]]:
    """Phrases at both ends of the direction in which each head can write most, from its weights alone.

    Without images a head has no sign: the two ends are those of the first right singular vector of its map M into the
    joint space, turned so that the phrase with the largest similarity is positive.
    """
    matrices: HeadMatrices = head_matrices(encoder)
    _, _, right = np.linalg.svd(matrices.R, full_matrices=False)  # [l, h, k, k]; M = R Q has the singular values of R
    vectors = np.einsum("lhr,lhrd->lhd", right[:, :, 0], matrices.Q)
    for layer in vectors:
        for vector in layer:
            cosines = phrases.cosines(vector)
            if -cosines.min() > cosines.max():
                vector *= -1
    return _entries(vectors, phrases, top)


def encoder_with_words(encoder: Encoder, store: EmbeddingStore | None = None) -> OpenClipEncoder:
    """The encoder, or the one part of it, whose heads write into the joint space.

    store: compared with the encoder if given. Raises EncoderError that says what is missing, StoreError if the store
    was made with other weights.
    """
    if store is not None:
        stored = {key: value for key, value in store.fingerprint.items() if key != "equalization"}
        differences = compare_fingerprints(stored, encoder.fingerprint())
        if differences:
            raise StoreError(f"{store.path} was made with another encoder than there is here: {'; '.join(differences)}")
    members = members_of(encoder)
    able = [member for member in members if not member.no_joint and not member.no_parts]
    if len(able) != 1:
        reasons = [member.no_parts or member.no_joint for member in members]
        raise EncoderError("; ".join(reason for reason in reasons if reason) or "several encoders have heads; take one")
    (member,) = able
    assert isinstance(member.encoder, OpenClipEncoder)
    return member.encoder


def _entries(vectors: np.ndarray, phrases: WordList, top: int) -> list[dict[str, Any]]:
    layers, heads, d = vectors.shape
    # Means of unit vectors: their product with a phrase is already the mean cosine, so the length stays in.
    cosines = vectors.reshape(-1, d) @ phrases.embeddings.T.astype(np.float64)
    return [
        {"layer": i // heads, "head": i % heads, **phrases.ends_of_cosines(cosines[i], top)}
        for i in range(layers * heads)
    ]
