"""How long a picture may be for its width before it is resized."""

from __future__ import annotations

from PIL import Image

#: beyond this ratio of sides a picture is cut to its centre before it is resized: resizing a 10,000×1 picture to 224
#: rows would make 2,240,000 columns, of which the crop keeps 224
MAX_ASPECT = 8


def limit_aspect(image: Image.Image, ratio: int = MAX_ASPECT) -> Image.Image:
    """The central part of a picture whose long side is more than ``ratio`` times the short one; others unchanged."""
    box = aspect_box(*image.size, ratio)
    return image if box == (0, 0, *image.size) else image.crop(box)


def aspect_box(width: int, height: int, ratio: int = MAX_ASPECT) -> tuple[int, int, int, int]:
    """What :func:`limit_aspect` keeps: left, top, right, bottom."""
    wide, high = min(width, ratio * height), min(height, ratio * width)
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
