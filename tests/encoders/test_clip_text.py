"""Text towers: trimming is exact where it is used, the vocabulary is what it says, the cache holds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import save_model, tiny_config

from aigiscan.encoders import EncoderOptions, clip_text, create_encoder
from aigiscan.errors import EncoderError

CPU32 = EncoderOptions(device="cpu", precision="fp32")
TEXTS = ["a cat", "", "a blurred photograph of two dogs in the rain, film grain", "noise", "word " * 200, "Äther 東京"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))


def stock_text(model, texts: list[str]) -> np.ndarray:
    with torch.inference_mode():
        return model.encode_text(open_clip.tokenize(texts), normalize=True).numpy()


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(),
        tiny_config(quick_gelu=True),
        {**tiny_config(text={"proj_bias": True}), "custom_text": True},
        {**tiny_config(text={"pool_type": "eos", "eos_id": 49407}), "custom_text": True},
        {**tiny_config(text={"no_causal_mask": True, "pool_type": "last"}), "custom_text": True},
        {**tiny_config(text={"embed_cls": True}), "custom_text": True},
    ],
    ids=["plain", "quickgelu", "custom", "eos", "not causal", "class token"],
)
def test_texts_are_those_of_the_stock_model(tmp_path: Path, config: dict) -> None:
    name, model = save_model(tmp_path / "model", config)
    encoder = create_encoder(name, CPU32)
    ours = encoder.encode_text(TEXTS)
    assert ours.dtype == np.float32 and ours.shape == (6, 24)
    np.testing.assert_allclose(ours, stock_text(model, TEXTS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-5)


def test_the_context_is_really_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = save_model(tmp_path / "model", tiny_config())
    encoder = create_encoder(name, CPU32)
    seen = []
    original = clip_text._trimmed
    monkeypatch.setattr(clip_text, "_trimmed", lambda tower, ids: seen.append(ids.shape[1]) or original(tower, ids))
    encoder.encode_text(["a cat", "noise"])
    assert max(seen) == 4  # start, "a", "cat", end


def test_a_tower_that_looks_beyond_the_end_is_not_cut(tmp_path: Path) -> None:
    """A mask that is not causal after all: the check finds it, and the full length is used."""
    name, model = save_model(tmp_path / "model", tiny_config())
    encoder = create_encoder(name, CPU32)
    for one in (encoder.model, model):
        one.attn_mask.zero_()
    np.testing.assert_allclose(encoder.encode_text(TEXTS), stock_text(model, TEXTS), rtol=1e-4, atol=1e-5)


def test_texts_are_cached_per_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = save_model(tmp_path / "model", tiny_config())
    first = create_encoder(name, CPU32).encode_text(TEXTS)
    calls = []
    original = clip_text.encode_ids
    monkeypatch.setattr(clip_text, "encode_ids", lambda *a, **k: calls.append(1) or original(*a, **k))
    np.testing.assert_array_equal(create_encoder(name, CPU32).encode_text(TEXTS), first)
    assert not calls
    other, _ = save_model(tmp_path / "other", tiny_config(), seed=1)
    assert np.abs(create_encoder(other, CPU32).encode_text(TEXTS) - first).max() > 1e-3
    assert len(calls) == 1
    for file in (tmp_path / "cache" / "text").iterdir():
        file.write_bytes(b"damaged")
    np.testing.assert_array_equal(create_encoder(name, CPU32).encode_text(TEXTS), first)
    assert len(calls) == 2


def test_the_vocabulary_is_embedded_token_by_token(tmp_path: Path) -> None:
    config = tiny_config(text={"layers": 1})
    name, model = save_model(tmp_path / "model", config)
    encoder = create_encoder(name, CPU32)
    table = encoder.token_embeddings()
    assert len(table.ids) == len(table.texts) == len(table.word_end) == len(table.embeddings) == 49406
    assert {49406, 49407}.isdisjoint(table.ids)
    tokenizer = open_clip.SimpleTokenizer()
    for word in ("cat", "blur", "photography"):
        (token,) = tokenizer.encode(word)
        row = int(np.flatnonzero(table.ids == token)[0])
        assert table.texts[row] == word and table.word_end[row]
        np.testing.assert_allclose(table.embeddings[row], stock_text(model, [word])[0], rtol=1e-4, atol=1e-5)
    # a token inside a word: start, token, end, whatever the tokenizer would make of its letters
    token = tokenizer.encoder["phot"] if "phot" in tokenizer.encoder else tokenizer.encoder["ph"]
    row = int(np.flatnonzero(table.ids == token)[0])
    assert not table.word_end[row]
    ids = torch.zeros(1, 77, dtype=torch.long)
    ids[0, :3] = torch.tensor([49406, token, 49407])
    with torch.inference_mode():
        expected = model.encode_text(ids, normalize=True)[0].numpy()
    np.testing.assert_allclose(table.embeddings[row], expected, rtol=1e-4, atol=1e-5)


def test_encoders_without_text_say_so() -> None:
    for name in ("lite", "spam", "lite+spam"):
        with pytest.raises(EncoderError, match="text tower"):
            create_encoder(name).encode_text(["a"])
