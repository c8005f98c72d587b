"""EXIF: the few fields that speak of origin, read from a TIFF structure without trusting it (Exif 3.0, TIFF 6.0)."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

from aigiscan.provenance.source import MAX_BLOCK, Metadata, Source

_ENTRIES = 512  # of one directory
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 9: 4, 10: 8, 13: 4, 129: 1}

#: tag → name; the two comments are looked for in every directory, because generators put them where they like
TEXT_TAGS = {
    0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software", 0x0132: "DateTime",
    0x013B: "Artist", 0x013C: "HostComputer", 0x8298: "Copyright", 0x9003: "DateTimeOriginal", 0x927C: "MakerNote",
    0x9286: "UserComment", 0x9C9B: "XPTitle", 0x9C9C: "XPComment", 0x9C9E: "XPKeywords", 0xA431: "BodySerialNumber",
    0xA433: "LensMake", 0xA434: "LensModel",
}  # fmt: skip
_NUMBER_TAGS = {0xA002: "PixelXDimension", 0xA003: "PixelYDimension"}
_SUB_IFDS = (0x8769,)
_GPS, _XMP, _IPTC, _PHOTOSHOP, _C2PA = 0x8825, 0x02BC, 0x83BB, 0x8649, 0xCD41
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202


@dataclass(slots=True)
class Exif:
    """texts: name → text; numbers: name → value; gps: (latitude, longitude) in degrees; thumbnail: JPEG bytes."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    has_gps: bool = False
    gps: tuple[float, float] | None = None
    thumbnail: bytes = b""


class _Reader:
    """Entries of a directory: tag → (type, count, place of the value)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.order = "<" if source.at(0, 2) == b"II" else ">"

    def number(self, at: int, size: int) -> int:
        return int.from_bytes(self.source.at(at, size), "little" if self.order == "<" else "big")

    def directory(self, at: int) -> tuple[dict[int, tuple[int, int, int]], int]:
        """The entries of the directory at a place, and the place of the next directory (0: none)."""
        count = self.number(at, 2)
        if at < 8 or count > _ENTRIES:
            return {}, 0
        found = {}
        raw = self.source.at(at + 2, 12 * count)
        for i, (tag, kind, values, place) in enumerate(
            struct.iter_unpack(f"{self.order}HHII", raw[: len(raw) // 12 * 12])
        ):
            if size := _SIZES.get(kind, 0) * values:
                found[tag] = kind, values, at + 10 + 12 * i if size <= 4 else place
        return found, self.number(at + 2 + 12 * count, 4)

    def value(self, entry: tuple[int, int, int]) -> bytes:
        kind, values, at = entry
        size = _SIZES[kind] * values
        return self.source.block(at, size) if size <= MAX_BLOCK else b""

    def integer(self, entry: tuple[int, int, int]) -> int:
        kind, _, at = entry
        return self.number(at, min(_SIZES[kind], 4))


def read_exif(data: bytes) -> Exif:
    """The fields of a TIFF structure; empty where it is damaged. Nothing raises for what the bytes hold."""
    return _read(Source(io.BytesIO(data)), None)


def read_tiff(source: Source, found: Metadata) -> Exif:
    """As :func:`read_exif` for a TIFF file, whose first directory also holds XMP, IPTC and C2PA."""
    return _read(source, found)


def _read(source: Source, found: Metadata | None) -> Exif:
    exif, reader = Exif(), _Reader(source)
    if source.at(0, 4) not in (b"II*\0", b"MM\0*"):
        return exif
    main, following = reader.directory(reader.number(4, 4))
    directories = [main] + [reader.directory(reader.integer(main[tag]))[0] for tag in _SUB_IFDS if tag in main]
    for entries in directories:
        for tag, entry in entries.items():
            if tag in TEXT_TAGS and TEXT_TAGS[tag] not in exif.texts:
                text = _decoded(reader.value(entry), tag, reader.order)
                if text:
                    exif.texts[TEXT_TAGS[tag]] = text
            elif tag in _NUMBER_TAGS:
                exif.numbers[_NUMBER_TAGS[tag]] = reader.integer(entry)
    if _GPS in main:
        exif.has_gps = True
        exif.gps = _position(reader, reader.directory(reader.integer(main[_GPS]))[0])
    if found is not None:
        for tag, target in ((_XMP, found.xmp), (_IPTC, found.iptc)):
            if tag in main:
                target.append(reader.value(main[tag]))
        found.c2pa += reader.value(main[_C2PA]) if _C2PA in main else b""
    elif following:
        second = reader.directory(following)[0]
        if _THUMBNAIL in second and _THUMBNAIL_LENGTH in second:
            exif.thumbnail = source.block(reader.integer(second[_THUMBNAIL]), reader.integer(second[_THUMBNAIL_LENGTH]))
    return exif


def _decoded(value: bytes, tag: int, order: str) -> str:
    if tag in (0x9C9B, 0x9C9C, 0x9C9E):
        return value.decode("utf-16-le", "replace").strip("\0 ")
    code, rest = value[:8], value[8:]
    if code == b"UNICODE\0":
        # The byte order is said nowhere for sure: take the one that gives the fewer odd characters.
        texts = [rest.decode(f"utf-16-{e}", "replace") for e in (("le", "be") if order == "<" else ("be", "le"))]
        return min(texts, key=lambda text: sum(ord(c) > 0x3000 or c == "\0" for c in text[:200])).strip("\0 ")
    if code in (b"ASCII\0\0\0", b"\0" * 8, b"JIS\0\0\0\0\0"):
        value = rest
    return value.decode("utf-8", "replace").strip("\0 ")


def _position(reader: _Reader, gps: dict[int, tuple[int, int, int]]) -> tuple[float, float] | None:
    def degrees(reference: int, tag: int, negative: bytes) -> float | None:
        if reference not in gps or tag not in gps:
            return None
        raw = reader.value(gps[tag])
        if len(raw) != 24:
            return None
        parts = struct.unpack(f"{reader.order}6I", raw)
        if not all(parts[1::2]):
            return None
        value = parts[0] / parts[1] + parts[2] / parts[3] / 60 + parts[4] / parts[5] / 3600
        return -value if reader.value(gps[reference])[:1] == negative else value

    latitude, longitude = degrees(1, 2, b"S"), degrees(3, 4, b"W")
    return None if latitude is None or longitude is None else (latitude, longitude)
