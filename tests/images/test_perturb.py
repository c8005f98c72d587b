from __future__ import annotations

import numpy as np
import pytest
from bad_files import photo
from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images.equalize import recompress
from aigiscan.images.perturb import gaussian_blur, gaussian_noise, jpeg, parse_perturbation, resize


def test_blur_of_a_point_is_a_gaussian() -> None:
    point = Image.new("RGB", (41, 41))
    point.putpixel((20, 20), (255, 255, 255))
    white = Image.new("RGB", (41, 41), (255, 255, 255))
    for sigma in (1.0, 2.0):
        blurred = np.asarray(gaussian_blur(point, sigma), float)[:, :, 0]
        assert blurred[20, 20] == pytest.approx(255 / (2 * np.pi * sigma**2), rel=0.06)
        assert np.array_equal(blurred, blurred.T)
        assert gaussian_blur(white, sigma).tobytes() == white.tobytes()


def test_noise_has_its_variance_and_its_seed() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    for variance in (0.001, 0.005, 0.01):
        noisy = np.asarray(gaussian_noise(grey, variance, seed=1), float) / 255
        assert noisy.var() == pytest.approx(variance, rel=0.03)
        assert noisy.mean() == pytest.approx(128 / 255, abs=0.002)
    first, again, other = (gaussian_noise(grey, 0.01, seed).tobytes() for seed in (1, 1, 2))
    assert first == again != other


def test_named_noise_differs_between_images_but_not_between_runs() -> None:
    noise = parse_perturbation("noise:0.01")
    a, b = photo(seed=0), photo(seed=1)
    assert noise.apply(a).tobytes() == noise.apply(a.copy()).tobytes()
    difference_a = np.asarray(noise.apply(a), int) - np.asarray(a, int)
    difference_b = np.asarray(noise.apply(b), int) - np.asarray(b, int)
    assert abs(np.corrcoef(difference_a.ravel(), difference_b.ravel())[0, 1]) < 0.1


def test_resize_and_jpeg() -> None:
    assert resize(photo(48, 32), 0.5).size == (24, 16)
    assert resize(photo(48, 32), 1.5).size == (72, 48)
    assert resize(Image.new("RGB", (1, 1)), 0.5).size == (1, 1)
    assert jpeg(photo(), 40).tobytes() == recompress(photo(), 40).tobytes()


@pytest.mark.parametrize("spec", ["jpeg:75", "blur:2", "noise:0.001", "resize:0.75"])
def test_specs_go_round_and_change_the_picture(spec: str) -> None:
    perturbation = parse_perturbation(f" {spec.upper()}")
    assert perturbation.spec == spec
    assert perturbation.apply(photo()).tobytes() != photo().tobytes()
    assert perturbation.apply(photo()).mode == "RGB"


@pytest.mark.parametrize(
    "spec", ["", "jpeg", "jpeg:0", "jpeg:75.5", "blur:-1", "noise:2", "resize:0", "blur:nan", "spin:3"]
)
def test_bad_specs_name_the_choices(spec: str) -> None:
    with pytest.raises(InputError, match=r"use jpeg:Q"):
        parse_perturbation(spec)
