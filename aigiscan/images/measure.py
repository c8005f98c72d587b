"""Files → what the audit compares: file facts, JPEG tables, a perceptual hash, the byte count after equalisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from aigiscan.images.ahead import default_workers, in_order
from aigiscan.images.decode import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode, quiet_pillow
from aigiscan.images.equalize import Equalization, jpeg_bytes
from aigiscan.images.records import FileFacts, ImageRecord

#: what ``equalized_bytes`` encodes with where the equalisation itself does not end in a JPEG step
_BYTE_COUNT_QUALITY = 75


@dataclass(frozen=True, slots=True)
class Measured:
    """One file as the audit sees it.

    tables: the 64 luma and 64 chroma quantisation steps of a JPEG; empty for other files. phash: 64-bit perceptual
    hash, None if it was not asked for. equalized_bytes: JPEG size after equalisation, 0 if it was not asked for.
    error: why the file is unreadable; the rest is then as far as known.
    """

    record: ImageRecord
    facts: FileFacts
    tables: tuple[int, ...] = ()
    phash: int | None = None
    equalized_bytes: int = 0
    error: str = ""


def measure(
    records: Sequence[ImageRecord],
    *,
    perceptual: bool = True,
    equalization: Equalization | None = None,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Iterator[Measured]:
    """Open every file once, in threads, and yield the results in the order of the records."""
    one = partial(
        _measure, perceptual=perceptual, equalization=equalization, max_pixels=max_pixels, max_bytes=max_bytes
    )
    workers = workers or default_workers()
    yield from in_order(one, records, workers, ahead=4 * workers)


def _measure(
    record: ImageRecord, *, perceptual: bool, equalization: Equalization | None, max_pixels: int, max_bytes: int
) -> Measured:
    decoded = decode(record, max_pixels=max_pixels, max_bytes=max_bytes)
    if decoded.pixels is None:
        return Measured(record, decoded.facts, error=decoded.error)
    return Measured(
        record,
        decoded.facts,
        tables=jpeg_tables(record.path) if decoded.facts.format in ("JPEG", "MPO") else (),
        phash=perceptual_hash(decoded.pixels) if perceptual else None,
        equalized_bytes=equalized_bytes(decoded.pixels, equalization) if equalization else 0,
    )


def jpeg_tables(path: str) -> tuple[int, ...]:
    """The 128 quantisation steps of a JPEG file (luma, then chroma; zeros for a grey image); empty if unreadable."""
    try:
        quiet_pillow()
        with Image.open(path, formats=("JPEG",)) as image:
            tables = getattr(image, "quantization", {})
    # The file was decoded a moment ago; if it has changed since, its tables are unknown and nothing else.
    except (OSError, SyntaxError, ValueError):
        return ()
    luma, chroma = tables.get(0, ()), tables.get(1, (0,) * 64)
    return (*luma, *chroma) if len(luma) == len(chroma) == 64 else ()


def perceptual_hash(image: Image.Image) -> int:
    """64-bit DCT hash (ImageHash's ``phash``); re-encoded or resized copies differ in few bits."""
    import imagehash

    return int(str(imagehash.phash(image)), 16)


def equalized_bytes(image: Image.Image, equalization: Equalization) -> int:
    """Size in bytes of the JPEG that the equalisation makes of an image (quality 75 if it makes none)."""
    *before, (name, number) = equalization.steps
    if name != "jpeg":
        return len(jpeg_bytes(equalization.apply(image), _BYTE_COUNT_QUALITY))
    return len(jpeg_bytes(Equalization(tuple(before)).apply(image), number))
