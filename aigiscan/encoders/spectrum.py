"""``spectrum``: the radial power spectrum of a picture's high-pass residual, the classical frequency baseline.

Ojha, Li and Lee, "Towards Universal Fake Image Detectors that Generalize Across Generative Models", CVPR 2023,
section 3 and figure 3: subtract the median-blurred picture, look at the Fourier spectrum of what is left. Upsampling
in a generator leaves peaks in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageFilter

from aigiscan.encoders.base import EncoderOptions
from aigiscan.encoders.options import plain_options
from aigiscan.encoders.pixels import central_crop
from aigiscan.encoders.vector import VectorEncoder

if TYPE_CHECKING:
    from PIL.Image import Image

CROP = 256
WINDOW = 3
#: rings from 0 to the corner of the frequency square, √½ cycles per pixel
RINGS = 128
#: what is added to a power before the logarithm; a residual of one grey level in one pixel of a crop has 1.5e-5
FLOOR = 1e-6


class SpectrumEncoder(VectorEncoder):
    """Log radial power spectrum, 128 columns.

    Column i: log₁₀ of the mean power of the residual (luma 0–255 minus its 3 × 3 median) at i/128 to (i+1)/128 of
    √½ cycles per pixel, in the central 256 × 256 pixels at native resolution, Hann window, power per pixel. Rings
    without a frequency (small pictures) are interpolated.
    """

    name = "spectrum"
    width = RINGS

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        self.options = plain_options("spectrum", argument, options)

    def settings(self) -> dict[str, Any]:
        """The settings of the transform."""
        return {"crop": CROP, "median": WINDOW, "window": "hann", "rings": RINGS, "version": 1}

    def prepare(self, image: Image) -> np.ndarray:
        """The finished vector (128,) float32."""
        luma = central_crop(image, CROP).convert("L")
        blurred = np.asarray(luma.filter(ImageFilter.MedianFilter(WINDOW)), dtype=np.float64)
        return radial_log_power(np.asarray(luma, dtype=np.float64) - blurred)


def radial_log_power(residual: np.ndarray) -> np.ndarray:
    """Residual (h, w) → log₁₀ mean power per ring of frequency, (128,) float32."""
    height, width = residual.shape
    # The periodic Hann window; without one the edges put a cross over the spectrum.
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    power = np.abs(np.fft.fft2(residual * rows[:, None] * columns)) ** 2 / (height * width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.minimum((radius / np.sqrt(0.5) * RINGS).astype(np.int64), RINGS - 1).ravel()
    count = np.bincount(ring, minlength=RINGS)
    total = np.bincount(ring, weights=power.ravel(), minlength=RINGS)
    filled = np.flatnonzero(count)
    logs = np.log10(total[filled] / count[filled] + FLOOR)
    return np.interp(np.arange(RINGS), filled, logs).astype(np.float32)
