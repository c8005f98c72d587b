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
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode → RGB of the same size (the image itself if it is plain RGB)."""
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.float64) / 257.0)
    if image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        return _grey(values / 257.0 if _top(values) <= 65535 else values * (255.0 / (2**31 - 1)))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0)
        top = _top(values)
        return _grey(values * (255.0 if top <= 1.0 else 1.0 if top <= 255 else 1 / 257.0))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(image)
    if image.mode == "RGB":
        return image
    return image.convert("RGB")


def _top(values: np.ndarray) -> float:
    return float(values.max(initial=0.0))


def _grey(values: np.ndarray) -> Image.Image:
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)  # [h, w]
    return Image.fromarray(grey).convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBa", "La"):  # premultiplied; La has no way to RGBA but this
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    white.alpha_composite(rgba)
    return white.convert("RGB")
