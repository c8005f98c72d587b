"""Where a file keeps its metadata: walks the container, reads the metadata alone, skips the pixels.

JPEG (ISO 10918, XMP part 3 with extended XMP, Photoshop resources), PNG (ISO 15948), WebP (RIFF), GIF89a; TIFF 6 is
:mod:`aigiscan.provenance.exif`'s, the ISO base media family :mod:`aigiscan.provenance.isobmff`'s. What makes no sense
ends the walk; nothing raises for what a file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from aigiscan.provenance.isobmff import read_boxes
from aigiscan.provenance.source import MAX_BLOCK, MAX_BLOCKS, WINDOW, Metadata, Source, c2pa_store, is_c2pa

_PNG = b"\x89PNG\r\n\x1a\n"


def read_metadata(file: BinaryIO) -> Metadata:
    """The metadata of an open, seekable file; the position is left anywhere. OSError of the file alone is raised."""
    source, found = Source(file), Metadata()
    head = source.at(0, 32)
    if head.startswith(b"\xff\xd8"):
        _jpeg(source, found)
    elif head.startswith(_PNG):
        _png(source, found)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        _webp(source, found)
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        _gif(source, found)
    elif head[:4] in (b"II*\0", b"MM\0*"):
        found.format = "TIFF"
        # The file is one EXIF structure; its reader fetches what it needs (aigiscan.provenance.exif).
    elif head[4:8] == b"ftyp" or head[4:8] in (b"JXL ", b"jP  "):
        found.format = {b"JXL ": "JXL", b"jP  ": "JPEG2000"}.get(head[4:8], "ISOBMFF")
        read_boxes(source, found)
    elif head[:5] == b"%PDF-":
        found.format = "PDF"
    return found


# ---- JPEG

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"


def _jpeg(source: Source, found: Metadata) -> None:
    found.format = "JPEG"
    extension: dict[bytes, dict[int, bytes]] = {}
    resources, instance = b"", b""
    for marker, offset, length in _segments(source):
        if marker == 0xFE:
            found.comments.append(source.block(offset, length))
        if marker not in (0xE1, 0xEB, 0xED):
            continue
        body = source.block(offset, length)
        if marker == 0xE1 and body[:6] in (b"Exif\0\0", b"Exif\0\xff"):
            found.exif.append(body[6:])
        elif marker == 0xE1 and body.startswith(_XMP):
            found.xmp.append(body[len(_XMP) :])
        elif marker == 0xE1 and body.startswith(_XMP_EXTENSION):
            rest = body[len(_XMP_EXTENSION) :]  # GUID 32, whole length 4, place 4, data
            extension.setdefault(rest[:32], {})[int.from_bytes(rest[36:40], "big")] = rest[40:]
        elif marker == 0xED and body.startswith(_PHOTOSHOP):
            resources += body[len(_PHOTOSHOP) :]
        # A box over 64 kB goes on in segments with the same two numbers; the store may be one of several boxes.
        elif marker == 0xEB and body[:2] == b"JP" and (is_c2pa(body[8:]) or body[2:4] == instance):
            instance = body[2:4]
            found.c2pa += body[8:]
    _photoshop(resources, found)
    for guid, pieces in extension.items():
        # The main packet names the extension that belongs to it; another's is no statement of this file.
        if any(guid in packet for packet in found.xmp):
            found.xmp.append(b"".join(data for _, data in sorted(pieces.items())))
    _samsung(source, found)


def _segments(source: Source) -> Iterator[tuple[int, int, int]]:
    """Marker, place and length of the segments before a JPEG's scan; stops where the bytes make no sense."""
    at = 2
    for _ in range(MAX_BLOCKS):
        head = source.at(at, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in (0xD9, 0xDA) or length < 2:
            return
        else:
            yield marker, at + 4, length - 2
            at += 2 + length


def _photoshop(data: bytes, found: Metadata) -> None:
    """Image resource blocks: ``8BIM``, number, name padded to even, length, data padded to even; 0x0404 is IPTC."""
    at = 0
    for _ in range(MAX_BLOCKS):
        if data[at : at + 4] not in (b"8BIM", b"MeSa") or at + 12 > len(data):
            return
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        begin = at + 6 + (data[at + 6] + 2) // 2 * 2
        length = int.from_bytes(data[begin : begin + 4], "big")
        if number == 0x0404:
            found.iptc.append(data[begin + 4 : begin + 4 + length])
        at = begin + 4 + (length + 1) // 2 * 2


def _samsung(source: Source, found: Metadata) -> None:
    """Samsung's trailer: blocks, then a directory ``SEFH`` of (type, place, size), its length, ``SEFT`` at the end."""
    tail = source.at(source.size - 8, 8)
    if tail[4:] != b"SEFT":
        return
    length = int.from_bytes(tail[:4], "little")
    begin = source.size - 8 - length
    directory = source.at(begin, min(length, WINDOW))
    if directory[:4] != b"SEFH":
        return
    for i in range(min(int.from_bytes(directory[8:12], "little"), 256)):
        entry = directory[12 + 12 * i : 24 + 12 * i]
        back, size = (int.from_bytes(entry[k : k + 4], "little") for k in (4, 8))
        block = source.block(begin - back, size)
        named = int.from_bytes(block[4:8], "little")
        if 0 < named < 128:
            found.samsung[block[8 : 8 + named].decode("ascii", "replace")] = block[8 + named :]


# ---- PNG


def _png(source: Source, found: Metadata) -> None:
    found.format = "PNG"
    at = 8
    for _ in range(MAX_BLOCKS):
        head = source.at(at, 8)
        if len(head) < 8:
            return
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            _png_text(source, kind, source.block(at + 8, length), found)
        elif kind == b"eXIf":
            found.exif.append(source.block(at + 8, length))
        elif kind == b"caBX":
            found.c2pa += c2pa_store(source, at + 8, length)
        at += 12 + length


def _png_text(source: Source, kind: bytes, body: bytes, found: Metadata) -> None:
    key, _, rest = body.partition(b"\0")
    if kind == b"zTXt":
        rest = source.inflated(rest[1:])
    elif kind == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:]
        _, _, rest = rest.partition(b"\0")  # language
        _, _, rest = rest.partition(b"\0")  # the keyword translated
        rest = source.inflated(rest) if compressed else rest
    name = key.decode("latin-1")
    if name == "XML:com.adobe.xmp":
        found.xmp.append(rest)
    elif name.startswith("Raw profile type "):  # ImageMagick's way: a name, a length, hexadecimal digits
        _raw_profile(name.removeprefix("Raw profile type ").lower(), rest, found)
    else:
        # UTF-8 is what iTXt is by definition and what generators write into the others too
        found.texts.append((name, _text(rest)))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _raw_profile(kind: str, data: bytes, found: Metadata) -> None:
    words = data.split(None, 2)
    with suppress(ValueError):
        profile = bytes.fromhex(words[2].decode("ascii")) if len(words) == 3 else b""
        if kind in ("exif", "app1") and profile.startswith(b"Exif\0\0"):
            found.exif.append(profile[6:])
        elif kind in ("xmp", "app1"):
            found.xmp.append(profile)
        elif kind in ("iptc", "8bim"):
            _photoshop(profile, found) if profile.startswith(b"8BIM") else found.iptc.append(profile)


