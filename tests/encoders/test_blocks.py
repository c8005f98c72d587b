"""The channel ``blocks``: what each layer gives, against the libraries' own forward; and how much is run for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures, save_model, tiny_config

from aigiscan.encoders import EncoderOptions, create_encoder, encoder_from_fingerprint
from aigiscan.encoders.registry import ENCODERS
from aigiscan.errors import EncoderError

FP32 = {"precision": "fp32", "device": "cpu"}
POOLS = {
    "class token": {},
    "average": {"pool_type": "avg"},
    "average, norm after": {"pool_type": "avg", "final_ln_after_pool": True},
    "mean asked for": {"pooling": "mean"},
    "layer scale": {"ls_init_value": 0.3},
}


def encode(name: str, count: int = 3, **options: object) -> dict[str, np.ndarray]:
    encoder = create_encoder(name, EncoderOptions(**{**FP32, **options}))
    channels = encoder.encode([encoder.prepare(image) for image in pictures(count)])
    assert {k: v.shape[1:] for k, v in channels.items()} == {k: s.shape for k, s in encoder.channels().items()}
    return channels


@pytest.mark.parametrize("pool", POOLS)
def test_open_clip_blocks_are_what_its_own_layers_give(pool: str, tmp_path: Path) -> None:
    vision = dict(POOLS[pool])
    pooling = vision.pop("pooling", "class")
    name, stock = save_model(tmp_path / "m", tiny_config(**vision))
    channels = encode(name, blocks=True, pooling=pooling)
    caught: list[torch.Tensor] = []
    for block in stock.visual.transformer.resblocks:
        block.register_forward_hook(lambda _, args, out: caught.append(out))
    encoder = create_encoder(name, EncoderOptions(**FP32))
    pixels = encoder.pixels([encoder.prepare(image) for image in pictures(3)])
    with torch.inference_mode():
        stock.encode_image(pixels)
    tokens = slice(None) if pooling == "mean" else slice(1, None) if "pool_type" in vision else slice(0, 1)
    expected = torch.stack([out[:, tokens].mean(1) for out in caught], 1).numpy()
    np.testing.assert_allclose(channels["blocks"], expected, atol=2e-5)
    plain = encode(name, pooling=pooling)
    np.testing.assert_allclose(channels["embedding"], plain["embedding"], atol=1e-6)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_norms_are_what_the_second_norm_of_each_layer_gives(pooling: str, quick: bool, tmp_path: Path) -> None:
    name, stock = save_model(tmp_path / "m", tiny_config(quick_gelu=quick))
    got = encode(name, projection="norms", pooling=pooling)["embedding"]
    caught: list[torch.Tensor] = []
    for block in stock.visual.transformer.resblocks:
        block.ln_2.register_forward_hook(lambda _, args, out: caught.append(out))
    encoder = create_encoder(name, EncoderOptions(**FP32))
    with torch.inference_mode():
        stock.encode_image(encoder.pixels([encoder.prepare(image) for image in pictures(3)]))
    tokens = slice(None) if pooling == "mean" else slice(0, 1)
    expected = torch.cat([out[:, tokens].mean(1) for out in caught], 1).numpy()
    assert got.shape == (3, 3 * 32)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    with pytest.raises(EncoderError, match="heads sum up"):
        create_encoder(name, EncoderOptions(projection="norms", heads=True))


def test_heads_and_blocks_together_change_neither(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path / "m", tiny_config())
    both = encode(name, heads=True, blocks=True)
    for alone in (encode(name, heads=True), encode(name, blocks=True)):
        for channel, values in alone.items():
            np.testing.assert_array_equal(both[channel], values)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth_runs_so_many_layers_and_gives_the_same_blocks(depth: int, tmp_path: Path) -> None:
    name, _ = save_model(tmp_path / "m", tiny_config())
    whole = encode(name, blocks=True)["blocks"]
    encoder = create_encoder(name, EncoderOptions(blocks=True, depth=depth, **FP32))
    ran: list[int] = []
    for i, block in enumerate(encoder.tower.blocks):
        block.mlp.register_forward_hook(lambda *_, i=i: ran.append(i))
    channels = encoder.encode([encoder.prepare(image) for image in pictures(3)])
    assert list(channels) == ["blocks"] == list(encoder.channels())
    np.testing.assert_allclose(channels["blocks"], whole[:, :depth], atol=1e-5)
    assert ran == list(range(depth))
    assert encoder.columns() == []


@pytest.mark.parametrize("architecture", ["test_vit", "test_vit2", "test_vit3", "test_vit4", "eva02_tiny_patch14_224"])
def test_timm_blocks_are_what_its_own_layers_give(architecture: str, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    name = f"timm:{architecture}/{tmp_path / 'w.safetensors'}"
    channels = encode(name, blocks=True)
    plain = encode(name)
    np.testing.assert_allclose(channels["embedding"], plain["embedding"], atol=1e-5)
    caught: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _, args, out: caught.append(out))
    encoder = create_encoder(name, EncoderOptions(**FP32))
    raw = torch.from_numpy(np.stack([encoder.prepare(image) for image in pictures(3)])).float() / 255
    mean, std = (torch.tensor(encoder._data[k]).reshape(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.inference_mode():
        model((raw - mean) / std)
    has_class = getattr(model, "cls_token", None) is not None
    first = model.num_prefix_tokens
    expected = [out[:, 0] if has_class else out[:, first:].mean(1) for out in caught]
    np.testing.assert_allclose(channels["blocks"], torch.stack(expected, 1).numpy(), atol=1e-4)
    short = encode(name, blocks=True, depth=2)
    assert list(short) == ["blocks"]
    np.testing.assert_allclose(short["blocks"], channels["blocks"][:, :2], atol=1e-4)


def test_blocks_of_a_concatenation_are_those_of_the_one_part_that_has_them(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path / "m", tiny_config())
    alone, together = encode(name, blocks=True), encode(f"color:rgb+{name}", blocks=True)
    np.testing.assert_array_equal(alone["blocks"], together["blocks"])
    encoder = create_encoder(f"color:rgb+{name}", EncoderOptions(blocks=True, **FP32))
    again = encoder_from_fingerprint(json.loads(json.dumps(encoder.fingerprint())), device="cpu", blocks=True)
    assert "blocks" in again.channels()


def test_what_has_no_blocks_says_so(tmp_path: Path) -> None:
    for kind in ("lite", "spam", "color:rgb", "spectrum"):
        assert kind.split(":")[0] in ENCODERS
        with pytest.raises(EncoderError, match="--blocks"):
            create_encoder(kind, EncoderOptions(blocks=True))
    with pytest.raises(EncoderError, match="one width"):
        create_encoder("timm:test_resnet", EncoderOptions(blocks=True)).channels()
    name, _ = save_model(tmp_path / "m", tiny_config())
    with pytest.raises(EncoderError, match="has 3 layers, not 4"):
        create_encoder(name, EncoderOptions(blocks=True, depth=4)).channels()
    with pytest.raises(EncoderError, match="depth is for blocks alone"):
        create_encoder(name, EncoderOptions(depth=2))


def test_timm_takes_another_size_where_the_model_does(tmp_path: Path) -> None:
    import timm

    stock = timm.create_model("test_convnext", pretrained=False).eval()
    torch.save(stock.state_dict(), tmp_path / "w.pth")
    encoder = create_encoder(f"timm:test_convnext@64/{tmp_path / 'w.pth'}", EncoderOptions(**FP32))
    assert create_encoder(encoder.name).name == encoder.name
    square = [picture.resize((64, 64)) for picture in pictures(2)]
    inputs = [encoder.prepare(picture) for picture in square]
    for one, picture in zip(inputs, square, strict=True):
        np.testing.assert_array_equal(one, np.asarray(picture).transpose(2, 0, 1))
    config = encoder.fingerprint()["preprocessing"]
    pixels = (torch.from_numpy(np.stack(inputs)) / 255 - torch.tensor(config["mean"])[:, None, None]) / torch.tensor(
        config["std"]
    )[:, None, None]
    with torch.inference_mode():
        expected = stock.forward_head(stock.forward_features(pixels), pre_logits=True).numpy()
    np.testing.assert_allclose(encoder.encode(inputs)["embedding"], expected, atol=1e-4)
    with pytest.raises(EncoderError, match="its own size alone"):
        create_encoder(f"timm:vit_tiny_patch16_224@64/{tmp_path / 'w.pth'}", EncoderOptions(**FP32)).fingerprint()
    with pytest.raises(EncoderError, match="after @"):
        create_encoder("timm:test_convnext@big")
