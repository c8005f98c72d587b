"""One file → upright 8-bit RGB pixels and the facts of the file, or the reason why not.

``decode`` never raises for a bad file, never waits on a pipe or device, and reads each file once. What pixels mean in
every colour mode is in :mod:`aigiscan.images.colour`. ICC profiles are ignored, as CLIP's own preprocessing does.
Pixels come before any metadata: Pillow's readers of metadata decode too, and swallow what is wrong.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import stat
import warnings
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, UnidentifiedImageError

from aigiscan.files import reason
from aigiscan.images.colour import ColourError, is_clear, to_rgb
from aigiscan.images.jpeg import JpegDamageError, decode_jpeg, unsupported_jpeg
from aigiscan.images.libtiff import silence_libtiff
from aigiscan.images.quirks import (
    EXTRAS,
    UnsupportedError,
    check_values,
    choose_page,
    develop,
    is_about_texts,
    raw_photograph,
    register_extra,
    unsupported_tiff,
    white_is_zero,
    without_texts,
)
from aigiscan.images.records import DecodedImage, FileFacts, ImageRecord
from aigiscan.images.sniff import HEAD_BYTES, RAW_EXTENSIONS, extension, sniff
from aigiscan.provenance import Claim, Provenance, ProvenanceReader, one_line
from aigiscan.provenance.claims import to_json

#: above every camera but the 200-megapixel phones; 360 MB of RGB in each worker
DEFAULT_MAX_PIXELS = 120_000_000
DEFAULT_MAX_BYTES = 512 * 1024 * 1024
#: C2PA manifests are verified offline where c2pa-python is installed
PLAIN_READER = ProvenanceReader.plain()

# JPEG includes MPO. Other readers are left out on purpose: EPS starts Ghostscript, and nobody's photographs are icons.
_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
#: formats whose reader takes no memory for pixels before ``load``
_LAZY_FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
#: frames of an animation that are looked through for one that is not empty
_EMPTY_FRAMES = 16

# Without a handler Pillow's error messages would go to standard error through logging's last resort.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _UnreadableError(Exception):
    """Why a file has no pixels, with what is known of it; never leaves this module."""

    def __init__(self, reason: str, facts: FileFacts) -> None:
        super().__init__(reason)
        self.reason = reason
        self.facts = facts


def decode(
    record: ImageRecord,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = DEFAULT_MAX_BYTES,
    least_side: int = 0,
    reader: ProvenanceReader = PLAIN_READER,
) -> DecodedImage:
    """Open ``record.path``; the result has either ``pixels`` (RGB, 8 bit, upright, first frame) or ``error``.

    max_pixels: images with more (width × height, from the header) are not decoded. max_bytes: larger files are not
    read. least_side: where it is positive, a JPEG is decoded at the smallest scale of its DCT that leaves the shorter
    side at least so long (:attr:`aigiscan.images.equalize.Equalization.least_side`). reader: how claims of origin are
    read. Facts are filled as far as they are known, also with an error; ``sha256`` is that of the file's bytes.
    Thread-safe.
    """
    if record.error:
        return DecodedImage(record, FileFacts(), error=record.error)
    quiet_pillow()
    try:
        data, facts = _read(record.path, max_bytes)
        # The reader never decodes: what it looks at cannot hide from ``load`` that pixels are damaged.
        provenance = reader.read(data)
        _allow(max_pixels)
        facts = _claiming(facts, provenance.claims())
        file = _Opening(data, facts, extension(record.path), max_pixels, least_side, provenance)
        pixels = file.read()
    except _UnreadableError as unreadable:
        return DecodedImage(record, unreadable.facts, error=unreadable.reason)
    return DecodedImage(record, file.facts, pixels=pixels)


def file_facts(path: str, max_bytes: int = DEFAULT_MAX_BYTES) -> FileFacts:
    """What is known of a file that nobody could open: size, time and hash, as far as it can be read."""
    try:
        return _read(path, max_bytes)[1]
    except _UnreadableError as unreadable:
        return unreadable.facts


def _read(path: str, max_bytes: int) -> tuple[bytes, FileFacts]:
    facts = FileFacts()
    try:
        # O_NONBLOCK: opening a pipe for reading would else wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _UnreadableError("not a regular file", facts)
            facts = FileFacts(bytes=status.st_size, mtime_ns=status.st_mtime_ns)
            if status.st_size > max_bytes:
                raise _UnreadableError(f"{status.st_size} bytes is over the limit of {max_bytes}", facts)
            data = file.read(max_bytes + 1)  # no more even if the file is growing
    except OSError as error:
        raise _UnreadableError(reason(error), facts) from error
    except ValueError as error:  # a NUL in the path, which a list may hold
        raise _UnreadableError("not a possible file name", facts) from error
    except MemoryError as error:
        raise _UnreadableError("not enough memory to read it", facts) from error
    facts = replace(facts, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    if not data:
        raise _UnreadableError("empty file", facts)
    return data, facts


class _Opening:
    """One file on its way from bytes to pixels; ``facts`` are what is known so far, also when it ends in an error."""

    def __init__(
        self, data: bytes, facts: FileFacts, suffix: str, max_pixels: int, least_side: int, provenance: Provenance
    ) -> None:
        self.data, self.suffix, self.provenance = data, suffix, provenance
        self.max_pixels, self.least_side = max_pixels, least_side
        self.facts = replace(facts, format=sniff(data[:HEAD_BYTES]))

    def read(self) -> Image.Image:
        """The pixels; _UnreadableError with the reason."""
        announced = self.facts.format
        try:
            return self._by_format(announced)
        except _UnreadableError:
            raise
        except (JpegDamageError, UnsupportedError, ColourError) as error:
            raise _UnreadableError(str(error), self.facts) from error
        except Image.DecompressionBombError as error:
            raise _bomb(error, self.data, self.facts, self.max_pixels) from error
        except UnidentifiedImageError as error:
            known = _UNSUPPORTED[announced](self.data) if announced in _UNSUPPORTED else ""
            reason = known or (f"damaged {announced} header" if announced else "not an image")
            raise _UnreadableError(reason, self.facts) from error
        except MemoryError as error:
            raise _UnreadableError("not enough memory to decode it", self.facts) from error
        # Pillow's plugins raise whatever the broken bytes lead them into (struct.error, KeyError, SyntaxError,
        # ZeroDivisionError, ...): the one place where any exception is an answer about the file.
        except Exception as error:
            short_riff = announced == "WEBP" and int.from_bytes(self.data[4:8], "little") + 8 > len(self.data)
            # Some readers claim bytes on little evidence ("P1" and a text); without a known beginning it is no image.
            reason = _damage(error, self.facts.format) if self.facts.format else "not an image"
            reason = "truncated WEBP" if short_riff else reason
            raise _UnreadableError(reason, self.facts) from error

    def _by_format(self, announced: str) -> Image.Image:
        if announced == "CR3" or (announced in ("TIFF", "") and self.suffix in RAW_EXTENSIONS):
            self.facts = replace(self.facts, format="RAW")
            with raw_photograph(self.data) as raw:
                self._sized(raw.sizes.width, raw.sizes.height)
                return develop(raw)
        if announced == "PSD":
            raise UnsupportedError("Photoshop file; export it to JPEG or TIFF")
        if announced in EXTRAS:
            register_extra(announced)
        if announced == "TIFF":
            silence_libtiff()
        try:
            return self._by_pillow(self.data)
        except ValueError as error:
            if announced != "PNG" or not is_about_texts(error):
                raise
            return self._by_pillow(without_texts(self.data))

    def _by_pillow(self, data: bytes) -> Image.Image:
        formats = (self.facts.format,) if self.facts.format in EXTRAS else _FORMATS
        with Image.open(io.BytesIO(data), formats=formats) as image:
            self.facts = replace(self.facts, format=image.format or self.facts.format)
            if image.format == "TIFF":
                choose_page(image)
            self._sized(*_stored_size(image))
            stored = _pixels(image, data, self.least_side)
            claims = self.provenance.claims(stored, (self.facts.width, self.facts.height))
            self.facts = _claiming(self.facts, claims)
            return _upright(to_rgb(stored, white_is_zero=image.format == "TIFF" and white_is_zero(image)), image)

    def _sized(self, width: int, height: int) -> None:
        self.facts = replace(self.facts, width=width, height=height)
        if width * height > self.max_pixels:
            reason = f"{width}x{height} pixels is over the limit of {self.max_pixels}; raise --max-pixels"
            raise _UnreadableError(reason, self.facts)


#: format → why a file of it that has a sound header cannot be opened
_UNSUPPORTED = {"JPEG": unsupported_jpeg, "TIFF": unsupported_tiff}


def _pixels(image: Image.Image, data: bytes, least_side: int) -> Image.Image:
    """All pixels of the opened file, in its mode, as they are stored: of its first frame that shows anything."""
    if image.format in ("JPEG", "MPO"):
        return decode_jpeg(data, image, least_side)
    image.load()
    if image.format == "TIFF":
        check_values(image)
    for frame in range(1, _EMPTY_FRAMES):
        if not is_clear(image) or not getattr(image, "is_animated", False) or frame >= getattr(image, "n_frames", 1):
            break
        image.seek(frame)
        image.load()
    return image


def _claiming(facts: FileFacts, claims: Sequence[Claim]) -> FileFacts:
    return replace(facts, provenance=one_line(claims), claims=to_json(claims))


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before any rotation; Pillow's TIFF reader gives them after it."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None and tags.get(0x0112) in (5, 6, 7, 8):
        return image.height, image.width
    return image.size


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Pixels after the EXIF rotation of the file, with nothing else of the file attached."""
    if image.format == "JXL":  # its reader has turned the picture already
        return pixels
    try:
        orientation = image.getexif().get(0x0112, 1)
    # Broken EXIF data does not make pixels unreadable: such a picture is taken as it is stored, as viewers do.
    except Exception:
        orientation = 1
    method = _TURNS.get(orientation) if isinstance(orientation, int) else None
    if method is not None:
        pixels = pixels.transpose(method)
    elif pixels is image:
        pixels = image.copy()  # a plain image that does not hold the file
    pixels.info = {}
    return pixels


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


