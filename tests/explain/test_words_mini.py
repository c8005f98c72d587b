"""Words where the truth is known: probes on copies of photographs that differ in one treatment, read by ``mini``."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image, ImageFilter

from aigiscan.encoders.weights import shipped_models_dir

pytestmark = pytest.mark.skipif(
    not (shipped_models_dir() / "mini" / "weights.safetensors").is_file(), reason="models/mini is not shipped yet"
)


def photographs() -> list[Image.Image]:
    """Crops of 160 pixels from the photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    crops = []
    for pixels in load_sample_images().images:
        image = Image.fromarray(pixels)
        for top in range(0, image.height - 159, 80):
            crops += [image.crop((left, top, left + 160, top + 160)) for left in range(0, image.width - 159, 80)]
    return crops


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(BytesIO(buffer.getvalue())).convert("RGB")


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2.5))


def noisy(image: Image.Image) -> Image.Image:
    rng = np.random.default_rng(crc32(image.tobytes()))
    values = np.asarray(image, dtype=np.float64) + rng.normal(0, 30, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def same(image: Image.Image) -> Image.Image:
    return image


#: name → treatment of the reals, of the fakes, words of the fakes, words of the reals
CASES: dict[str, tuple[Callable, Callable, str, str]] = {
    "blur": (same, blurred, r"blur|out of focus|soft picture", r"sharp|crisp"),
    "jpeg": (
        partial(jpeg, quality=95),
        partial(jpeg, quality=30),
        r"JPEG|block|compress|artefact",
        r"without compression|high-quality|clean",
    ),
    "grey": (same, lambda i: i.convert("L").convert("RGB"), r"grey|black and white|monochrome", r"colourful|vivid"),
    "noise": (same, noisy, r"nois|grain|speckled", r"clean|without noise|smooth"),
}


@pytest.fixture(scope="module")
def mini() -> Any:
    from aigiscan.encoders import EncoderOptions, create_encoder

    return create_encoder("mini", EncoderOptions(device="cpu", precision="fp32"))


@pytest.mark.parametrize("case", CASES)
def test_the_probe_says_what_was_done(mini: Any, case: str) -> None:
    from planted_clip import make_detector

    from aigiscan.explain.directions import directions_of
    from aigiscan.explain.words import phrase_list, read_phrases

    real, fake, fake_words, real_words = CASES[case]
    crops = photographs()
    pictures = [real(crop) for crop in crops] + [fake(crop) for crop in crops]
    labels = np.repeat([0, 1], len(crops))
    detector = make_detector(mini, (pictures, labels), standardize=False)
    weights = directions_of(detector, mini).joint()
    phrases = phrase_list(mini, read_phrases())
    cosines = phrases.cosines(weights)
    ranks = np.argsort(np.argsort(-cosines)) / len(cosines)  # 0: nearest to AI-generated, 1: farthest
    of_real = np.array([bool(re.search(real_words, text)) for text in phrases.texts])
    of_fake = np.array([bool(re.search(fake_words, text)) for text in phrases.texts]) & ~of_real
    assert np.median(ranks[of_fake]) < 0.35
    assert np.median(ranks[of_fake]) < np.median(ranks[of_real])
    nearest = np.argsort(-cosines)[:20]
    assert of_fake[nearest].any(), [phrases.texts[i] for i in nearest]
