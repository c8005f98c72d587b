from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from aigiscan.errors import InputError
from aigiscan.evaluation.spectra import average_spectra, central_luma, high_pass, write_spectra


def picture(rng: np.random.Generator, size: int, grid_period: int = 0) -> Image.Image:
    """Noise, with a faint fixed grid of the given period added: what a transposed convolution leaves."""
    values = rng.normal(128, 25, (size, size))
    if grid_period:
        x = np.arange(size)
        values += 8 * np.cos(2 * np.pi * x / grid_period)[None, :] + 8 * np.cos(2 * np.pi * x / grid_period)[:, None]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    images = [("real", picture(rng, 64)) for _ in range(60)] + [("grid4", picture(rng, 64, 4)) for _ in range(60)]
    images += [("real", picture(rng, 40))]
    return average_spectra(images, size=64)


def test_a_planted_grid_shows_at_its_frequency(spectra) -> None:
    peaks = spectra["grid4"].peaks(2)
    assert {(abs(fx), abs(fy)) for fx, fy, _ in peaks} == {(0.25, 0.0), (0.0, 0.25)}
    assert min(height for *_, height in peaks) > 3 * spectra["real"].peaks(1)[0][2]


def test_counts_and_zero_frequency(spectra) -> None:
    assert (spectra["real"].images, spectra["real"].skipped) == (60, 1)
    assert spectra["real"].of_mean.shape == (64, 64)
    # the residual of a median filter has almost no mean
    assert spectra["real"].mean_amplitude[32, 32] < spectra["real"].mean_amplitude[0, 0]
    assert spectra["real"].radial().shape == (33,)


def test_independent_noise_cancels_in_the_mean_of_residuals(spectra) -> None:
    real = spectra["real"]
    assert real.of_mean.mean() < 0.25 * real.mean_amplitude.mean()


def test_high_pass_takes_smooth_pictures_to_zero() -> None:
    ramp = np.tile(np.linspace(0, 1, 32), (32, 1))
    assert np.abs(high_pass(ramp)).max() < 1e-12
    speck = np.zeros((9, 9))
    speck[4, 4] = 1
    assert np.array_equal(high_pass(speck), speck)


def test_crop_is_central_and_native() -> None:
    values = np.zeros((20, 30), dtype=np.uint8)
    values[2:18, 7:23] = 255
    crop = central_luma(Image.fromarray(values).convert("RGB"), 16)
    assert crop is not None
    assert crop.min() == 1
    assert central_luma(Image.new("RGB", (15, 40)), 16) is None


def test_written_files(spectra, tmp_path) -> None:
    written = write_spectra(tmp_path, spectra, skipped={"real": 2})
    assert written["generators"]["real"]["skipped"] == 3
    assert list(written["generators"]) == ["real", "grid4"]
    assert json.loads((tmp_path / "spectra.json").read_text()) == written
    assert (tmp_path / "spectra.csv").read_text().splitlines()[0] == "generator,frequency,amplitude"
    assert (tmp_path / "spectra.png").read_bytes().startswith(b"\x89PNG")


def test_what_gives_no_spectrum(tmp_path) -> None:
    small = average_spectra([("real", Image.new("RGB", (8, 8)))], size=32)
    assert small == {}
    with pytest.raises(InputError, match="large enough"):
        write_spectra(tmp_path, small)
    with pytest.raises(InputError, match="at least 16"):
        average_spectra([], size=4)
