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
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from PIL import Image, UnidentifiedImageError

from aigiscan.files import reason
from aigiscan.images.colour import to_rgb
from aigiscan.images.jpeg import JpegDamageError, decode_jpeg, unsupported
from aigiscan.images.libtiff import silence_libtiff
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
_NEEDS_HEIF = "HEIC image; reading it needs pip install 'aigiscan[heif]'"

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
    try:
        data, facts = _read(record.path, max_bytes)
        # The reader never decodes: what it looks at cannot hide from ``load`` that pixels are damaged.
        provenance = reader.read(data)
        facts = _claiming(facts, provenance.claims())
        _allow(max_pixels)
        with no_warnings():
            pixels, facts = _open(data, facts, extension(record.path), max_pixels, least_side, provenance)
    except _UnreadableError as unreadable:
        return DecodedImage(record, unreadable.facts, error=unreadable.reason)
    return DecodedImage(record, facts, pixels=pixels)


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


def _open(
    data: bytes, facts: FileFacts, suffix: str, max_pixels: int, least_side: int, provenance: Provenance
) -> tuple[Image.Image, FileFacts]:
    announced = sniff(data[:HEAD_BYTES])
    if announced == "TIFF" and suffix in RAW_EXTENSIONS:
        raise _UnreadableError("camera raw file; develop it to JPEG or TIFF", facts)
    formats = _FORMATS
    if announced == "HEIF":
        if not _heif_available():
            raise _UnreadableError(_NEEDS_HEIF, replace(facts, format="HEIF"))
        formats = ("HEIF",)
    if announced == "TIFF":
        silence_libtiff()
    facts = replace(facts, format=announced)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = _stored_size(image)
            facts = replace(facts, width=width, height=height, format=image.format or announced)
            if width * height > max_pixels:
                reason = f"{width}x{height} pixels is over the limit of {max_pixels}; raise --max-pixels"
                raise _UnreadableError(reason, facts)
            pixels = _load(image, data, least_side)
            facts = _claiming(facts, provenance.claims(pixels, (width, height)))
            return _upright(to_rgb(pixels), image), facts
    except _UnreadableError:
        raise
    except JpegDamageError as error:
        raise _UnreadableError(str(error), facts) from error
    except Image.DecompressionBombError as error:
        raise _bomb(error, data, facts, max_pixels) from error
    except UnidentifiedImageError as error:
        reason = f"damaged {announced} header" if announced else "not an image"
        reason = (unsupported(data) if announced == "JPEG" else "") or reason
        raise _UnreadableError(reason, facts) from error
    except MemoryError as error:
        raise _UnreadableError("not enough memory to decode it", facts) from error
    # Pillow's plugins raise whatever the broken bytes lead them into (struct.error, KeyError, SyntaxError,
    # ZeroDivisionError, ...): the one place where any exception is an answer about the file.
    except Exception as error:
        short_riff = announced == "WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data)
        # Some readers claim bytes on little evidence ("P1" and a text); without a known beginning it is no image.
        reason = _damage(error, facts.format) if facts.format else "not an image"
        reason = "truncated WEBP" if short_riff else reason
        raise _UnreadableError(reason, facts) from error


def _load(image: Image.Image, data: bytes, least_side: int) -> Image.Image:
    """All pixels of the opened file, in its mode."""
    if image.format in ("JPEG", "MPO"):
        return decode_jpeg(data, image, least_side)
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


def _heif_available() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    if "HEIF" not in Image.OPEN:
        register_heif_opener()
    return True


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


_lock = threading.Lock()
_inside = 0
_catcher: warnings.catch_warnings | None = None


@contextmanager
def no_warnings() -> Iterator[None]:
    """Pillow warns of bombs, odd EXIF and odd animations; whatever matters is in the record's reason.

    Warning filters belong to the whole process and threads overlap here, so the first to enter sets them and the last
    to leave restores them.
    """
    global _inside, _catcher
    with _lock:
        if _inside == 0:
            _catcher = warnings.catch_warnings()
            _catcher.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _catcher is not None:
                _catcher.__exit__(None, None, None)
                _catcher = None