#: how Pillow's readers say that the bytes ended too early
_CUT_SHORT = ("truncated", "unexpected end", "expected to read")


def _damage(error: Exception, name: str) -> str:
    """One short line for what a decoder raised, without any path."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) or any(words in text.lower() for words in _CUT_SHORT):
        return f"truncated {name}"
    detail = text[:80] if text.isprintable() and text else type(error).__name__
    return f"damaged {name}: {detail}"


def _allow(max_pixels: int) -> None:
    """Raise Pillow's own limit to the user's; it stays raised: a later crop of an allowed picture is no bomb."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def _bomb(error: Image.DecompressionBombError, data: bytes, facts: FileFacts, max_pixels: int) -> _UnreadableError:
    """The answer to what Pillow refused by itself, beyond twice its limit."""
    size = re.search(r"\d+", str(error))
    described = f"{size.group() if size else 'more'} pixels"
    if facts.format in _LAZY_FORMATS:
        # The same reader without Pillow's check: these read the header alone, so no memory is taken.
        Image.preinit()
        with Image.OPEN[facts.format][0](io.BytesIO(data), "") as image:
            width, height = _stored_size(image)
        described = f"{width}x{height} pixels"
        facts = replace(facts, width=width, height=height)
    return _UnreadableError(f"{described} is over the limit of {max_pixels}; raise --max-pixels", facts)


_PILLOW = r"PIL\."


def quiet_pillow() -> None:
    """Pillow warns of bombs, odd EXIF and odd animations; whatever matters is in the record's reason.

    A standing filter for Pillow's own modules: filters belong to the whole process, and one that is set and taken away
    by overlapping threads is taken away from under another.
    """
    if not any(entry[3] is not None and getattr(entry[3], "pattern", "") == _PILLOW for entry in warnings.filters[:8]):
        warnings.filterwarnings("ignore", module=_PILLOW)
