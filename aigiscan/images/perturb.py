"""What happens to images on their way through the world: re-encoding, blur, noise, resizing.

For robustness curves: each perturbation is deterministic, so the same image gives the same pixels in every run.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images.equalize import Frame, recompress

_HELP = "use jpeg:Q (1 to 100), blur:SIGMA (pixels, up to 50), noise:VARIANCE (up to 1) or resize:FACTOR (0.01 to 10)"
_RANGES = {"jpeg": (1.0, 100.0), "blur": (0.0, 50.0), "noise": (0.0, 1.0), "resize": (0.01, 10.0)}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Encoded as baseline JPEG of that quality (1..100) with 4:2:0 chroma, and decoded again."""
    return recompress(image, quality)


def gaussian_blur(image: Image.Image, sigma: float) -> Image.Image:
    """Convolved with a Gaussian of ``sigma`` pixels, edges reflected (Pillow's own filter only comes near to one)."""
    from scipy.ndimage import gaussian_filter

    values = np.asarray(image, dtype=np.float32)  # [h, w, 3]
    return _rounded(gaussian_filter(values, sigma=(sigma, sigma, 0)))


def gaussian_noise(image: Image.Image, variance: float, seed: int) -> Image.Image:
    """White Gaussian noise of that variance on the scale 0..1 added to each channel; clipped to 0..255."""
    values = np.asarray(image, dtype=np.float32)  # [h, w, 3]
    noise = np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32)
    return _rounded(values + noise * np.float32(255.0 * variance**0.5))


def resize(image: Image.Image, factor: float) -> Image.Image:
    """Both sides times ``factor`` (at least one pixel), bicubic, antialiased when it reduces."""
    return image.resize(_resized(*image.size, factor), Image.Resampling.BICUBIC)


def _resized(width: int, height: int, factor: float) -> tuple[int, int]:
    return max(1, round(width * factor)), max(1, round(height * factor))


def _rounded(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One perturbation by name and strength; the same interface as an equalization."""

    name: str
    strength: float

    @property
    def spec(self) -> str:
        """Canonical text; ``parse_perturbation(spec)`` gives the same perturbation."""
        return f"{self.name}:{self.strength:g}"

    def apply(self, image: Image.Image) -> Image.Image:
        """RGB image → RGB image. Noise is seeded by the pixels: other images get other noise, and the same the same."""
        if self.name == "jpeg":
            return jpeg(image, int(self.strength))
        if self.name == "blur":
            return gaussian_blur(image, self.strength)
        if self.name == "noise":
            return gaussian_noise(image, self.strength, zlib.crc32(image.tobytes()))
        return resize(image, self.strength)

    def frame(self, frame: Frame) -> Frame:
        """As :meth:`Equalization.frame`."""
        return frame.resized(*_resized(frame.width, frame.height, self.strength)) if self.name == "resize" else frame


def parse_perturbation(spec: str) -> Perturbation:
    """``"jpeg:75"``, ``"blur:2"``, ``"noise:0.01"`` or ``"resize:0.5"`` → the perturbation; InputError otherwise."""
    name, _, text = spec.strip().lower().partition(":")
    try:
        strength = float(text)
    except ValueError:
        strength = float("nan")
    low, high = _RANGES.get(name, (1.0, 0.0))
    if not low <= strength <= high or (name == "jpeg" and strength != int(strength)):
        raise InputError(f"perturbation {spec!r} not understood; {_HELP}")
    return Perturbation(name, strength)
