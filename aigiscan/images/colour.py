"""Every colour mode that Pillow gives → 8-bit RGB, each with one definition.

=====================  ==============================================================================
``RGB``                as it is
``L``, ``1``           the grey value three times; 1-bit is black and white
alpha in any form      laid over white (``RGBA``, ``LA``, ``PA``, palettes and tRNS chunks)
``P``                  its palette
``CMYK``, ``YCbCr``    Pillow's conversion, no profile; ``LAB`` to sRGB
16-bit grey            divided by 257, so that 65535 is white; rounded, never clipped
``I`` (32 bit)         up to 65535 as 16-bit; larger values against 2³¹ − 1
``F``                  up to 1.0 as 0..1, up to 255 as 8-bit, else as 16-bit; NaN is black
=====================  ==============================================================================

What decides between the scales of ``I`` and ``F`` is the value that 99 % of the pixels do not exceed: a single one
above 1.0 is clipped and does not make the others black. What lies between two scales would be a guess, and is a
:class:`ColourError`, as is a picture of which every pixel is transparent.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


class ColourError(Exception):
    """Why pixels have no colours that one could be sure of."""


#: mode → (at most, of 99 % of the pixels; and at least; what a value is multiplied with), in the order of trying
_SCALES = {
    "I": ((65535.0, 255.0, 1 / 257.0), (2.0**31, 2.0**23, 255.0 / (2**31 - 1))),
    "F": ((1.0, 0.0, 255.0), (255.0, 8.0, 1.0), (65535.0, 2040.0, 1 / 257.0)),
}


def to_rgb(image: Image.Image, *, white_is_zero: bool = False) -> Image.Image:
    """A loaded image of any mode → RGB of the same size (the image itself if it is plain RGB).

    white_is_zero: values of a 16-bit grey image count downwards (TIFF; Pillow turns 8-bit ones round by itself).
    ColourError: every pixel is transparent, or values of no known scale.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        return _grey((65535.0 - values if white_is_zero else values) / 257.0)
    if image.mode in _SCALES:
        values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
        return _grey(values * _scale(values, image.mode))
    if _has_alpha(image):
        return _over_white(image)
    if image.mode == "RGB":
        return image
    return image.convert("RGB")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def is_clear(image: Image.Image) -> bool:
    """Whether every pixel of a loaded image is transparent."""
    return _has_alpha(image) and _rgba(image).getchannel("A").getextrema()[1] == 0


def _scale(values: np.ndarray, mode: str) -> float:
    finite = values[np.isfinite(values)]
    top = float(np.quantile(finite, 0.99, method="higher")) if finite.size else 0.0
    for most, least, factor in _SCALES[mode]:
        if top <= most and (top >= least or top <= 0):
            return factor
    raise ColourError(f"{'32-bit' if mode == 'I' else 'float'} values up to {top:.4g} have no known scale")


def _grey(values: np.ndarray) -> Image.Image:
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)  # [h, w]
    return Image.fromarray(grey).convert("RGB")


def _rgba(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBa", "La"):  # premultiplied; La has no way to RGBA but this
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    return image if image.mode == "RGBA" else image.convert("RGBA")


def _over_white(image: Image.Image) -> Image.Image:
    rgba = _rgba(image)
    if rgba.getchannel("A").getextrema()[1] == 0:
        raise ColourError("every pixel is transparent")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    white.alpha_composite(rgba)
    return white.convert("RGB")
