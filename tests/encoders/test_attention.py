"""Our own run through open_clip's blocks: only the wanted tokens, either attention, the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures, save_model, tiny_config

from aigiscan.encoders import EncoderOptions, attention, create_encoder, packed
from aigiscan.encoders.attention import ALL, by_products, choose_attention, fused, through_block

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))


def test_products_are_attention() -> None:
    """Against the textbook formula, with fewer queries than keys."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 4, 8) * 3, torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    expected = (q @ k.mT / 8**0.5).softmax(-1) @ v
    torch.testing.assert_close(by_products(q, k, v), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fused(q, k, v), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attend", [fused, by_products])
@pytest.mark.parametrize("wanted", [ALL, slice(0, 1), slice(1, None)])
@pytest.mark.parametrize("vision", [{}, {"ls_init_value": 0.5}, {"scale_heads": True, "qk_norm": True}])
def test_a_block_gives_what_its_own_forward_gives(
    tmp_path: Path, vision: dict, wanted: slice, attend: attention.Attend
) -> None:
    name, _ = save_model(tmp_path, tiny_config(**vision))
    block = create_encoder(name, EncoderOptions(device="cpu", precision="fp32")).tower.blocks[1]
    x = torch.randn(3, 17, 32)
    with torch.inference_mode():
        torch.testing.assert_close(through_block(block, x, attend, wanted), block(x)[:, wanted], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("products", "chosen"), [(0.4, by_products), (0.9, fused)])
def test_attention_is_timed_once_and_remembered(
    monkeypatch: pytest.MonkeyPatch, products: float, chosen: attention.Attend
) -> None:
    calls = []

    def timed(*_args: object) -> dict[str, float]:
        calls.append(1)
        return {"fused": 1.0, "by_products": products}

    monkeypatch.setattr(attention, "time_attention", timed)
    assert choose_attention(CPU, "bf16", 4, 17, 8) is chosen
    assert choose_attention(CPU, "bf16", 4, 17, 8) is chosen
    assert len(calls) == 1
    assert choose_attention(CPU, "fp32", 4, 17, 8) is fused
    assert choose_attention(torch.device("cuda"), "bf16", 4, 17, 8) is fused
    assert len(calls) == 1


def test_attentions_are_really_timed() -> None:
    times = attention.time_attention("bf16", 2, 17, 8)
    assert set(times) == {"fused", "by_products"} and all(seconds > 0 for seconds in times.values())


@pytest.mark.parametrize("attend", [fused, by_products])
def test_either_attention_is_close_to_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attend: attention.Attend
) -> None:
    monkeypatch.setattr(attention, "choose_attention", lambda *_: attend)
    name, _ = save_model(tmp_path, tiny_config())
    exact, fast = (create_encoder(name, EncoderOptions(device="cpu", precision=p)) for p in ("fp32", "bf16"))
    inputs = [exact.prepare(i) for i in pictures(6)]
    x, y = exact.encode(inputs)["embedding"], fast.encode(inputs)["embedding"]
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("there", [True, False])
def test_packed_layers_change_nothing_but_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    if there and not packed.usable():
        pytest.skip("this torch or processor has no packed products")
    name, _ = save_model(tmp_path, tiny_config())
    options = EncoderOptions(device="cpu", precision="bf16", heads=True)
    ours = create_encoder(name, options)
    if not there:
        monkeypatch.setattr(packed, "usable", lambda: False)
    kinds = {type(block.attn.out_proj).__name__ for block in ours.tower.blocks[:-1]}
    assert kinds == ({"PackedLinear"} if there else {"Linear"})
    monkeypatch.setattr(packed, "usable", lambda: False)
    plain = create_encoder(name, options)
    inputs = [ours.prepare(i) for i in pictures(5)]
    a, b = ours.encode(inputs), plain.encode(inputs)
    for channel in a:
        x, y = a[channel].reshape(5, -1), b[channel].reshape(5, -1)
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        assert cosine.min() > 0.9999, channel


def test_operators_that_are_missing_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(packed, "PackedLinear", refuse)
    assert not packed.usable()
