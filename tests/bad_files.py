"""A folder of every kind of file that a folder of photographs may hold, with what must be said of each."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

BYTES_NAME = os.fsdecode(b"bytes-\xff\xfe.jpg")


@dataclass
class BadFiles:
    """folder: what to scan. expected: path → substring of the error, "" where the file is readable.

    not_listed: files in the folder that no walk may report. locked: a folder without permissions, which is listed as
    an error unless the tests run as root.
    """

    folder: Path
    expected: dict[str, str] = field(default_factory=dict)
    not_listed: list[str] = field(default_factory=list)
    locked: Path = Path()

    def add(self, name: str, content: bytes, error: str = "") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        self.expected[str(path)] = error
        return path

    @property
    def readable(self) -> list[str]:
        return [path for path, error in self.expected.items() if not error]


def photo(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    """A smooth picture with some texture, so that codecs have something to do; another seed gives another one."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(0.05, 0.3, (3, 2))
    y, x = np.mgrid[0:height, 0:width]
    planes = [120 + 60 * np.sin(a * x + i) + 40 * np.cos(b * y) for i, (a, b) in enumerate(waves)]
    return Image.fromarray(
        np.clip(np.stack(planes, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    )


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def png_of(width: int, height: int, depth: int, colour: int, rows: bytes | None = None) -> bytes:
    """A PNG written by hand; without rows only the header says how large it is."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100 if rows is None else rows))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def jpeg_with_size(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(encoded(photo(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def rotated_jpeg(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif.tobytes(), quality=95, subsampling=0)


def make_bad_files(folder: Path) -> BadFiles:
    """Write all of them into ``folder``, which is made."""
    folder.mkdir()
    zoo = BadFiles(folder)
    jpeg = encoded(photo(), "JPEG")
    _damaged(zoo, jpeg)
    _modes(zoo)
    _names(zoo, jpeg)
    _not_files(zoo, jpeg)
    for name, content in (
        ("notes.txt", b"hello"),
        ("rows.csv", b"path\n"),
        ("code.py", b"x = 1\n"),
        (".hidden.jpg", jpeg),
    ):
        (folder / name).write_bytes(content)
        zoo.not_listed.append(str(folder / name))
    return zoo


def _damaged(zoo: BadFiles, jpeg: bytes) -> None:
    zoo.add("empty.jpg", b"", "empty file")
    zoo.add("truncated.jpg", jpeg[: len(jpeg) * 2 // 3], "truncated JPEG")
    zoo.add("truncated.png", encoded(photo(), "PNG")[:-200], "truncated PNG")
    zoo.add("text.jpg", b"This is no picture.\n" * 20, "not an image")
    zoo.add("zeros.png", b"\0" * 500, "not an image")
    zoo.add("bomb.png", png_of(20000, 20000, 8, 2), "20000x20000 pixels is over the limit")
    zoo.add("bomb.jpg", jpeg_with_size(20000, 20000), "20000x20000 pixels is over the limit")


def _modes(zoo: BadFiles) -> None:
    image = photo()
    alpha = image.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    grey16 = (np.arange(48 * 32, dtype=np.uint16) * 42).reshape(32, 48)
    zoo.add("grey16.png", encoded(Image.fromarray(grey16), "PNG"))
    zoo.add("rgb16.png", png_of(2, 1, 16, 2, b"\0" + struct.pack(">6H", 65535, 0, 32768, 257, 514, 771)))
    zoo.add("rgba.png", encoded(alpha, "PNG"))
    zoo.add("grey_alpha.png", encoded(alpha.convert("LA"), "PNG"))
    zoo.add("cmyk.jpg", encoded(image.convert("CMYK"), "JPEG"))
    zoo.add("palette.png", encoded(image.quantize(16), "PNG"))
    zoo.add("palette_transparent.png", encoded(image.quantize(16), "PNG", transparency=3))
    zoo.add("grey.jpg", encoded(image.convert("L"), "JPEG"))
    zoo.add("one_bit.png", encoded(image.convert("1"), "PNG"))
    frames = [photo(seed=i) for i in range(3)]
    zoo.add("animated.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50))
    zoo.add("animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50))
    zoo.add("rotated.jpg", rotated_jpeg(image, 6))
    zoo.add("one_pixel.png", encoded(Image.new("RGB", (1, 1), (255, 0, 0)), "PNG"))


def _names(zoo: BadFiles, jpeg: bytes) -> None:
    for name in ("with space.jpg", "new\nline.jpg", "comma,name.jpg", "quo\"te's.jpg", "=formula.jpg", "UPPER.JPG"):
        zoo.add(name, jpeg)
    zoo.add("no_extension", jpeg)
    if os.name == "posix":
        zoo.add(BYTES_NAME, jpeg)


def _not_files(zoo: BadFiles, jpeg: bytes) -> None:
    zoo.locked = zoo.folder / "locked"
    zoo.locked.mkdir()
    (zoo.locked / "inside.jpg").write_bytes(jpeg)
    (zoo.folder / "broken.jpg").symlink_to(zoo.folder / "nothing.jpg")
    zoo.expected[str(zoo.folder / "broken.jpg")] = "broken symlink"
    (zoo.folder / "loop").symlink_to(zoo.folder, target_is_directory=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(zoo.folder / "pipe.jpg")
        zoo.expected[str(zoo.folder / "pipe.jpg")] = "not a regular file"
    zoo.locked.chmod(0)
    if os.access(zoo.locked, os.R_OK):  # root, whom permissions do not stop
        zoo.expected[str(zoo.locked / "inside.jpg")] = ""
    else:
        zoo.expected[str(zoo.locked)] = "permission denied"
