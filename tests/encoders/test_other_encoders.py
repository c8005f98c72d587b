"""timm, colour and spectrum: planted answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.spectrum import RINGS, radial_log_power
from aigiscan.errors import EncoderError

CPU = EncoderOptions(device="cpu", precision="fp32")


def embed(name: str, *images: Image.Image) -> np.ndarray:
    encoder = create_encoder(name, CPU)
    return encoder.encode([encoder.prepare(image) for image in images])["embedding"]


@pytest.mark.parametrize("architecture", ["test_vit", "test_efficientnet"])
def test_timm_features_are_those_of_timm(tmp_path: Path, architecture: str) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    images = pictures(2, (220, 190))
    with torch.inference_mode():
        model.reset_classifier(0)
        expected = model(torch.stack([transform(image) for image in images])).numpy()
    ours = embed(f"timm:{architecture}/{tmp_path / 'w.safetensors'}", *images)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_timm_weights_that_leave_a_part_random_are_refused(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    state = timm.create_model("test_vit", pretrained=False).state_dict()
    del state["blocks.0.attn.qkv.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(EncoderError, match="do not fit"):
        embed(f"timm:test_vit/{tmp_path / 'w.safetensors'}", pictures(1)[0])


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("timm:nosuchmodel", "no model"),
        ("timm:", "needs a model"),
        ("timm:test_vit.nosuchtag", "tag"),
        ("timm:test_vit//nowhere.safetensors", "does not exist"),
        ("color:lab", "color:hsv"),
        ("color", "color:hsv"),
    ],
)
def test_wrong_names_are_one_line(name: str, word: str) -> None:
    with pytest.raises(EncoderError, match=word) as caught:
        create_encoder(name, CPU).fingerprint()
    assert "\n" not in str(caught.value)


def test_timm_offline_names_the_file_to_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError) as caught:
        create_encoder("timm:vit_small_patch14_dinov2.lvd142m").fingerprint()
    for word in ("models--timm--vit_small_patch14_dinov2.lvd142m", "model.safetensors", "HF_HUB_OFFLINE", "PATH/TO"):
        assert word in str(caught.value)


def test_colour_columns_are_where_the_docstring_says() -> None:
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    (rgb,) = embed("color:rgb", red)
    assert rgb[31] == rgb[32] == rgb[64] == 1  # red in the last bin, green and blue in their first
    assert rgb[96 + 64 * 7] == 1
    assert (rgb**2).sum() == pytest.approx(4)
    half = Image.new("RGB", (20, 10), (0, 0, 255))
    half.paste(red, (10, 0))
    (hsv,) = embed("color:hsv", half)
    assert hsv[0] ** 2 == pytest.approx(0.5)  # hue of red
    assert hsv[170 * 32 // 256] ** 2 == pytest.approx(0.5)  # hue of blue: 240 of 360 degrees
    assert hsv[32 + 31] == hsv[64 + 31] == 1


def test_spectrum_finds_a_planted_frequency() -> None:
    x = np.arange(256)
    wave = 3 * np.cos(2 * np.pi * 0.4 * x)[None, :] * np.ones((256, 1))
    spectrum = radial_log_power(wave)
    assert abs(int(spectrum.argmax()) - int(0.4 / np.sqrt(0.5) * RINGS)) <= 1
    assert spectrum.max() > np.median(spectrum) + 2


def test_upsampling_leaves_a_hole_in_the_corner_of_the_spectrum() -> None:
    """Nearest-neighbour upsampling by 2 repeats every pixel: its spectrum has a hole at the highest frequencies."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (128, 128), dtype=np.uint8)
    up = Image.fromarray(np.kron(small, np.ones((2, 2), np.uint8))).convert("RGB")
    plain = Image.fromarray(rng.integers(0, 256, (256, 256), dtype=np.uint8)).convert("RGB")
    one, other = embed("spectrum", up, plain)
    assert one[-10:].mean() < other[-10:].mean() - 0.5
