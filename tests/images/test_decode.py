from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bad_files import BadFiles, encoded, jpeg_with_size, photo, png_of, rotated_jpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from aigiscan.images.decode import decode
from aigiscan.images.find import find_images
from aigiscan.images.libtiff import silence_libtiff
from aigiscan.images.records import DecodedImage, ImageRecord

FORMATS = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "PNG": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "TIFF compressed": {"compression": "tiff_lzw"},
    "AVIF": {},
    "JPEG2000": {},
    "PPM": {},
}
FILES = {name: encoded(photo(), name.split()[0], **options) for name, options in FORMATS.items()}


def decode_bytes(folder: Path, data: bytes, name: str = "x", **options: int) -> DecodedImage:
    path = folder / name
    path.write_bytes(data)
    return decode(ImageRecord(str(path)), **options)


def check_result(result: DecodedImage) -> None:
    """What holds of every answer, whatever was in the file."""
    assert (result.pixels is None) == bool(result.error)
    if result.pixels is not None:
        assert result.pixels.mode == "RGB"
        assert min(result.pixels.size) >= 1
        assert result.facts.width * result.facts.height == result.pixels.width * result.pixels.height
    else:
        assert result.error.isprintable()
        assert len(result.error) < 130
        assert os.path.dirname(result.record.path) not in result.error
    assert "\n" not in result.facts.provenance


def test_the_zoo_is_right_or_has_its_reason(bad_files: BadFiles, recwarn: pytest.WarningsRecorder) -> None:
    for record in find_images([bad_files.folder]):
        result = decode(record)
        check_result(result)
        expected = bad_files.expected[record.path]
        assert expected in result.error, record.path
        assert bool(expected) == bool(result.error), (record.path, result.error)
    assert not list(recwarn)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_picture_and_its_facts(tmp_path: Path, name: str) -> None:
    result = decode_bytes(tmp_path, FILES[name])
    assert result.pixels is not None, result.error
    error = np.abs(np.asarray(result.pixels, float) - np.asarray(photo(), float)).mean()
    assert error < (25 if name == "GIF" else 12)
    facts = result.facts
    assert (facts.width, facts.height, facts.format) == (48, 32, name.split()[0])
    assert facts.bytes == len(FILES[name])
    assert facts.sha256 == hashlib.sha256(FILES[name]).hexdigest()
    assert facts.mtime_ns == (tmp_path / "x").stat().st_mtime_ns


def test_facts_of_unreadable_files_are_kept(tmp_path: Path) -> None:
    data = FILES["JPEG"][:-60]
    result = decode_bytes(tmp_path, data)
    assert result.error == "truncated JPEG"
    assert (result.facts.width, result.facts.height, result.facts.format) == (48, 32, "JPEG")
    assert result.facts.sha256 == hashlib.sha256(data).hexdigest()
    bomb = decode_bytes(tmp_path, png_of(20000, 20000, 8, 2))
    assert (bomb.facts.width, bomb.facts.height) == (20000, 20000)


def test_caps_come_from_the_header(tmp_path: Path) -> None:
    assert decode_bytes(tmp_path, FILES["PNG"], max_pixels=48 * 32).pixels is not None
    refused = decode_bytes(tmp_path, FILES["PNG"], max_pixels=48 * 32 - 1)
    assert refused.error == "48x32 pixels is over the limit of 1535; raise --max-pixels"
    too_long = decode_bytes(tmp_path, FILES["PNG"], max_bytes=100)
    assert too_long.error == f"{len(FILES['PNG'])} bytes is over the limit of 100"
    assert too_long.facts.bytes == len(FILES["PNG"])


