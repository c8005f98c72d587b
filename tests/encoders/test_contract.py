"""One contract for every encoder of the registry; a new encoder gets a line in ``NAMES``."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures, save_model, tiny_config

from aigiscan.encoders import ENCODERS, Encoder, EncoderOptions, create_encoder, encoder_from_fingerprint
from aigiscan.encoders.weights import shipped_models_dir

CPU = EncoderOptions(device="cpu", precision="fp32")
# kind → names to test; "{clip}" and "{timm}" stand for files the fixture makes
NAMES = {
    "open_clip": ["{clip}"],
    "mini": ["mini"],
    "lite": ["lite"],
    "lite:native": ["lite:native"],
    "lite:trained": ["lite:trained"],
    "spam": ["spam"],
    "timm": ["timm:test_vit/{timm}"],
    "color": ["color:rgb", "color:hsv", "color:ycbcr"],
    "spectrum": ["spectrum"],
}
COMBINED = ["spam+spectrum", "{clip}+lite", "lite+lite:native"]


def test_every_encoder_is_tested() -> None:
    assert set(NAMES) == set(ENCODERS)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("contract")
    clip, _ = save_model(folder / "clip", tiny_config())
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False)
    save_file(model.state_dict(), folder / "vit.safetensors")
    return {"clip": clip, "timm": str(folder / "vit.safetensors")}


@pytest.fixture(params=[*(n for names in NAMES.values() for n in names), *COMBINED])
def encoder(request: pytest.FixtureRequest, files: dict[str, str]) -> Encoder:
    if request.param == "mini" and not (shipped_models_dir() / "mini" / "open_clip_config.json").is_file():
        pytest.skip("mini is not part of this checkout")
    return create_encoder(request.param.format(**files), CPU)


def strange_pictures() -> list[Image.Image]:
    grey = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (48, 1))).convert("RGB")
    sizes = [(1, 1), (2, 1), (1, 500), (3000, 2), (5, 7)]
    return [grey, *(Image.new("RGB", size, (200, 30, 90)) for size in sizes), *pictures(2, (300, 200))]


def test_shape_dtype_and_finiteness_are_as_declared(encoder: Encoder) -> None:
    images = strange_pictures()
    channels = encoder.encode([encoder.prepare(image) for image in images])
    declared = encoder.channels()
    assert set(channels) == set(declared)
    for name, values in channels.items():
        assert values.shape == (len(images), *declared[name].shape)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    assert encoder.encode([])["embedding"].shape == (0, *declared["embedding"].shape)


def test_different_pictures_have_different_embeddings(encoder: Encoder) -> None:
    a, b = encoder.encode([encoder.prepare(image) for image in pictures(2)])["embedding"]
    assert np.abs(a - b).max() > 1e-4


def test_the_same_picture_gives_the_same_numbers(encoder: Encoder) -> None:
    image = pictures(1)[0]
    before = image.tobytes()
    first, second = (encoder.encode([encoder.prepare(image)])["embedding"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert image.tobytes() == before


def test_a_batch_changes_no_image(encoder: Encoder) -> None:
    inputs = [encoder.prepare(image) for image in pictures(5)]
    together = encoder.encode(inputs)["embedding"]
    alone = np.concatenate([encoder.encode([one])["embedding"] for one in inputs])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(encoder.encode(inputs[::-1])["embedding"][::-1], together, rtol=1e-4, atol=1e-4)


def test_prepare_is_thread_safe(encoder: Encoder) -> None:
    images = pictures(12)
    expected = encoder.encode([encoder.prepare(image) for image in images])["embedding"]
    fresh = create_encoder(encoder.name, CPU)
    with ThreadPoolExecutor(4) as pool:
        inputs = list(pool.map(fresh.prepare, images))
    np.testing.assert_allclose(fresh.encode(inputs)["embedding"], expected, rtol=1e-5, atol=1e-5)


def test_the_name_gives_the_same_encoder_again(encoder: Encoder) -> None:
    again = create_encoder(encoder.name, CPU)
    assert type(again) is type(encoder)
    assert again.name == encoder.name
    assert again.fingerprint() == encoder.fingerprint()


def test_the_fingerprint_is_json_and_enough(encoder: Encoder) -> None:
    fingerprint = encoder.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert {"name", "weights", "preprocessing", "precision", "pooling", "projection", "normalize"} <= set(fingerprint)
    again = encoder_from_fingerprint(json.loads(json.dumps(fingerprint)), device="cpu")
    assert again.fingerprint() == fingerprint
    inputs = [encoder.prepare(image) for image in pictures(1)]
    np.testing.assert_array_equal(again.encode(inputs)["embedding"], encoder.encode(inputs)["embedding"])


def test_normalised_means_length_one(encoder: Encoder) -> None:
    unit = create_encoder(encoder.name, replace(CPU, normalize=True))
    values = unit.encode([unit.prepare(image) for image in pictures(2)])["embedding"]
    parts = len(encoder.name.split("+"))  # each part of a concatenation by itself
    np.testing.assert_allclose((values.astype(np.float64) ** 2).sum(1), parts, rtol=1e-5)


def test_columns_are_named_once_each(encoder: Encoder) -> None:
    columns = encoder.columns()
    assert len(columns) == len(set(columns)) == encoder.channels()["embedding"].shape[0]
