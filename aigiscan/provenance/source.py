"""Bounded reading of a file's metadata: random access with one window kept, and what was found.

Everything is bounded: blocks per file, bytes per block, bytes of all blocks together, bytes after inflating.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

#: of one block, also after inflating; the longest ComfyUI workflows seen are about 1 MB
MAX_BLOCK = 4 * 1024 * 1024
#: of all blocks together
MAX_TOTAL = 16 * 1024 * 1024
#: blocks, segments, chunks or boxes of one file that are walked
MAX_BLOCKS = 20_000
WINDOW = 64 * 1024


@dataclass(slots=True)
class Metadata:
    """What a file holds beside its pixels, as bytes and texts; ``format`` is "" where the container is not known."""

    format: str = ""
    exif: list[bytes] = field(default_factory=list)  # TIFF structures, without "Exif\0\0"
    xmp: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)  # IIM records
    texts: list[tuple[str, str]] = field(default_factory=list)  # PNG texts: keyword, text
    comments: list[bytes] = field(default_factory=list)  # JPEG and GIF comments
    samsung: dict[str, bytes] = field(default_factory=dict)  # Samsung's trailer: name, data
    c2pa: bytes = b""  # the C2PA manifest store, as far as it was read; not empty where one is embedded


class Source:
    """Random access to an open binary file with one window kept, so that small reads cost one ``read``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._start, self._window = 0, b""
        self._left = MAX_TOTAL

    def at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes (at most ``MAX_BLOCK``) from ``offset``; fewer at the end of the file."""
        count = min(count, MAX_BLOCK)
        if offset < 0 or offset >= self.size or count <= 0:
            return b""
        if not (self._start <= offset and offset + count <= self._start + len(self._window)):
            self._file.seek(offset)
            self._start, self._window = offset, self._file.read(max(count, WINDOW))
        begin = offset - self._start
        return self._window[begin : begin + count]

    def block(self, offset: int, count: int) -> bytes:
        """As :meth:`at` for a block that is kept; b"" once all blocks together are over the limit."""
        if count > MAX_BLOCK or count > self._left:
            return b""
        self._left -= count
        return self.at(offset, count)

    def inflated(self, data: bytes) -> bytes:
        """zlib data inflated, b"" where it is damaged or over the limits: a bomb costs no memory."""
        limit = min(MAX_BLOCK, self._left)
        with suppress(zlib.error):
            inflater = zlib.decompressobj()
            text = inflater.decompress(data, limit) if limit > 0 else b""
            if not inflater.unconsumed_tail:
                self._left -= len(text)
                return text
        return b""


def is_c2pa(box: bytes) -> bool:
    """Whether a JUMBF superbox is a C2PA manifest store: ``jumb``, its description ``jumd``, type UUID "c2pa"."""
    return box[4:8] == b"jumb" and box[12:20] == b"jumdc2pa"


def c2pa_store(source: Source, at: int, length: int) -> bytes:
    """The C2PA manifest store at a place, b"" if it is none."""
    return (source.block(at, length) or b"?") if is_c2pa(source.at(at, 32)) else b""
