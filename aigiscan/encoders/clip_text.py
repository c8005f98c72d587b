"""The text tower: texts and single vocabulary tokens into the joint space, with the context cut to the words' length.

A causal tower that pools at the end-of-text token never sees what follows that token: shortening the context to the
longest text of a batch changes nothing but the time.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.options import unit_length
from aigiscan.encoders.weights import cache_dir, one_line
from aigiscan.errors import EncoderError
from aigiscan.files import keep_cached

if TYPE_CHECKING:
    import torch

    from aigiscan.encoders.open_clip_encoder import OpenClipEncoder

#: tokens per batch: enough to fill the matrix units, small enough for a laptop
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class TokenTable:
    """The vocabulary of a text tower, each token embedded alone: start, token, end.

    ids (n,) int64: token ids; the special tokens are left out. texts: the tokens' letters, undecodable bytes as "�".
    word_end (n,) bool: whether the token ends a word ("cat" + end) rather than continuing into the next ("cat-" of
    "cats"). embeddings (n, d) float32, L2-normalised.
    """

    ids: np.ndarray
    texts: list[str]
    word_end: np.ndarray
    embeddings: np.ndarray


def embed_texts(encoder: OpenClipEncoder, texts: list[str]) -> np.ndarray:
    """See :meth:`OpenClipEncoder.encode_text`."""
    if not texts:
        return np.zeros((0, int(encoder.source.config["embed_dim"])), np.float32)
    cache = _cache_file(encoder, "texts", texts)
    known = _read(cache, len(texts))
    if known is not None:
        return known
    ids = tokenizer_of(encoder)(texts)
    return _write(cache, unit_length(encode_ids(encoder, ids)))


def embed_vocabulary(encoder: OpenClipEncoder) -> TokenTable:
    """See :meth:`OpenClipEncoder.token_embeddings`. EncoderError for tokenizers that are no byte-pair table."""
    import torch

    tokenizer = tokenizer_of(encoder)
    if not hasattr(tokenizer, "byte_decoder"):
        raise EncoderError(f"{encoder.name}: only CLIP's own byte-pair vocabulary can be listed token by token")
    size = int(encoder.source.config["text_cfg"].get("vocab_size", 49408))
    special = set(tokenizer.all_special_ids)
    ids = [i for i in sorted(tokenizer.decoder) if i not in special and i < size]
    pieces = [tokenizer.decoder[i] for i in ids]
    ends = [piece.endswith("</w>") for piece in pieces]
    letters = [piece.removesuffix("</w>") for piece in pieces]
    texts = [bytes(tokenizer.byte_decoder[c] for c in word).decode("utf-8", "replace") for word in letters]

    cache = _cache_file(encoder, "vocabulary", [str(len(ids))])
    embeddings = _read(cache, len(ids))
    if embeddings is None:
        # Not through the tokenizer: most sub-word tokens are no text that it would give back as one token.
        table = torch.zeros(len(ids), tokenizer.context_length, dtype=torch.long)
        table[:, 0], table[:, 2] = tokenizer.sot_token_id, tokenizer.eot_token_id
        table[:, 1] = torch.tensor(ids)
        embeddings = _write(cache, unit_length(encode_ids(encoder, table)))
    return TokenTable(np.asarray(ids), texts, np.asarray(ends, dtype=bool), embeddings)


def tokenizer_of(encoder: OpenClipEncoder) -> Any:
    """open_clip's tokenizer for this model; EncoderError if its files are missing."""
    import open_clip

    source = encoder.source
    text = source.config["text_cfg"]
    try:
        if source.tokenizer:
            return open_clip.get_tokenizer(source.tokenizer)
        settings = text.get("tokenizer_kwargs") or {}
        return open_clip.SimpleTokenizer(context_length=text.get("context_length", 77), **settings)
    except (OSError, ValueError, RuntimeError, ImportError, TypeError, AssertionError) as error:
        raise EncoderError(f"{encoder.name}: its tokenizer cannot be loaded: {one_line(error)}") from error


