"""JPEG: Pillow's pixels to the bit, smaller where less is needed, and no score for a damaged scan."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, photo
from PIL import Image

from aigiscan.images.decode import decode
from aigiscan.images.equalize import Equalization
from aigiscan.images.jpeg import scale_factor
from aigiscan.images.records import DecodedImage, ImageRecord

KINDS = {
    "plain": {},
    "full chroma": {"subsampling": 0, "quality": 95},
    "half chroma": {"subsampling": 1},
    "quarter chroma": {"subsampling": "4:1:1"},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "RGB": {"keep_rgb": True},
}
PICTURE = photo(212, 155)
SMALL = PICTURE.resize((65, 49))
FILES = {name: encoded(PICTURE, "JPEG", **options) for name, options in KINDS.items()}
FILES["grey"] = encoded(PICTURE.convert("L"), "JPEG")
FILES["grey progressive"] = encoded(PICTURE.convert("L"), "JPEG", progressive=True)
FILES["ink"] = encoded(PICTURE.convert("CMYK"), "JPEG")


def decoded(folder: Path, data: bytes, least_side: int = 0) -> DecodedImage:
    (folder / "x.jpg").write_bytes(data)
    return decode(ImageRecord(str(folder / "x.jpg")), least_side=least_side)


def by_pillow(data: bytes, scale: int = 1) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    return np.asarray(image.convert("RGB"))


def scan_of(data: bytes) -> tuple[int, int]:
    """Where the first scan's data begin and where the file's end marker is."""
    at = data.index(b"\xff\xda") + 2
    return at + int.from_bytes(data[at : at + 2], "big"), len(data) - 2


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(tmp_path: Path, name: str) -> None:
    assert np.array_equal(np.asarray(decoded(tmp_path, FILES[name]).pixels), by_pillow(FILES[name]))


@pytest.mark.parametrize("least_side", [1, 20, 21, 39, 40, 77, 78, 79, 156, 1000])
@pytest.mark.parametrize("name", ["plain", "half chroma", "progressive", "grey"])
def test_a_smaller_scale_is_that_of_pillow_and_no_smaller_than_asked(
    tmp_path: Path, name: str, least_side: int
) -> None:
    factor = scale_factor(155, least_side)
    result = decoded(tmp_path, FILES[name], least_side)
    assert result.pixels is not None
    assert np.array_equal(np.asarray(result.pixels), by_pillow(FILES[name], factor))
    assert min(result.pixels.size) >= min(least_side, 155)
    assert factor == 8 or min(result.pixels.size) < 2 * least_side
    assert (result.facts.width, result.facts.height) == (212, 155)


def test_rotated_and_reduced(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decoded(tmp_path, encoded(PICTURE, "JPEG", exif=exif.tobytes()), 70).pixels
    assert pixels is not None
    assert pixels.size == (78, 106)


@pytest.mark.parametrize("name", FILES)
def test_every_cut_is_truncated_and_a_missing_end_marker_alone_is_not(tmp_path: Path, name: str) -> None:
    data = FILES[name]
    begin, end = scan_of(data)
    for at in np.linspace(begin, end - 20, 25).astype(int):
        assert decoded(tmp_path, data[:at]).error == "truncated JPEG", at
    whole = decoded(tmp_path, data[:-2])
    assert whole.pixels is not None, whole.error
    assert np.array_equal(np.asarray(whole.pixels), by_pillow(data))


def test_a_progressive_file_that_lost_its_last_scans_is_truncated(tmp_path: Path) -> None:
    data = FILES["progressive"]
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for at in starts[1:]:
        assert decoded(tmp_path, data[:at]).error == "truncated JPEG"


@pytest.mark.parametrize("name", FILES)
def test_a_zeroed_second_half_has_no_score(tmp_path: Path, name: str) -> None:
    data = FILES[name]
    middle = sum(scan_of(data)) // 2
    for end in (b"", b"\xff\xd9"):
        error = decoded(tmp_path, data[:middle] + b"\0" * (len(data) - middle) + end).error
        assert error.startswith(("damaged JPEG", "truncated JPEG")), error


@pytest.mark.parametrize("name", ["plain", "full chroma", "progressive", "restarts", "grey"])
def test_nearly_every_hole_is_noticed(tmp_path: Path, name: str) -> None:
    begin, end = scan_of(FILES[name])
    holes = np.linspace(begin + 20, end - 300, 40).astype(int)
    noticed = 0
    for at in holes:
        data = FILES[name][:at] + b"\0" * 256 + FILES[name][at + 256 :]
        noticed += decoded(tmp_path, data).error.startswith("damaged JPEG")
    assert noticed >= 34  # measured at more: what stays is a scan of the right length


def test_a_lost_or_doubled_piece_is_noticed(tmp_path: Path) -> None:
    begin, end = scan_of(FILES["plain"])
    for at in np.linspace(begin + 20, end - 600, 20).astype(int):
        lost = FILES["plain"][:at] + FILES["plain"][at + 512 :]
        doubled = FILES["plain"][: at + 512] + FILES["plain"][at:]
        assert "damaged JPEG" in decoded(tmp_path, lost).error
        assert "damaged JPEG" in decoded(tmp_path, doubled).error


def test_restart_markers_out_of_order_are_noticed(tmp_path: Path) -> None:
    data = FILES["restarts"]
    first, second = data.index(b"\xff\xd0"), data.index(b"\xff\xd1")
    swapped = data[:first] + b"\xff\xd1" + data[first + 2 : second] + b"\xff\xd0" + data[second + 2 :]
    assert "damaged JPEG" in decoded(tmp_path, swapped).error


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_filling_and_what_follows_the_end_are_no_damage(tmp_path: Path, filling: bytes) -> None:
    for name, data in FILES.items():
        for changed in (data[:-2] + filling * 40 + data[-2:], data + filling * 40, data + b"anything at all" * 9):
            result = decoded(tmp_path, changed)
            assert result.pixels is not None, (name, result.error)
            assert np.array_equal(np.asarray(result.pixels), by_pillow(data))


def test_odd_headers_are_no_damage_and_hide_none(tmp_path: Path) -> None:
    version = bytearray(FILES["plain"])
    version[version.index(b"JFIF\0") + 5] = 3
    spectral = bytearray(FILES["plain"])
    spectral[scan_of(FILES["plain"])[0] - 1] = 1
    for odd in (version, spectral):
        assert np.array_equal(np.asarray(decoded(tmp_path, bytes(odd)).pixels), by_pillow(FILES["plain"]))
        assert decoded(tmp_path, bytes(odd[:-300])).error == "truncated JPEG"
        begin, _ = scan_of(bytes(odd))
        odd[begin + 500 : begin + 1000] = b"\0" * 500
        assert "damaged JPEG" in decoded(tmp_path, bytes(odd)).error


@pytest.mark.parametrize(("marker", "depth", "words"), [(0xC0, 12, "12-bit JPEG"), (0xC3, 8, "lossless JPEG")])
def test_what_is_sound_but_not_supported_says_so(tmp_path: Path, marker: int, depth: int, words: str) -> None:
    data = bytearray(FILES["plain"])
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, depth
    assert decoded(tmp_path, bytes(data)).error == f"{words} is not supported; convert it to PNG"


def test_reduction_is_part_of_the_equalisation(tmp_path: Path) -> None:
    large = photo(1000, 800)
    data = encoded(large, "JPEG", quality=95)
    steps = Equalization.parse("reduce:2,limit:128,jpeg:80")
    assert (steps.spec, steps.least_side) == ("reduce:2,limit:128,jpeg:80", 256)
    assert Equalization.parse("limit:128,jpeg:80").least_side == 0
    small = decoded(tmp_path, data, steps.least_side).pixels
    assert small is not None
    assert small.size == (500, 400)  # the smallest scale above 256
    seen = np.asarray(steps.apply(small), float)
    assert seen.shape == (128, 128, 3)
    # other formats are averaged: nearly the same, and nearly what the whole picture gives
    averaged = np.asarray(steps.apply(large), float)
    whole = np.asarray(Equalization.parse("limit:128,jpeg:80").apply(large), float)
    assert np.abs(seen - averaged).mean() < 3
    assert np.abs(seen - whole).mean() < 3
