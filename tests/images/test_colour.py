from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, png_of
from PIL import Image, TiffImagePlugin

from aigiscan.images.colour import ColourError, to_rgb
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


def tiff_of(array: np.ndarray, *, planar: bool = False, **tags: int) -> bytes:
    """A TIFF written by hand: array (h, w) or (h, w, c), uncompressed."""
    samples = array.reshape(*array.shape[:2], -1)
    count = samples.shape[2]
    body = (np.moveaxis(samples, 2, 0) if planar else samples).astype(array.dtype.newbyteorder("<")).tobytes()
    strips = count if planar else 1
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    values: dict[int, tuple[int, ...]] = {
        256: (array.shape[1],), 257: (array.shape[0],), 258: (8 * array.dtype.itemsize,) * count, 259: (1,),
        262: (tags.get("photometric", 1 if count == 1 else 2),), 273: (0,) * strips, 277: (count,),
        278: (array.shape[0],), 279: (len(body) // strips,) * strips, 284: (2 if planar else 1,), 339: (kind,) * count,
    }  # fmt: skip
    if "extra" in tags:
        values[338] = (tags["extra"],)
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag in sorted(values):
        directory.tagtype[tag] = 4 if tag in (273, 279) else 3
        directory[tag] = values[tag]
    directory[273] = tuple(i * len(body) // strips for i in range(strips))  # from the directory's end on
    return b"II*\0\x08\0\0\0" + directory.tobytes(8) + body


def reason(tmp_path: Path, data: bytes) -> str:
    (tmp_path / "x").write_bytes(data)
    return decode(ImageRecord(str(tmp_path / "x"))).error


def test_white_is_zero_is_no_negative(tmp_path: Path) -> None:
    assert from_file(tmp_path, tiff_of(SIXTEEN, photometric=0)) == grey(255, 254, 254, 127, 0)
    eight = np.array([[0, 100, 255]], dtype=np.uint8)
    assert from_file(tmp_path, tiff_of(eight, photometric=0)) == grey(255, 155, 0)


def test_what_pillow_reads_wrongly_or_not_at_all_is_not_supported_and_never_damaged(tmp_path: Path) -> None:
    rgb = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert len(from_file(tmp_path, tiff_of(rgb, planar=True))) == 20  # 8-bit planes are right
    for data, words in (
        (tiff_of(rgb.astype(np.uint16) * 257, planar=True), "3 × 16-bit unsigned values in planes"),
        (tiff_of(rgb.astype(np.float32) / 255), "3 × 32-bit float values"),
        (tiff_of(rgb.astype(np.float16)), "3 × 16-bit float values"),
        (tiff_of(rgb.astype(np.uint32)), "3 × 32-bit unsigned values"),
        (tiff_of(rgb[..., 0].astype(np.float64)), "1 × 64-bit float values"),
        (tiff_of(rgb[..., 0].astype(np.uint32) * 70_000_000), "1 × 32-bit unsigned values"),
    ):
        assert reason(tmp_path, data) == f"TIFF of {words} is not supported; convert it to 8-bit RGB"
    inks = np.zeros((4, 5, 5), dtype=np.uint8)
    assert "5 × 8-bit" in reason(tmp_path, tiff_of(inks, photometric=5, extra=2)) or not reason(
        tmp_path, tiff_of(inks, photometric=5, extra=2)
    )
    assert "damaged TIFF" in reason(tmp_path, tiff_of(rgb.astype(np.float32))[:60])


def test_one_value_above_the_scale_does_not_make_the_others_black() -> None:
    values_ = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    values_[3, 3] = 1.02
    (first, *_, last) = values(to_rgb(Image.fromarray(values_)))
    assert (first[0], last[0]) == (0, 255)
    ints = (np.linspace(0, 65535, 400).reshape(20, 20)).astype(np.int32)
    ints[3, 3] = 70_000
    assert values(to_rgb(Image.fromarray(ints)))[-1] == (255, 255, 255)


@pytest.mark.parametrize(
    ("dtype", "most"), [(np.float32, 3.0), (np.float32, 900.0), (np.int32, 200), (np.int32, 10**6)]
)
def test_between_two_scales_nothing_is_guessed(dtype: type, most: float) -> None:
    with pytest.raises(ColourError, match="no known scale"):
        to_rgb(Image.fromarray(np.linspace(0, most, 400).reshape(20, 20).astype(dtype)))


def test_a_preview_in_front_is_not_the_picture(tmp_path: Path) -> None:
    large, small = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (8, 6), "blue")
    for front in ({254: 1}, {255: 2}):
        data = encoded(small, "TIFF", tiffinfo=front, save_all=True, append_images=[large])
        # Pillow writes the same tags into every page
        first = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(first.next)
        first.load(file)
        at = first.next
        entries = int.from_bytes(data[at : at + 2], "little")
        changed = bytearray(data)
        for i in range(entries):
            place = at + 2 + 12 * i
            if int.from_bytes(data[place : place + 2], "little") in front:
                changed[place + 8 : place + 12] = b"\0" * 4
        assert from_file(tmp_path, bytes(changed)) == [(255, 0, 0)] * 1200
        assert "nothing but a preview" in reason(tmp_path, encoded(small, "TIFF", tiffinfo=front))


def test_what_shows_nothing_has_no_score(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (8, 8), (200, 30, 30, 0))
    for name in ("PNG", "WEBP", "TIFF"):
        assert reason(tmp_path, encoded(clear, name, lossless=True)) == "every pixel is transparent"
    shown = Image.new("RGBA", (8, 8), (200, 30, 30, 255))
    gif = encoded(clear, "GIF", save_all=True, append_images=[clear, shown], duration=50, disposal=2)
    found = from_file(tmp_path, gif)
    assert np.abs(np.subtract(found, (200, 30, 30))).max() <= 8
    apng = encoded(clear, "PNG", save_all=True, append_images=[shown], duration=50)
    assert from_file(tmp_path, apng) == [(200, 30, 30)] * 64
    assert "transparent" in reason(
        tmp_path, encoded(clear, "PNG", save_all=True, append_images=[clear], duration=[1, 2])
    )
