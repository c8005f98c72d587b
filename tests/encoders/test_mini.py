"""The shipped encoder `mini`: loads with no network, embeds, and its words hold on photographs treated here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.pixels import native_crop
from aigiscan.encoders.weights import shipped_models_dir
from aigiscan.images import perturb

MINI = shipped_models_dir() / "mini"
pytestmark = pytest.mark.skipif(not (MINI / "weights.safetensors").is_file(), reason="models/mini is not shipped yet")


@pytest.fixture(scope="module")
def mini():
    return create_encoder("mini", EncoderOptions(precision="fp32", device="cpu"))


@pytest.fixture(scope="module")
def photographs():
    """Photographs that training left out: pieces of those that scikit-learn brings along."""
    from sklearn.datasets import load_sample_images

    pieces = []
    for array in load_sample_images().images:
        for top in (0, 200):
            for left in (0, 208, 416):
                pieces.append(Image.fromarray(array[top : top + 224, left : left + 224]))
    return pieces


def share_of_right_answers(encoder, pictures, contrary, says, says_contrary):
    text = encoder.encode_text([says, says_contrary])
    difference = text[0] - text[1]
    right = []
    for images, sign in ((pictures, 1), (contrary, -1)):
        x = encoder.encode([encoder.prepare(image) for image in images])["embedding"]
        right.append((sign * (x @ difference) > 0).mean())
    return float(np.mean(right))


def test_is_a_transformer_with_heads_of_64(mini):
    vision = json.loads((MINI / "open_clip_config.json").read_text())["model_cfg"]["vision_cfg"]
    assert vision["head_width"] == 64 and vision["layers"] >= 8 and vision["width"] // 64 >= 4
    assert (MINI / "weights.safetensors").stat().st_size <= 40e6
    assert mini.channels()["embedding"].shape == (256,)


def test_name_and_preprocessing_are_its_own(mini):
    assert mini.name == "mini"
    fingerprint = mini.fingerprint()
    assert fingerprint["preprocessing"]["resize_mode"] == "native"
    assert len(fingerprint["weights"]) == 64


def test_sees_the_centre_at_native_resolution(mini):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    prepared = mini.prepare(Image.fromarray(array))
    # offsets (38, 88) rounded down to the block grid of a JPEG
    assert np.array_equal(prepared.transpose(1, 2, 0), array[32:256, 88:312])


@pytest.mark.parametrize("size", [(1, 1), (30, 500), (223, 225), (224, 224), (1000, 100)])
def test_small_pictures_are_mirrored_not_resized(size):
    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    crop = np.asarray(native_crop(Image.fromarray(array), 224))
    assert crop.shape == (224, 224, 3)
    colours = {tuple(c) for c in array.reshape(-1, 3)}
    assert {tuple(c) for c in crop.reshape(-1, 3)} <= colours  # nothing was interpolated


def test_one_image_does_not_depend_on_its_batch(mini, photographs):
    inputs = [mini.prepare(p) for p in photographs[:3]]
    together, alone = mini.encode(inputs)["embedding"], mini.encode(inputs[1:2])["embedding"]
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
    assert np.isfinite(together).all()


def test_heads_and_the_rest_sum_to_the_embedding(photographs):
    encoder = create_encoder("mini", EncoderOptions(precision="fp32", device="cpu", heads=True))
    channels = encoder.encode([encoder.prepare(p) for p in photographs[:2]])
    assert channels["heads"].shape == (2, 8, 4, 64)
    assert (channels["sigma"] > 0).all()


def test_words_that_training_never_used_say_nothing(mini):
    text = mini.encode_text(["zeppelin", "quantum", "blurry"])
    assert text[0] @ text[1] > 0.999
    assert text[0] @ text[2] < 0.99


def test_blurred(mini, photographs):
    blurred = [perturb.gaussian_blur(p, 2.0) for p in photographs]
    assert share_of_right_answers(mini, blurred, photographs, "a blurry photo", "a sharp photo") >= 0.95


def test_grey(mini, photographs):
    grey = [p.convert("L").convert("RGB") for p in photographs]
    assert share_of_right_answers(mini, grey, photographs, "a black and white photo", "a colour photo") >= 0.95


def test_noisy(mini, photographs):
    noisy = [perturb.gaussian_noise(p, 0.01, i) for i, p in enumerate(photographs)]
    assert share_of_right_answers(mini, noisy, photographs, "a noisy photo", "a clean photo") >= 0.95


def test_compressed(mini, photographs):
    low, high = [perturb.jpeg(p, 10) for p in photographs], [perturb.jpeg(p, 95) for p in photographs]
    assert share_of_right_answers(mini, low, high, "a heavily compressed photo", "a high quality photo") >= 0.95


def test_dark(mini, photographs):
    dark = [p.point(lambda v: v * 0.3) for p in photographs]
    bright = [p.point(lambda v: 255 - (255 - v) * 0.35) for p in photographs]
    assert share_of_right_answers(mini, dark, bright, "a dark photo", "a bright photo") >= 0.95


def test_upscaled(mini, photographs):
    up = [perturb.resize(p, 4.0) for p in photographs]
    assert share_of_right_answers(mini, up, photographs, "an upscaled photo", "a photo at native resolution") >= 0.95


def test_card_has_figures_and_limits():
    import yaml

    card = yaml.safe_load((MINI / "card.yaml").read_text())
    assert {"measured", "training", "not_good_for", "data"} <= set(card)
    assert Path(MINI / "TRAINING_LOG.md").is_file()
