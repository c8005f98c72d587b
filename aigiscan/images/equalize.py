"""One crop, one size, one re-encode for every image, so that file facts cannot give the label away.

Applied before the encoder, in ``fit --equalize`` and in every ``scan`` with a detector fitted so.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images.jpeg import scale_factor

_HELP = (
    "use steps such as square:224,jpeg:75 "
    "(square:N, limit:N, crop:N with N from 8 to 8192; jpeg:Q with Q from 1 to 100; reduce:K from 2 to 8 first of all, "
    "before square or limit)"
)
_RANGES = {"reduce": (2, 8), "square": (8, 8192), "limit": (8, 8192), "crop": (8, 8192), "jpeg": (1, 100)}


@dataclass(frozen=True, slots=True)
class Equalization:
    """A sequence of steps, each a name and a whole number.

    ``reduce:K``, first of all and before ``square:N`` or ``limit:N``: reduced by the largest of 8, 4, 2, 1 that leaves
        the shorter side at least K × N pixels. A JPEG is reduced while it is decoded (see :attr:`least_side`), which
        for photographs of 12 megapixels takes a third of the time; what has its pixels already is averaged.
    ``square:N``: central square crop, then resized to exactly N×N.
    ``limit:N``: central square crop, then reduced to N×N if it is larger; smaller ones keep their pixels.
    ``crop:N``: the central N×N pixels as they are; a smaller side is padded with black, as UniFD's published code does.
    ``jpeg:Q``: encoded as baseline JPEG of quality Q with 4:2:0 chroma, and decoded again.
    """

    steps: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, spec: str) -> Equalization:
        """``"square:224,jpeg:75"`` → the steps in that order; InputError if it cannot be read."""
        steps = []
        for part in spec.split(","):
            name, _, number = part.strip().lower().partition(":")
            low, high = _RANGES.get(name, (1, 0))
            if not number.isascii() or not number.isdigit() or not low <= int(number) <= high:
                raise InputError(f"equalization {spec!r} not understood at {part.strip()!r}; {_HELP}")
            steps.append((name, int(number)))
        names = [name for name, _ in steps]
        if "reduce" in names[1:] or (names[0] == "reduce" and (len(names) < 2 or names[1] not in ("square", "limit"))):
            raise InputError(f"equalization {spec!r}: reduce stands first, before square or limit; {_HELP}")
        return cls(tuple(steps))

    @property
    def spec(self) -> str:
        """Canonical text; ``parse(spec)`` gives the same steps."""
        return ",".join(f"{name}:{number}" for name, number in self.steps)

    @property
    def least_side(self) -> int:
        """Pixels of the shorter side that a picture needs for these steps; 0: all that it has."""
        return self.steps[0][1] * self.steps[1][1] if self.steps[0][0] == "reduce" else 0

    def apply(self, image: Image.Image) -> Image.Image:
        """RGB image of any size → RGB image after all steps."""
        for name, number in self.steps:
            if name == "reduce":
                factor = scale_factor(min(image.size), self.least_side)
                image = image.reduce(factor) if factor > 1 else image
            elif name == "jpeg":
                image = recompress(image, number)
            elif name == "crop":
                image = central_crop_or_pad(image, number)
            else:
                image = central_square(image)
                if name == "square" or image.width > number:
                    # Pillow's bicubic widens its kernel when it reduces, so this is antialiased.
                    image = image.resize((number, number), Image.Resampling.BICUBIC)
        return image


def central_square(image: Image.Image) -> Image.Image:
    """The largest central square; an odd pixel is left over at the right or bottom."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def central_crop_or_pad(image: Image.Image, side: int) -> Image.Image:
    """The central ``side``×``side`` pixels at native resolution, black where the picture is smaller."""

    def offset(length: int) -> int:
        # torchvision's CenterCrop, to the pixel: an odd pixel is left over after the crop, and padded after the picture
        return round((length - side) / 2) if length >= side else -((side - length) // 2)

    left, top = offset(image.width), offset(image.height)
    return image.crop((left, top, left + side, top + side))  # Pillow fills what lies outside with black


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG with 4:2:0 chroma and the standard Huffman tables."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def recompress(image: Image.Image, quality: int) -> Image.Image:
    """Encoded as JPEG of that quality (1..100) in memory and decoded again."""
    with Image.open(io.BytesIO(jpeg_bytes(image, quality)), formats=("JPEG",)) as again:
        return again.convert("RGB")