@pytest.mark.parametrize("size", [(10000, 11000), (12000, 12000), (65000, 65000)])
def test_bombs_are_refused_without_warning(tmp_path: Path, size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = decode_bytes(tmp_path, jpeg_with_size(*size), max_pixels=100_000_000)
    assert result.error == f"{size[0]}x{size[1]} pixels is over the limit of 100000000; raise --max-pixels"


def test_bomb_formats_that_allocate_early_are_refused(tmp_path: Path) -> None:
    gif = bytearray(FILES["GIF"])
    gif[6:10] = b"\xff\xff\xff\xff"
    assert "over the limit" in decode_bytes(tmp_path, bytes(gif)).error
    canvas = b"VP8X" + (10).to_bytes(4, "little") + b"\0" * 4 + b"\xff\xff\0" * 2
    webp = b"RIFF" + (4 + len(canvas)).to_bytes(4, "little") + b"WEBP" + canvas
    assert "over the limit" in decode_bytes(tmp_path, webp).error


def test_a_raised_limit_allows_a_later_crop_without_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = decode_bytes(tmp_path, FILES["PNG"], max_pixels=48 * 32)
        assert result.pixels is not None
        assert result.pixels.crop((0, 0, 40, 30)).size == (40, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "PNG"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, kind: str) -> None:
    # a picture whose corners are known: red, green, blue, white clockwise from the upper left
    upright = Image.new("RGB", (32, 48))
    for (x, y), colour in zip(
        [(0, 0), (16, 0), (16, 24), (0, 24)], [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3], strict=True
    ):
        upright.paste(colour, (x, y, x + 16, y + 24))
    turn_away = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Transpose.* that undoes what the tag asks for
    stored = upright.transpose(Image.Transpose(turn_away[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = rotated_jpeg(stored, orientation) if kind == "JPEG" else encoded(stored, kind, exif=exif, lossless=True)
    result = decode_bytes(tmp_path, data)
    assert result.pixels is not None
    assert (result.facts.width, result.facts.height) == stored.size
    assert result.pixels.size == (32, 48)
    assert np.abs(np.asarray(result.pixels, int) - np.asarray(upright, int)).mean() < 3
    assert result.pixels.getexif().get(0x0112, 1) == 1


def test_broken_exif_does_not_hide_the_picture(tmp_path: Path) -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xfe" * 40)
    assert decode_bytes(tmp_path, data).pixels is not None


def test_only_the_first_frame(bad_files: BadFiles) -> None:
    first = np.asarray(photo(seed=0), float)
    for name in ("animated.gif", "animated.webp"):
        pixels = decode(ImageRecord(str(bad_files.folder / name))).pixels
        assert np.abs(np.asarray(pixels, float) - first).mean() < 20
        assert np.abs(np.asarray(pixels, float) - np.asarray(photo(seed=1), float)).mean() > 25


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_an_error_or_the_whole_picture(tmp_path: Path, name: str) -> None:
    """Never a picture with a grey half."""
    data = FILES[name]
    whole = decode_bytes(tmp_path, data).pixels
    for end in np.linspace(1, len(data) - 1, 40).astype(int):
        cut = decode_bytes(tmp_path, data[:end])
        check_result(cut)
        assert cut.pixels is None or cut.pixels.tobytes() == whole.tobytes(), end
        if len(data) > end + 400:
            assert "truncated" in cut.error or "damaged" in cut.error or "not an image" in cut.error


def test_a_png_that_pillow_refuses_has_no_score(tmp_path: Path) -> None:
    """Metadata are read after the pixels: ``getexif`` decodes too, and swallows what is wrong."""
    data = encoded(photo(96, 64), "PNG")
    first = data.index(b"IDAT")
    refused = 0
    for at in np.linspace(first, len(data) - 13, 60).astype(int):
        flipped = data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]
        try:
            Image.open(io.BytesIO(flipped)).load()
        except (OSError, SyntaxError):
            refused += 1
            result = decode_bytes(tmp_path, flipped)
            assert result.pixels is None and "PNG" in result.error, at
    assert refused > 40


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzz_mutated_files_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(1, 8))):
        # headers are at the beginning, so half of the damage goes there
        last = len(content) - 1 if data.draw(st.booleans()) else min(len(content) - 1, 120)
        content[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    check_result(decode_bytes(tmp_path, bytes(content), max_pixels=300_000))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", *(content[:16] for content in FILES.values()), b"\0\0\0\x18ftypheic"]),
    rest=st.binary(max_size=300),
)
def test_fuzz_random_bytes_never_crash(tmp_path: Path, start: bytes, rest: bytes) -> None:
    check_result(decode_bytes(tmp_path, start + rest, max_pixels=300_000))


def test_any_exception_of_a_reader_becomes_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        ZeroDivisionError("division by zero"),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        OSError("a\nb\x00"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "load", _raiser(error))
            result = decode_bytes(tmp_path, FILES["PPM"])
        check_result(result)
        assert result.error


def _raiser(error: Exception):  # type: ignore[no-untyped-def]
    def load(self: Image.Image) -> None:
        raise error

    return load


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no special files here")
def test_special_files_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        cwd = Path.cwd()
        os.chdir(tmp_path)  # the name of a socket must be short
        try:
            listener.bind("s.jpg")
        finally:
            os.chdir(cwd)
        answers = {}

        def look() -> None:
            for path in (str(tmp_path / "pipe.jpg"), str(tmp_path / "s.jpg"), "/dev/zero", str(tmp_path)):
                answers[path] = decode(ImageRecord(path)).error

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(answers.values()) == ["is a folder", "not a regular file", "not a regular file", "not a regular file"]


def test_what_the_system_refuses_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode(ImageRecord(str(tmp_path / "gone.jpg"))).error == "no such file"
    assert decode(ImageRecord("a\0b.jpg")).error == "not a possible file name"
    assert decode(ImageRecord(str(tmp_path), error="as listed")).error == "as listed"
    assert "too long" in decode(ImageRecord("x" * 5000)).error

    def refuse(*_: object) -> int:  # what anyone but root would meet
        raise PermissionError(13, "Permission denied", "secret/path.jpg")

    monkeypatch.setattr(os, "open", refuse)
    assert decode(ImageRecord("secret/path.jpg")).error == "permission denied"


def test_heic_is_read_or_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
        refused = decode_bytes(tmp_path, head)
    assert refused.error == "HEIC image; reading it needs pip install 'aigiscan[heif]'"
    assert refused.facts.format == "HEIF"
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    data = encoded(photo(64, 64), "HEIF")
    read = decode_bytes(tmp_path, data)
    assert read.pixels is not None, read.error
    assert np.abs(np.asarray(read.pixels, int) - np.asarray(photo(64, 64), int)).mean() < 12
    check_result(decode_bytes(tmp_path, data[: len(data) // 2]))
    assert decode_bytes(tmp_path, data[: len(data) // 2]).error


def test_mpo_gives_its_first_picture(tmp_path: Path) -> None:
    data = encoded(photo(seed=0), "MPO", save_all=True, append_images=[photo(seed=1)])
    result = decode_bytes(tmp_path, data)
    assert result.facts.format == "MPO"
    assert np.abs(np.asarray(result.pixels, float) - np.asarray(photo(seed=0), float)).mean() < 12


def test_camera_raw_is_developed_or_named_and_its_thumbnail_never_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Bayer mosaic whose red, green and blue halves are known, as the smallest DNG that LibRaw takes."""
    data = dng(red=40_000, green=20_000, blue=5_000)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rawpy", None)  # as if it were not installed
        refused = decode_bytes(tmp_path, data, "IMG_1.DNG")
        assert refused.error == "camera raw file; develop it to JPEG or TIFF, or pip install 'aigiscan[raw]'"
        assert decode_bytes(tmp_path, b"FUJIFILMCCD-RAW" + b"\0" * 99, "x.RAF").error.startswith("camera raw file")
    pytest.importorskip("rawpy")
    result = decode_bytes(tmp_path, data, "IMG_1.DNG")
    assert result.pixels is not None, result.error
    assert (result.facts.format, result.facts.width, result.facts.height) == ("RAW", 64, 48)
    red, green, blue = np.asarray(result.pixels, float)[10:-10, 10:-10].mean((0, 1))
    assert red > 2 * max(green, blue)  # the matrix of this camera does not keep the order of the other two
    assert "over the limit" in decode_bytes(tmp_path, data, "IMG_1.DNG", max_pixels=1000).error
    unknown = decode_bytes(tmp_path, FILES["TIFF"], "IMG_1.NEF")
    assert unknown.error == "camera raw file of an unknown kind, or damaged; develop it to JPEG or TIFF"
    assert decode_bytes(tmp_path, FILES["TIFF"], "IMG_1.tif").pixels is not None


def dng(red: int, green: int, blue: int) -> bytes:
    mosaic = np.full((48, 64), green, dtype="<u2")
    mosaic[::2, ::2], mosaic[1::2, 1::2] = red, blue
    mosaic = (mosaic * np.linspace(0.05, 1, 64)).astype("<u2")  # from dark to light, as exposure is set by the lightest
    tags = {
        254: 0, 256: 64, 257: 48, 258: 16, 259: 1, 262: 32803, 271: "Maker", 272: "Model", 273: 0, 277: 1, 278: 48,
        279: mosaic.nbytes, 33421: (2, 2), 33422: bytes([0, 1, 1, 2]), 50706: bytes([1, 4, 0, 0]), 50708: "Model",
        50717: 65535,
        50721: tuple(TiffImagePlugin.IFDRational(v, 100) for v in (100, 0, 0, 0, 100, 0, 0, 0, 100)),
        50728: (1, 1, 1), 50778: 21,
    }  # fmt: skip
    kinds = {
        254: 4,
        256: 4,
        257: 4,
        273: 4,
        278: 4,
        279: 4,
        33421: 3,
        33422: 1,
        50706: 1,
        50717: 3,
        50721: 10,
        50778: 3,
    }
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in tags.items():
        directory.tagtype[tag] = kinds.get(tag, 2 if isinstance(value, str) else 3)
        directory[tag] = value
    return b"II*\0\x08\0\0\0" + directory.tobytes(8) + mosaic.tobytes()


def test_jpeg_xl_is_read_or_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_jxl", None)
        refused = decode_bytes(tmp_path, b"\xff\x0a" + b"\0" * 90, "x.jxl")
    assert refused.error == "JPEG XL image; reading it needs pip install 'aigiscan[jxl]'"
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = 1
    data = encoded(photo(64, 48), "JXL", quality=95)
    result = decode_bytes(tmp_path, data, "x.jxl")
    assert result.pixels is not None, result.error
    assert np.abs(np.asarray(result.pixels, int) - np.asarray(photo(64, 48), int)).mean() < 6
    assert decode_bytes(tmp_path, data[: len(data) // 2], "x.jxl").error


def test_photoshop_files_are_named(tmp_path: Path) -> None:
    assert decode_bytes(tmp_path, b"8BPS\0\1" + b"\0" * 90).error == "Photoshop file; export it to JPEG or TIFF"


def test_large_texts_and_profiles_do_not_hide_a_png(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "a dog\nSteps: 20, Sampler: Euler, Seed: 1\n" + "x" * 3_000_000, zip=True)
    info.add_itxt("workflow", "{" + " " * 2_000_000 + "}", zip=True)
    for options in ({"pnginfo": info}, {"icc_profile": b"p" * 2_000_000}, {"pnginfo": info, "icc_profile": b"p" * 999}):
        data = encoded(photo(), "PNG", **options)
        with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"):
            Image.open(io.BytesIO(data)).load()
        result = decode_bytes(tmp_path, data)
        assert result.pixels is not None, result.error
        assert result.pixels.tobytes() == photo().tobytes()
        assert bool(result.facts.provenance) == ("pnginfo" in options), result.facts.provenance
        assert decode_bytes(tmp_path, data[:-300]).error == "truncated PNG"


def test_text_that_begins_like_a_format_is_no_image(tmp_path: Path) -> None:
    for text in (b"P1 notes of the meeting\n", b"P6 is a plugin", b"BM is short for bitmap", b"\x28\0\0\0" * 20):
        assert decode_bytes(tmp_path, text, "x.jpg").error == "not an image"


def test_libtiff_does_not_print_about_damaged_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not silence_libtiff():
        pytest.skip("the libtiff of this Pillow cannot be found")
    data = bytearray(FILES["TIFF compressed"])
    for at in range(200, len(data) - 300, 90):
        data[at] ^= 255
    assert decode_bytes(tmp_path, bytes(data)).error
    assert capfd.readouterr().err == ""


def test_postscript_is_never_run(tmp_path: Path) -> None:
    eps = io.BytesIO()
    photo().save(eps, "EPS")
    assert decode_bytes(tmp_path, eps.getvalue(), "x.jpg").error == "not an image"


def test_threads_leave_the_warning_filters_as_they_were(bad_files: BadFiles) -> None:
    decode(ImageRecord("nothing"))  # the standing filter for Pillow's own modules
    before = list(warnings.filters)
    records = list(find_images([bad_files.folder]))
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(decode, records * 6))
    for i, result in enumerate(many):
        assert result.error == many[i % len(records)].error
        assert result.facts == many[i % len(records)].facts
    assert list(warnings.filters) == before


def test_result_holds_no_metadata_and_no_file(tmp_path: Path) -> None:
    result = decode_bytes(tmp_path, encoded(photo(), "JPEG", comment=b"words", icc_profile=b"x" * 200))
    assert type(result.pixels) is Image.Image
    assert result.pixels.info == {}
