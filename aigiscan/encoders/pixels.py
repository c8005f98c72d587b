"""PIL image → uint8 array: the resizing that encoders share, safe for any shape of picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from aigiscan.images.aspect import aspect_box, limit_aspect

__all__ = ["aspect_box", "central_crop", "chw", "limit_aspect", "native_crop", "resize_and_crop"]


def resize_and_crop(image: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    """Shorter side to ``size`` pixels (with antialiasing), then the central square."""
    image = limit_aspect(image)
    width, height = image.size
    short = min(width, height)
    new = (max(size, size * width // short), max(size, size * height // short))
    if new != image.size:
        image = image.resize(new, resample)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))


def central_crop(image: Image.Image, limit: int) -> Image.Image:
    """At most ``limit`` × ``limit`` pixels around the centre, not resized.

    The offsets are multiples of 8, so that the JPEG block grid of the whole picture keeps its phase in the crop.
    """
    width, height = image.size
    left = max(0, (width - limit) // 2) // 8 * 8
    top = max(0, (height - limit) // 2) // 8 * 8
    return image.crop((left, top, min(width, left + limit), min(height, top + limit)))


def chw(image: Image.Image) -> np.ndarray:
    """RGB picture → uint8 array (3, height, width), contiguous."""
    return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1))


def native_crop(image: Image.Image, size: int) -> Image.Image:
    """The central ``size`` × ``size`` pixels, not resized: resizing wipes out the traces of how a picture was made.

    A smaller picture is mirrored at its edges. Offsets are multiples of 8, so that JPEG's blocks keep their phase.
    """
    image = central_crop(image, size)
    missing = [size - side for side in (image.height, image.width)]
    if not any(missing):
        return image
    before = [short // 2 // 8 * 8 for short in missing]
    edges = [(first, short - first) for first, short in zip(before, missing, strict=True)]
    return Image.fromarray(np.pad(np.asarray(image.convert("RGB")), [*edges, (0, 0)], mode="symmetric"))