# ---- WebP, GIF


def _webp(source: Source, found: Metadata) -> None:
    found.format = "WEBP"
    at = 12
    for _ in range(MAX_BLOCKS):
        head = source.at(at, 8)
        if len(head) < 8:
            return
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"EXIF":
            found.exif.append(source.block(at + 8, length).removeprefix(b"Exif\0\0"))
        elif kind == b"XMP ":
            found.xmp.append(source.block(at + 8, length))
        elif kind == b"C2PA":
            found.c2pa += c2pa_store(source, at + 8, length)
        at += 8 + length + length % 2


def _gif(source: Source, found: Metadata) -> None:
    found.format = "GIF"
    flags = source.at(10, 1)
    at = 13 + _palette(flags)
    for _ in range(MAX_BLOCKS):
        kind = source.at(at, 2)
        if kind[:1] == b"\x2c":  # an image: descriptor, palette, code size, data
            at += 10 + _palette(source.at(at + 9, 1)) + 1
            _, at = _sub_blocks(source, at, keep=False)
        elif kind == b"\x21\xfe":
            text, at = _sub_blocks(source, at + 2, keep=True)
            found.comments.append(text)
        elif kind == b"\x21\xff" and source.at(at + 3, 11) == b"XMP DataXMP":
            # The packet is not cut into sub-blocks; 258 bytes of a "magic trailer" let old readers pass over it.
            packet = source.block(at + 14, min(MAX_BLOCK, source.size - at - 14))
            end = packet.rfind(b"\x01\xff\xfe")
            found.xmp.append(packet[: max(end, 0)])
            return
        elif kind == b"\x21\xff":
            manifest = source.at(at + 3, 8) == b"C2PA_GIF"
            store, at = _sub_blocks(source, at + 14, keep=manifest)
            found.c2pa += store
        elif kind[:1] == b"\x21":
            _, at = _sub_blocks(source, at + 2, keep=False)
        else:
            return


def _palette(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _sub_blocks(source: Source, at: int, *, keep: bool) -> tuple[bytes, int]:
    """A run of length-prefixed pieces, joined if ``keep``, and the place after its end."""
    pieces = []
    for _ in range(MAX_BLOCK // 16):
        length = source.at(at, 1)
        if not length or length == b"\0":
            break
        if keep:
            pieces.append(source.at(at + 1, length[0]))
        at += 1 + length[0]
    return b"".join(pieces), at + 1
