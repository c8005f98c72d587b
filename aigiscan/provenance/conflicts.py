"""Claims of one file that do not go together. Each is a hint to look, never a proof: metadata can be copied."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aigiscan.provenance.claims import CAMERA, CONFLICT, EDIT, GENERATOR, SOURCE_TYPE, Claim
from aigiscan.provenance.exif import Exif

if TYPE_CHECKING:
    from PIL import Image

#: EXIF model → (megapixels of its largest still, year it came out), from the makers' data sheets. Cameras that stitch
#: panoramas or upsample by themselves (phones) have 0 megapixels here: only their year is compared.
CAMERAS: dict[str, tuple[float, int]] = {
    "Canon EOS 300D DIGITAL": (6.3, 2003), "Canon EOS 350D DIGITAL": (8.0, 2005), "Canon EOS 5D": (12.8, 2005),
    "Canon EOS 400D DIGITAL": (10.1, 2006), "Canon EOS 450D": (12.2, 2008), "Canon EOS 5D Mark II": (21.1, 2008),
    "Canon EOS 7D": (18.0, 2009), "Canon EOS 550D": (18.0, 2010), "Canon EOS 600D": (18.0, 2011),
    "Canon EOS 5D Mark III": (22.3, 2012), "Canon EOS 6D": (20.2, 2012), "Canon EOS 70D": (20.2, 2013),
    "Canon EOS 80D": (24.2, 2016), "Canon EOS 5D Mark IV": (30.4, 2016), "Canon EOS R": (30.4, 2018),
    "Canon EOS R6": (20.1, 2020), "Canon EOS R5": (45.0, 2020), "Canon EOS R3": (24.2, 2021),
    "NIKON D70": (6.1, 2004), "NIKON D50": (6.1, 2005), "NIKON D40": (6.1, 2006), "NIKON D80": (10.2, 2006),
    "NIKON D300": (12.3, 2007), "NIKON D700": (12.1, 2008), "NIKON D90": (12.3, 2008), "NIKON D7000": (16.2, 2010),
    "NIKON D800": (36.3, 2012), "NIKON D600": (24.3, 2012), "NIKON D7100": (24.1, 2013), "NIKON D750": (24.3, 2014),
    "NIKON D500": (20.9, 2016), "NIKON D850": (45.7, 2017), "NIKON Z 6": (24.5, 2018), "NIKON Z 7": (45.7, 2018),
    "ILCE-7": (24.3, 2013), "ILCE-6000": (24.3, 2014), "ILCE-7M2": (24.3, 2014), "ILCE-7RM2": (42.4, 2015),
    "ILCE-7RM3": (42.4, 2017), "ILCE-7M3": (24.2, 2018), "ILCE-1": (50.1, 2021), "ILCE-7M4": (33.0, 2021),
    "iPhone": (0, 2007), "iPhone 3G": (0, 2008), "iPhone 3GS": (0, 2009), "iPhone 4": (0, 2010), "iPhone 4S": (0, 2011),
    "iPhone 5": (0, 2012), "iPhone 5s": (0, 2013), "iPhone 6": (0, 2014), "iPhone 6s": (0, 2015), "iPhone 7": (0, 2016),
    "iPhone X": (0, 2017), "iPhone XS": (0, 2018), "iPhone 11": (0, 2019), "iPhone 12": (0, 2020),
    "iPhone 13": (0, 2021), "iPhone 14": (0, 2022), "iPhone 15": (0, 2023), "iPhone 16": (0, 2024),
    "Pixel": (0, 2016), "Pixel 2": (0, 2017), "Pixel 3": (0, 2018), "Pixel 4": (0, 2019), "Pixel 5": (0, 2020),
    "Pixel 6": (0, 2021), "Pixel 7": (0, 2022), "Pixel 8": (0, 2023), "Pixel 9": (0, 2024),
}  # fmt: skip
_CAPTURES = ("digital capture", "computational capture")
#: makers give effective megapixels; EXIF sizes were seen up to 2 % above them
_SIZE_SLACK = 1.05
#: grey values of picture and thumbnail on an 8 × 8 grid correlate above 0.9 in camera files, also after the
#: thumbnail's own JPEG; another picture seldom reaches 0.5
_SAME_PICTURE = 0.6


def conflicts(claims: Sequence[Claim], exif: Exif, size: tuple[int, int]) -> Iterator[Claim]:
    """What the fields of one file say against each other; size: (width, height) of the picture, (0, 0) if unknown."""
    cameras = [c for c in claims if c.kind == CAMERA or (c.kind == SOURCE_TYPE and c.value.startswith(_CAPTURES))]
    makers = [c for c in claims if c.ai and c.kind in (GENERATOR, SOURCE_TYPE)]
    if cameras and makers:
        yield _conflict(f"{cameras[0].where} says {cameras[0].value}, {makers[0].where} says {makers[0].value}")
    if any(c.kind == SOURCE_TYPE and c.value.startswith("digital capture") for c in claims) and not makers:
        for edit in (c for c in claims if c.kind == EDIT and c.ai):
            yield _conflict(f"digital capture beside {edit.value}")
    yield from _camera_conflicts(exif, size)


def _camera_conflicts(exif: Exif, size: tuple[int, int]) -> Iterator[Claim]:
    megapixels, year = CAMERAS.get(exif.texts.get("Model", "").strip(), (0.0, 0))
    model, area = exif.texts.get("Model", "").strip(), size[0] * size[1] / 1e6
    if megapixels and area > megapixels * _SIZE_SLACK:
        yield _conflict(f"{size[0]}x{size[1]} pixels are more than a {model} makes ({megapixels:g} megapixels)")
    taken = re.match(r"((?:19|20)\d\d):", exif.texts.get("DateTimeOriginal", exif.texts.get("DateTime", "")))
    if year and taken and int(taken.group(1)) < year:
        yield _conflict(f"taken in {taken.group(1)}, but the {model} came out in {year}")


def thumbnail_conflict(exif: Exif, pixels: Image.Image) -> Iterator[Claim]:
    """Whether the EXIF thumbnail shows another picture than the pixels (as stored, not rotated).

    Both are compared as 8 × 8 grey values, the thumbnail also with its black bars cut off: cameras put 3:2 pictures
    into 4:3 thumbnails.
    """
    import numpy as np
    from PIL import Image as Images

    if not exif.thumbnail.startswith(b"\xff\xd8"):
        return
    try:
        with Images.open(io.BytesIO(exif.thumbnail), formats=("JPEG",)) as opened:
            if opened.width * opened.height > 1_000_000:
                return
            small = opened.convert("L")
    # A broken thumbnail says nothing; Pillow raises whatever its bytes lead it into.
    except Exception:
        return

    def grid(image: Images.Image) -> np.ndarray:
        # 64 × 64 points are enough to compare, and cost nothing on 50 megapixels
        points = image.resize((64, 64), Images.Resampling.NEAREST).convert("L")
        values = np.asarray(points.resize((8, 8), Images.Resampling.BOX), dtype=np.float64).ravel()
        return values - values.mean()

    width, height = small.size
    wide = round(width * pixels.height / max(pixels.width, 1))  # the height without bars
    tall = round(height * pixels.width / max(pixels.height, 1))
    crops = [small]
    if 0 < wide < height:
        crops.append(small.crop((0, (height - wide) // 2, width, (height + wide) // 2)))
    if 0 < tall < width:
        crops.append(small.crop(((width - tall) // 2, 0, (width + tall) // 2, height)))
    picture = grid(pixels)
    if np.linalg.norm(picture) < 64:  # a nearly plain picture is like every other one
        return
    length = float(np.linalg.norm(picture))
    best = max(float(picture @ t) / (length * max(float(np.linalg.norm(t)), 1e-9)) for t in map(grid, crops))
    if best < _SAME_PICTURE:
        yield Claim(CONFLICT, f"the EXIF thumbnail shows another picture (correlation {best:.2f})", "EXIF thumbnail")


def _conflict(words: str) -> Claim:
    return Claim(CONFLICT, words, "fields compared")
