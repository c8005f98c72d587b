"""One crop, one size, one re-encode for every image, so that file facts cannot give the label away.

Applied before the encoder, in ``fit --equalize`` and in every ``scan`` with a detector fitted so.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images.aspect import aspect_box
from aigiscan.images.jpeg import scale_factor

_HELP = (
    "use steps such as square:224,jpeg:75 "
    "(square:N, limit:N, crop:N, short:N, squash:N with N from 8 to 8192; "
    "jpeg:Q with Q from 1 to 100; reduce:K from 2 to 8 first of all, "
    "before square or limit)"
)
_RANGES = {
    "reduce": (2, 8),
    "jpeg": (1, 100),
    **dict.fromkeys(("square", "limit", "crop", "short", "squash"), (8, 8192)),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the points of a picture lie after crops and resizes: x ↦ (x − left) · scale_x, likewise y.

    width, height: of the result. Made for the picture itself, then changed step by step.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0

    def cropped(self, left: int, top: int, width: int, height: int) -> Frame:
        """After cutting out that many pixels whose corner lies there (negative: padded)."""
        x, y = self.left + left / self.scale_x, self.top + top / self.scale_y
        return Frame(width, height, x, y, self.scale_x, self.scale_y)

    def resized(self, width: int, height: int) -> Frame:
        """After resizing to that many pixels."""
        sx, sy = self.scale_x * width / self.width, self.scale_y * height / self.height
        return Frame(width, height, self.left, self.top, sx, sy)

    def box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
        """A box of the picture in the result, cut at its edges; None if nothing of it is left."""
        x0, x1 = ((x - self.left) * self.scale_x for x in box[::2])
        y0, y1 = ((y - self.top) * self.scale_y for y in box[1::2])
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(self.width)), min(y1, float(self.height))
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def origin(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """The inverse of :meth:`box` for one that was not cut."""
        x0, x1 = (x / self.scale_x + self.left for x in box[::2])
        y0, y1 = (y / self.scale_y + self.top for y in box[1::2])
        return x0, y0, x1, y1


@dataclass(frozen=True, slots=True)
class Equalization:
    """A sequence of steps, each a name and a whole number.

    ``reduce:K``, first of all and before ``square:N`` or ``limit:N``: reduced by the largest of 8, 4, 2, 1 that leaves
        the shorter side at least K × N pixels. A JPEG is reduced while it is decoded (see :attr:`least_side`), which
        for photographs of 12 megapixels takes a third of the time; what has its pixels already is averaged.
    ``square:N``: central square crop, then resized to exactly N×N.
    ``limit:N``: central square crop, then reduced to N×N if it is larger; smaller ones keep their pixels.
    ``crop:N``: the central N×N pixels as they are; a smaller side is padded with black, as UniFD's published code does.
    ``short:N``, ``squash:N``: resized (bilinear) to a shorter side of N, or to N×N whatever its shape, as published
        heads were fed; of a picture more than eight times as long as wide ``short`` takes the central part.
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

    def frame(self, frame: Frame) -> Frame:
        """Where the points of a picture lie after :meth:`apply`, given where they lie before."""
        for name, number in self.steps:
            if name == "jpeg":
                continue
            if name == "reduce":
                factor = scale_factor(min(frame.width, frame.height), self.least_side)
                frame = frame.resized(-(-frame.width // factor), -(-frame.height // factor))
                continue
            if name == "short":
                left, top, right, bottom = aspect_box(frame.width, frame.height)
                frame = frame.cropped(left, top, right - left, bottom - top)
                frame = frame.resized(*_shorter_to(frame.width, frame.height, number))
                continue
            if name == "squash":
                frame = frame.resized(number, number)
                continue
            side = number if name == "crop" else min(frame.width, frame.height)
            offset = _crop_offset if name == "crop" else _square_offset
            frame = frame.cropped(offset(frame.width, side), offset(frame.height, side), side, side)
            if name == "square" or (name == "limit" and side > number):
                frame = frame.resized(number, number)
        return frame

    def apply(self, image: Image.Image) -> Image.Image:
        """RGB image of any size → RGB image after all steps."""
        for name, number in self.steps:
            if name == "reduce":
                factor = scale_factor(min(image.size), self.least_side)
                image = image.reduce(factor) if factor > 1 else image
            elif name == "jpeg":
                image = recompress(image, number)
            elif name == "short":
                image = image.crop(aspect_box(*image.size))
                image = image.resize(_shorter_to(*image.size, number), Image.Resampling.BILINEAR)
            elif name == "squash":
                image = image.resize((number, number), Image.Resampling.BILINEAR)
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
    left, top = _square_offset(image.width, side), _square_offset(image.height, side)
    return image.crop((left, top, left + side, top + side))


def _square_offset(length: int, side: int) -> int:
    return (length - side) // 2


def central_crop_or_pad(image: Image.Image, side: int) -> Image.Image:
    """The central ``side``×``side`` pixels at native resolution, black where the picture is smaller."""
    left, top = _crop_offset(image.width, side), _crop_offset(image.height, side)
    return image.crop((left, top, left + side, top + side))  # Pillow fills what lies outside with black


def _crop_offset(length: int, side: int) -> int:
    # torchvision's CenterCrop, to the pixel: an odd pixel is left over after the crop, and padded after the picture
    return round((length - side) / 2) if length >= side else -((side - length) // 2)


def _shorter_to(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height with a shorter side of ``side``; the longer one rounded down, as torchvision's Resize does."""
    short = min(width, height)
    return side * width // short, side * height // short


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG with 4:2:0 chroma and the standard Huffman tables."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def recompress(image: Image.Image, quality: int) -> Image.Image:
    """Encoded as JPEG of that quality (1..100) in memory and decoded again."""
    with Image.open(io.BytesIO(jpeg_bytes(image, quality)), formats=("JPEG",)) as again:
        return again.convert("RGB")
