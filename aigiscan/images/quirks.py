"""What single formats need beyond "open, load": which page of a TIFF is the picture, and what Pillow cannot read of it;
PNG texts larger than Pillow takes; readers that are installed as extras."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

# TIFF tags
_SUBFILE, _BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT, _OLD_SUBFILE = 254, 258, 262, 284, 339, 255
_STRIPS, _TILES = 273, 324
_KINDS = {1: "unsigned", 2: "signed", 3: "float"}
#: pages that are looked through for one that is not a preview
_PAGES = 32


class UnsupportedError(Exception):
    """A sound file that no reader here decodes rightly; says what to do."""


# ---------------------------------------------------------------------------------------------------- TIFF


def choose_page(image: Image.Image) -> None:
    """Go to the first page of an opened TIFF that is not marked as a reduced-resolution copy of another."""
    for page in range(_PAGES):
        tags = image.tag_v2  # type: ignore[attr-defined]
        if not (_number(tags, _SUBFILE) & 1 or _number(tags, _OLD_SUBFILE) == 2):
            break
        try:
            image.seek(page + 1)
        except EOFError:
            raise UnsupportedError("TIFF with nothing but a preview; is it a camera raw file?") from None
    bits, kinds = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
    if tags.get(_PLANAR) == 2 and len(bits) > 1 and max(bits) > 8:  # Pillow mixes up the planes
        raise UnsupportedError(_unsupported_tiff(bits, kinds, "in planes "))


def white_is_zero(image: Image.Image) -> bool:
    """Whether the values of an opened TIFF count downwards."""
    return image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]


def check_values(image: Image.Image) -> None:
    """UnsupportedError for unsigned 32-bit values that Pillow has read as negative ones."""
    if image.mode == "I" and image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0] == 1 and np.asarray(image).min() < 0:  # type: ignore[attr-defined]
        raise UnsupportedError(_unsupported_tiff((32,), (1,)))


def unsupported_tiff(data: bytes) -> str:
    """Why a TIFF whose first page is sound cannot be opened, or ``""``."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits, kinds = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
        places = tags.get(_STRIPS) or tags.get(_TILES)
        if not places or max(places) >= len(data) or not set(bits) <= {1, 2, 4, 8, 10, 12, 14, 16, 24, 32, 64}:
            return ""
    # the tags of a broken file lead Pillow's reader anywhere
    except Exception:
        return ""
    return _unsupported_tiff(bits, kinds)


def _unsupported_tiff(bits: tuple[int, ...], kinds: tuple[int, ...], how: str = "") -> str:
    kind = _KINDS.get(kinds[0], "other")
    return f"TIFF of {len(bits)} × {max(bits)}-bit {kind} values {how}is not supported; convert it to 8-bit RGB"


def _number(tags: TiffImagePlugin.ImageFileDirectory_v2, tag: int) -> int:
    value = tags.get(tag, 0)
    return value if isinstance(value, int) else 0


# ---------------------------------------------------------------------------------------------------- PNG

_TOO_LARGE = ("MAX_TEXT_CHUNK", "text chunks")
_TEXTS = frozenset([b"zTXt", b"iTXt", b"tEXt", b"iCCP"])


def is_about_texts(error: Exception) -> bool:
    """Whether Pillow refused a PNG for the size of its texts or profile, which are no part of the picture."""
    return isinstance(error, ValueError) and any(words in str(error) for words in _TOO_LARGE)


def without_texts(data: bytes) -> bytes:
    """A PNG without its texts and colour profile."""
    parts, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _TEXTS:
            parts.append(data[at:end])
        at = end
    return b"".join(parts)


# ---------------------------------------------------------------------------------------------------- extras


EXTRAS = {"HEIF": ("HEIC", "heif"), "JXL": ("JPEG XL", "jxl")}


def register_extra(name: str) -> None:
    """Make Pillow read a format of :data:`EXTRAS`; UnsupportedError with what to install."""
    try:
        if name == "HEIF":
            from pillow_heif import register_heif_opener

            if "HEIF" not in Image.OPEN:
                register_heif_opener()
        else:
            import pillow_jxl  # noqa: F401 (registers itself)
    except ImportError:
        kind, extra = EXTRAS[name]
        raise UnsupportedError(f"{kind} image; reading it needs pip install 'aigiscan[{extra}]'") from None


@contextmanager
def raw_photograph(data: bytes) -> Iterator[Any]:
    """A camera raw file opened with rawpy; UnsupportedError where that is not installed or does not know the file."""
    try:
        import rawpy
    except ImportError:
        raise UnsupportedError("camera raw file; develop it to JPEG or TIFF, or pip install 'aigiscan[raw]'") from None
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            yield raw
    except rawpy.LibRawError:
        raise UnsupportedError("camera raw file of an unknown kind, or damaged; develop it to JPEG or TIFF") from None


def develop(raw: Any) -> Image.Image:
    """The photograph of an opened raw file in sRGB, upright, with the camera's white balance."""
    return Image.fromarray(raw.postprocess(use_camera_wb=True, output_bps=8))
