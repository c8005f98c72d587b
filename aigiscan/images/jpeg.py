"""JPEG through libjpeg-turbo's strict mode: the pixels, or what is wrong with the scan.

Pillow hides what libjpeg only warns about: it fills what is missing with grey and says nothing. simplejpeg is the same
library (its pixels are Pillow's to the bit; a test holds it) and stops at the first warning.

Noticed: a scan that ends early or too late, codes that no table has, restart markers out of order, missing scans; so
every file that was cut, and nearly every hole, zeroed half, lost or doubled block. Not noticed: what leaves a decodable
scan of the right length. JPEG has no checksum; a single flipped bit mostly changes some blocks or the brightness from
there on and nothing else (rates: ``benchmarks/bench_damage.py``, in RESULTS.md).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import partial

import numpy as np
import simplejpeg
from PIL import Image

_SOS, _EOI = b"\xff\xda", b"\xff\xd9"
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x(\w\w)")
#: how libjpeg's words about pixel data begin; the others are about headers and what the library is not made for
_DAMAGE = ("Corrupt", "Premature", "Inconsistent progression")
#: frames other than 8-bit sequential and progressive ones, which neither Pillow nor libjpeg's 8-bit interface decodes
_LOSSLESS = frozenset([0xC3, 0xC7, 0xCB, 0xCF])
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class JpegDamageError(Exception):
    """What is wrong with a JPEG, in a few words."""


def decode_jpeg(data: bytes, image: Image.Image, least_side: int = 0) -> Image.Image:
    """The pixels of a whole JPEG, in the mode of the opened ``image``; JpegDamageError for a damaged one.

    least_side: where it is positive, decoded at the smallest of the scales 1, 1/2, 1/4, 1/8 (of the DCT, by libjpeg)
    that leaves the shorter side at least so long. A file that lacks nothing but its end marker is whole.
    """
    if image.mode not in ("RGB", "L"):  # ink: Pillow knows how its values are meant; the scan is checked all the same
        _strict(data, "CMYK", (1, 1), 8)
        return _by_pillow(data)
    factor = scale_factor(min(image.size), least_side)
    size = (-(-image.height // factor), -(-image.width // factor)) if factor > 1 else (0, 0)
    pixels = _strict(data, "RGB" if image.mode == "RGB" else "GRAY", size, factor)
    if pixels is None:
        return _by_pillow(data)
    return Image.fromarray(pixels[..., 0] if image.mode == "L" else pixels)


def _by_pillow(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data + _EOI), formats=("JPEG",))
    image.load()
    return image


def scale_factor(side: int, least: int) -> int:
    """The largest of 8, 4, 2, 1 by which a side of so many pixels can be divided and be ``least`` pixels or more."""
    return next((factor for factor in (8, 4, 2) if 0 < least <= -(-side // factor)), 1)


def _strict(data: bytes, colours: str, size: tuple[int, int], factor: int) -> np.ndarray | None:
    """Decoded, (h, w, channels) uint8; None: a sound kind of file that this library is not made for.

    Mends what is wrong with the file but not with its pixels.
    """
    decode = partial(
        simplejpeg.decode_jpeg, colorspace=colours, min_height=size[0], min_width=size[1], min_factor=factor
    )
    try:
        return decode(data)
    except ValueError as error:
        said = " ".join(str(error).split())
    first, end = _scan_bounds(data)
    unfinished = end < 0
    if unfinished:  # libjpeg warns of the missing end marker even where every block is there
        if not _every_scan_is_there(data):
            raise JpegDamageError("truncated JPEG")
        data, end = data + _EOI, len(data)
    mended: bytes | None = data
    for _ in range(4):  # each round mends one thing
        if mended is None:
            break
        data, end = mended, _scan_bounds(mended)[1]
        try:
            return decode(data)
        except ValueError as error:
            said = " ".join(str(error).split())
        mended = _mended(data, said, first, end)
    if not said.startswith(_DAMAGE):
        if reason := unsupported_jpeg(data):
            raise JpegDamageError(reason)
        return None
    if "remature end" in said and unfinished and any(data[end - 8 : end]):  # not a file of zeros
        raise JpegDamageError("truncated JPEG")
    raise JpegDamageError(f"damaged JPEG: {_in_words(said)}")


def _mended(data: bytes, said: str, first: int, end: int) -> bytes | None:
    """The file without the fault that libjpeg told first, where that fault is none of the pixels'; else None."""
    changed = bytearray(data)
    if "unknown JFIF revision" in said:
        at = data.find(b"JFIF\0")
        changed[at + 5 : at + 7] = b"\1\2"
    elif "Invalid SOS parameters" in said:  # in a sequential JPEG they say nothing
        for at, body in _scans(data):
            changed[at + len(body) - 3 : at + len(body)] = b"\0\x3f\0"
    elif (found := _EXTRANEOUS.search(said)) and found[2] == "d9":
        # Some writers fill up before the end marker. Without the filling the scan has to be whole.
        kept = data[first:end].rstrip(data[end - 1 : end]) if data[end - 1] in (0x00, 0xFF) else data[first:end]
        kept += b"\0" if kept.endswith(b"\xff") else b""
        changed[first:end] = kept
    else:
        return None
    return bytes(changed) if changed != data else None


def _in_words(said: str) -> str:
    found = _EXTRANEOUS.search(said)
    if found:
        return f"{found[1]} bytes too many in its pixel data"
    if "remature end" in said:
        return "its pixel data end too early"
    return said.removeprefix("Corrupt JPEG data: ")[:80]


def _headers(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place of the body and body (with its length field) of the segments up to the first scan's header."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xD9 or length < 2:
            return
        yield marker, at + 2, data[at + 2 : at + 2 + length]
        if marker == 0xDA:
            return
        at += 2 + length


def _scans(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Place and body of every scan's header. In pixel data 0xFF is always followed by 0 or a restart."""
    first = next((at for marker, at, _ in _headers(data) if marker == 0xDA), -1)
    while first >= 2:
        yield first, data[first : first + int.from_bytes(data[first : first + 2], "big")]
        end = data.find(_EOI, first)
        first = data.find(_SOS, first, end if end >= 0 else len(data)) + 2


def _scan_bounds(data: bytes) -> tuple[int, int]:
    """Where the last scan's data begin, and where the end marker is; -1 where there is none."""
    last = 0
    for at, body in _scans(data):
        last = at + len(body)
    return last, data.find(_EOI, last)


def _every_scan_is_there(data: bytes) -> bool:
    """Whether the scans together bring every coefficient of every component to its last bit."""
    frame = next((body for marker, _, body in _headers(data) if marker in _FRAMES), b"")
    if len(frame) < 8:
        return False
    progressive = any(marker in (0xC2, 0xC6, 0xCA, 0xCE) for marker, _, _ in _headers(data))
    missing = {component: set(range(64)) for component in frame[8::3]}
    for _, body in _scans(data):
        if len(body) < 6:
            return False
        start, stop, bits = body[-3:] if progressive else (0, 63, 0)
        if bits & 15 == 0:
            for component in body[3:-3:2]:
                missing.get(component, set()).difference_update(range(start, stop + 1))
    return not any(missing.values())


def unsupported_jpeg(data: bytes) -> str:
    """Why a sound JPEG cannot be read here, or ``""``."""
    for marker, _, body in _headers(data):
        if marker in _LOSSLESS:
            return "lossless JPEG is not supported; convert it to PNG"
        if marker in _FRAMES and len(body) > 2 and body[2] != 8:
            return f"{body[2]}-bit JPEG is not supported; convert it to PNG"
    return ""
