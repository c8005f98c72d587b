"""Small pictures for pages: JPEG of a few kB, upright, made from the file with as little decoding as it allows."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from aigiscan.images.ahead import in_order
from aigiscan.images.decode import decode
from aigiscan.images.records import ImageRecord

#: no thumbnail is larger than this, whatever it shows
MOST_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """side: of the longer side, pixels."""

    side: int = 256

    def of(self, paths: Iterable[str], workers: int = 2) -> Iterator[bytes]:
        """JPEG bytes of every file in order, b"" where there is no picture."""
        yield from in_order(self._one, paths, workers, 64)

    def _one(self, path: str) -> bytes:
        decoded = decode(ImageRecord(path), least_side=self.side)
        return b"" if decoded.pixels is None else self.encode(decoded.pixels)

    def encode(self, pixels: Image.Image) -> bytes:
        """The picture as JPEG of at most ``MOST_BYTES``: quality falls first, then the size."""
        small = pixels.copy()
        small.thumbnail((self.side, self.side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        for scale in (1.0, 0.7, 0.5, 0.35):
            size = max(1, round(small.width * scale)), max(1, round(small.height * scale))
            resized = small if scale == 1.0 else small.resize(size, Image.Resampling.LANCZOS)
            for quality in (75, 60, 45, 30):
                out = io.BytesIO()
                resized.save(out, "JPEG", quality=quality)
                if out.tell() <= MOST_BYTES:
                    return out.getvalue()
        return b""


def side_for(pictures: int) -> int:
    """Pixels of the longer side so that a page of so many pictures stays a page: 320 for few, 96 for thousands."""
    return 320 if pictures <= 500 else 192 if pictures <= 2000 else 96


def as_files(folder: Path, thumbnails: Iterable[bytes]) -> Iterator[str]:
    """Write them as ``00000.jpg``, … into a folder; their names, "" for none."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(thumbnails):
        name = f"{number:05d}.jpg"
        if data:
            (folder / name).write_bytes(data)
        yield name if data else ""
