"""What a file is by its first bytes, and which names belong to images."""

from __future__ import annotations

import os

#: bytes of a file's beginning that :func:`sniff` looks at
HEAD_BYTES = 32

# fmt: off
_READABLE = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm",
])

#: camera raw files are TIFF inside; what a TIFF reader finds in them first is a thumbnail, never the photograph
RAW_EXTENSIONS = frozenset([
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
])
#: names that are looked at even if their content says nothing (the decoder then reports why they cannot be read); also
#: photographs that are read with an extra package, or not at all; they are rows of a report all the same
IMAGE_EXTENSIONS = _READABLE | RAW_EXTENSIONS | frozenset([".jxl", ".jxr", ".wdp", ".psd", ".psb", ".exr", ".hdr"])
# fmt: on

_HEIF_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
_AVIF_BRANDS = frozenset([b"avif", b"avis"])
_BMP_HEADER_SIZES = frozenset([12, 16, 40, 52, 56, 64, 108, 124])


def extension(path: str) -> str:
    """Extension in lower case with its dot; ``""`` if there is none."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - called for every entry of a folder


def sniff(head: bytes) -> str:
    """Format (Pillow's name) that the first :data:`HEAD_BYTES` bytes announce; ``""`` if they announce no image."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    # Two letters alone would take any text that begins with "BM" for a bitmap.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _iso_format(head)
    if head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JXL"
    return "PSD" if head.startswith(b"8BPS\0") else ""


def _iso_format(head: bytes) -> str:
    """AVIF or HEIF by the brands of an ISO media file; ``""`` for video and audio."""
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))]
    # An AVIF may name the generic "mif1" first, so the specific brand decides.
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    if any(brand in _HEIF_BRANDS for brand in brands):
        return "HEIF"
    if brands[0] == b"crx ":
        return "CR3"
    return ""