def encode_ids(encoder: OpenClipEncoder, ids: torch.Tensor, *, trim: bool = True) -> np.ndarray:
    """Token ids (n, context) → embeddings (n, d) float32, not normalised.

    trim: cut the context where that is exact; checked against the full length on the first batch of every call.
    """
    import torch

    model = encoder.model
    tower = model.text if hasattr(model, "text") else model
    cut = trim and why_full_length(encoder.source.config) == ""
    lengths = _lengths(tower, ids) if cut else torch.full((len(ids),), ids.shape[1])
    if cut and not _trimming_is_exact(model, tower, ids[:4].to(encoder.device), int(lengths[:4].max())):
        lengths = torch.full((len(ids),), ids.shape[1])
    out = np.empty((len(ids), int(encoder.source.config["embed_dim"])), np.float32)
    with torch.inference_mode():
        for rows, length in _batches(lengths):
            batch = ids[rows].to(encoder.device)
            short = length < ids.shape[1]
            features = _trimmed(tower, batch[:, :length]) if short else model.encode_text(batch)
            out[rows.numpy()] = features.float().cpu().numpy()
    return out


def why_full_length(config: dict[str, Any]) -> str:
    """Why the context of this text tower may not be cut, or "" if cutting changes nothing."""
    text = config["text_cfg"]
    if "hf_model_name" in text:
        return "a Hugging Face tower"
    if text.get("no_causal_mask"):
        return "not causal"
    if text.get("embed_cls"):
        return "a class token at the end of the context"
    return "" if text.get("pool_type", "argmax") in ("argmax", "eos") else "does not pool at the end of the text"


def _lengths(tower: Any, ids: torch.Tensor) -> torch.Tensor:
    """Tokens of each row up to and including the one that is pooled, [n]."""
    if _pool_type(tower) == "eos":
        return (ids == _eos(tower)).int().argmax(-1) + 1
    return ids.argmax(-1) + 1


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or tower.pool_type)


def _eos(tower: Any) -> int:
    return int(getattr(tower, "text_eos_id", None) or tower.eos_id)


def _batches(lengths: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
    """Rows of the same length together, about BATCH_TOKENS tokens at a time: a row's batch never changes its length."""
    import torch

    for length in torch.unique(lengths).tolist():
        rows = torch.nonzero(lengths == length).squeeze(1)
        for part in rows.split(max(1, BATCH_TOKENS // length)):
            yield part, length


def _trimmed(tower: Any, ids: torch.Tensor) -> torch.Tensor:
    """open_clip's text forward on a shorter context, [b, t] → [b, d]."""
    import torch

    t = ids.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:t].to(dtype)  # [b, t, D]
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:t, :t]))
    rows = torch.arange(len(ids), device=ids.device)
    pooled = x[rows, _lengths(tower, ids) - 1]  # [b, D]
    projection = tower.text_projection
    if projection is None:
        return pooled
    return projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection


def _trimming_is_exact(model: Any, tower: Any, ids: torch.Tensor, length: int) -> bool:
    import torch

    if length >= ids.shape[1]:
        return True
    with torch.inference_mode():
        full = torch.nn.functional.normalize(model.encode_text(ids).float(), dim=-1)
        cut = torch.nn.functional.normalize(_trimmed(tower, ids[:, :length]).float(), dim=-1)
    # half precision rounds differently for other shapes; a tower that looked beyond the end would be far off
    return bool(((full * cut).sum(-1) > 0.999).all())


def _cache_file(encoder: OpenClipEncoder, what: str, texts: list[str]) -> Path:
    """One file per encoder, precision and list of texts; how images are treated does not matter to a text."""
    fingerprint = encoder.fingerprint()
    facts = {key: fingerprint[key] for key in ("weights", "config", "precision")}
    digest = hashlib.sha256(json.dumps([1, facts, what, texts]).encode()).hexdigest()
    return cache_dir() / "text" / f"{what}-{digest[:32]}.npy"


def _read(path: Path, rows: int) -> np.ndarray | None:
    try:
        matrix: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None  # not there, or damaged: compute again
    return matrix if matrix.ndim == 2 and len(matrix) == rows else None


def _write(path: Path, matrix: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    np.save(buffer, matrix.astype(np.float32), allow_pickle=False)
    keep_cached(path, buffer.getvalue())
    return matrix.astype(np.float32)
