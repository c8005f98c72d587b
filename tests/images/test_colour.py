from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, png_of
from PIL import Image

from aigiscan.images.colour import to_rgb
from aigiscan.images.decode import decode
from aigiscan.images.records import ImageRecord


def values(image: Image.Image) -> list[tuple[int, ...]]:
    array = np.asarray(image)
    assert array.dtype == np.uint8
    assert array.shape[-1] == 3
    return [tuple(int(v) for v in pixel) for pixel in array.reshape(-1, 3)]


def grey(*expected: int) -> list[tuple[int, ...]]:
    return [(v, v, v) for v in expected]


def from_file(tmp_path: Path, data: bytes) -> list[tuple[int, ...]]:
    (tmp_path / "x").write_bytes(data)
    result = decode(ImageRecord(str(tmp_path / "x")))
    assert result.pixels is not None, result.error
    return values(result.pixels)


SIXTEEN = np.array([[0, 257, 300, 32768, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    assert from_file(tmp_path, encoded(Image.fromarray(SIXTEEN), name)) == grey(0, 1, 1, 128, 255)


def test_sixteen_bit_big_endian_and_32_bit() -> None:
    big = Image.frombytes("I;16B", (5, 1), SIXTEEN.astype(">u2").tobytes())
    assert values(to_rgb(big)) == grey(0, 1, 1, 128, 255)
    assert values(to_rgb(Image.fromarray(SIXTEEN.astype(np.int32)))) == grey(0, 1, 1, 128, 255)
    large = np.array([[-5, 0, 2**30, 2**31 - 1]], dtype=np.int32)
    assert values(to_rgb(Image.fromarray(large))) == grey(0, 0, 128, 255)


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 0, 32768, 0x1234, 0xFF00, 0x00FF)
    (first, second) = from_file(tmp_path, png_of(2, 1, 16, 2, rows))
    assert first == (255, 0, 128)
    assert np.abs(np.subtract(second, (0x12, 0xFE, 1))).max() <= 1


@pytest.mark.parametrize(
    ("floats", "expected"),
    [
        ([0.0, 0.5, 1.0, float("nan")], [0, 128, 255, 0]),
        ([-3.0, 0.0, 100.4, 255.0], [0, 0, 100, 255]),
        ([0.0, 257.0, 65535.0, float("inf")], [0, 1, 255, 255]),
    ],
)
def test_floats(floats: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([floats], dtype=np.float32))
    assert values(to_rgb(image)) == grey(*expected)


def test_alpha_lies_over_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    assert values(to_rgb(Image.fromarray(rgba))) == [(255, 0, 0), (255, 255, 255), (204, 204, 204)]
    la = np.array([[[10, 255], [10, 0], [0, 51]]], dtype=np.uint8)
    assert values(to_rgb(Image.fromarray(la, "LA"))) == grey(10, 255, 204)
    for mode in ("RGBa", "La"):
        source = Image.fromarray(rgba) if mode == "RGBa" else Image.fromarray(la, "LA")
        (opaque, clear, _) = values(to_rgb(source.convert(mode)))
        assert opaque == ((255, 0, 0) if mode == "RGBa" else (10, 10, 10))
        assert clear == (255, 255, 255)


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    assert from_file(tmp_path, encoded(palette, "PNG")) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    one_clear = encoded(palette, "PNG", transparency=1)
    assert from_file(tmp_path, one_clear) == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]
    half = encoded(palette, "PNG", transparency=bytes([255, 0, 51]))
    assert from_file(tmp_path, half) == [(255, 0, 0), (255, 255, 255), (204, 204, 255)]
    assert values(to_rgb(palette.convert("PA"))) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_one_transparent_colour(tmp_path: Path) -> None:
    rgb = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    assert from_file(tmp_path, encoded(rgb, "PNG", transparency=(1, 2, 3))) == [(255, 255, 255), (4, 5, 6)]


def test_grey_bits_and_ink(tmp_path: Path) -> None:
    assert from_file(tmp_path, encoded(Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8)), "PNG")) == grey(
        0, 7, 255
    )
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert from_file(tmp_path, encoded(bits, "PNG")) == grey(0, 255)
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(np.subtract(from_file(tmp_path, encoded(ink, "JPEG", quality=95))[0], (255, 0, 0))).max() <= 3
    assert from_file(tmp_path, encoded(ink, "TIFF"))[0] == (255, 0, 0)


def test_lab_is_seen_as_srgb(tmp_path: Path) -> None:
    white, red = Image.new("LAB", (4, 4), (255, 128, 128)), Image.new("LAB", (4, 4), (136, 208, 195))
    assert np.abs(np.subtract(from_file(tmp_path, encoded(white, "TIFF"))[0], 255)).max() <= 2
    assert np.abs(np.subtract(from_file(tmp_path, encoded(red, "TIFF"))[0], (255, 0, 0))).max() <= 12
