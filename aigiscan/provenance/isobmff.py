"""ISO base media files (ISO 14496-12): AVIF, HEIC, JPEG XL, JPEG 2000, MP4."""

from __future__ import annotations

from aigiscan.provenance.source import MAX_BLOCKS, Metadata, Source, c2pa_store

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_EXIF_UUID = b"JpgTiffExif->JP2"


def read_boxes(source: Source, found: Metadata) -> None:
    """Put what the boxes of a file hold into ``found``."""
    at, end = 0, source.size
    for _ in range(MAX_BLOCKS):
        kind, begin, length = _box(source, at, end)
        if not kind:
            return
        body = at + length - begin
        if kind == b"uuid":
            name = source.at(begin, 16)
            if name == _C2PA_UUID:
                found.c2pa += source.block(begin + 16, body - 16) or b"?"
            elif name == _XMP_UUID:
                found.xmp.append(source.block(begin + 16, body - 16))
            elif name == _EXIF_UUID:
                found.exif.append(source.block(begin + 16, body - 16).removeprefix(b"Exif\0\0"))
        elif kind == b"jumb":
            found.c2pa += c2pa_store(source, at, length)
        elif kind == b"xml ":
            found.xmp.append(source.block(begin, body))
        elif kind == b"Exif":  # JPEG XL: four bytes of offset first
            found.exif.append(source.block(begin + 4, body - 4))
        elif kind == b"meta":
            _items(source, found, begin + 4, at + length)
        at += length


def _box(source: Source, at: int, end: int) -> tuple[bytes, int, int]:
    """Kind, place of the content, whole length; kind b"" at the end and where the bytes make no sense."""
    head = source.at(at, 16)
    if len(head) < 8 or at >= end:
        return b"", at, 0
    length, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], at + 8
    if length == 1:
        length, begin = int.from_bytes(head[8:16], "big"), at + 16
    elif length == 0:
        length = end - at
    return (kind, begin, length) if begin - at <= length <= end - at else (b"", at, 0)


def _items(source: Source, found: Metadata, at: int, end: int) -> None:
    """Exif and XMP items of a ``meta`` box: ``iinf`` names them, ``iloc`` says where they lie (ISO 14496-12, 8.11)."""
    kinds: dict[int, bytes] = {}
    places: dict[int, tuple[int, int]] = {}
    for _ in range(MAX_BLOCKS):
        kind, begin, length = _box(source, at, end)
        if not kind:
            break
        if kind == b"iinf":
            kinds = _item_kinds(source, begin, at + length)
        elif kind == b"iloc":
            places = _item_places(source.block(begin, at + length - begin))
        at += length
    for number, kind in kinds.items():
        offset, length = places.get(number, (0, 0))
        data = source.block(offset, length)
        if kind == b"Exif" and len(data) > 4:
            skip = int.from_bytes(data[:4], "big")
            found.exif.append(data[4 + skip :].removeprefix(b"Exif\0\0"))
        elif kind == b"mime" and data:
            found.xmp.append(data)


def _item_kinds(source: Source, at: int, end: int) -> dict[int, bytes]:
    wide = source.at(at, 1) != b"\0"
    at += 4 + (4 if wide else 2)
    kinds = {}
    for _ in range(MAX_BLOCKS):
        kind, begin, length = _box(source, at, end)
        if not kind:
            break
        entry = source.at(begin, min(length, 128))
        if kind == b"infe" and entry[:1] in (b"\2", b"\3"):
            step = 2 if entry[0] == 2 else 4
            name = entry[6 + step : 10 + step]  # after version, flags, number, protection
            if name == b"Exif" or (name == b"mime" and b"rdf+xml" in entry):
                kinds[int.from_bytes(entry[4 : 4 + step], "big")] = name
        at += length
    return kinds


def _item_places(box: bytes) -> dict[int, tuple[int, int]]:
    """Item number → place and length in the file, for items of one extent that lie in the file itself."""
    if len(box) < 8:
        return {}
    version = box[0]
    sizes = box[4] >> 4, box[4] & 15, box[5] >> 4, (box[5] & 15) if version else 0
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(box[at - size : at], "big")

    wide = 4 if version == 2 else 2
    found = {}
    for _ in range(min(number(wide), MAX_BLOCKS)):
        item = number(wide)
        in_file = not version or number(2) & 15 == 0
        number(2)  # data reference
        base, extents = number(sizes[2]), number(2)
        for extent in range(min(extents, MAX_BLOCKS)):
            number(sizes[3])
            offset, length = number(sizes[0]), number(sizes[1])
            if extent == 0 and extents == 1 and in_file:
                found[item] = base + offset, length
        if at >= len(box):
            break
    return found
