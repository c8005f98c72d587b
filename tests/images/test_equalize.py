from __future__ import annotations

import numpy as np
import pytest
from bad_files import photo
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images.equalize import Equalization, central_square, jpeg_bytes, recompress


def test_spec_is_canonical_and_goes_round() -> None:
    parsed = Equalization.parse(" Square:224 , JPEG:075")
    assert parsed.spec == "square:224,jpeg:75"
    assert Equalization.parse(parsed.spec) == parsed


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "square",
        "square:",
        "square:0",
        "jpeg:101",
        "jpeg:-1",
        "crop:5",
        "jpeg:7.5",
        "jpeg:75,",
        "limit:٣٣",
        "reduce:2",
        "reduce:2,jpeg:80",
        "reduce:2,crop:32",
        "limit:32,reduce:2",
        "reduce:1,limit:32",
        "reduce:2,reduce:2,limit:32",
    ],
)
def test_bad_specs_name_the_steps(spec: str) -> None:
    with pytest.raises(InputError, match=r"square:224,jpeg:75"):
        Equalization.parse(spec)


@given(width=st.integers(1, 90), height=st.integers(1, 90))
def test_sizes(width: int, height: int) -> None:
    image = Image.new("RGB", (width, height))
    assert Equalization.parse("square:32").apply(image).size == (32, 32)
    side = min(width, height, 32)
    assert Equalization.parse("limit:32,jpeg:80").apply(image).size == (side, side)


def test_the_square_is_central() -> None:
    image = Image.new("RGB", (7, 3))
    image.putpixel((2, 0), (255, 0, 0))
    image.putpixel((4, 2), (0, 255, 0))
    square = central_square(image)
    assert square.size == (3, 3)
    assert square.getpixel((0, 0)) == (255, 0, 0)
    assert square.getpixel((2, 2)) == (0, 255, 0)


def test_limit_keeps_the_pixels_of_small_images() -> None:
    image = photo(20, 20)
    assert Equalization.parse("limit:32").apply(image).tobytes() == image.tobytes()


def test_reduction_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255  # a point sample would be black or white
    reduced = np.asarray(Equalization.parse("square:32").apply(Image.fromarray(stripes)))[4:-4, 4:-4]
    assert reduced.min() > 115
    assert reduced.max() < 140


def test_order_of_steps_matters_and_is_kept() -> None:
    image = photo(64, 64)
    by_hand = recompress(image.resize((32, 32), Image.Resampling.BICUBIC), 30)
    assert Equalization.parse("square:32,jpeg:30").apply(image).tobytes() == by_hand.tobytes()
    assert Equalization.parse("jpeg:30,square:32").apply(image).tobytes() != by_hand.tobytes()


def test_every_history_ends_in_the_same_tables_and_chroma() -> None:
    import io

    for quality in (30, 75, 95):
        files = [jpeg_bytes(source, quality) for source in (photo(), recompress(photo(), 50), photo(seed=3))]
        opened = [Image.open(io.BytesIO(data)) for data in files]
        assert len({str(image.quantization) for image in opened}) == 1
        assert all([layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)] for image in opened)


def test_what_has_its_pixels_is_averaged_before_it_is_resized() -> None:
    image = photo(300, 260)
    steps = Equalization.parse("reduce:2,square:32")
    averaged = image.reduce(4)  # 65 pixels: the smallest that are no fewer than 64
    assert steps.apply(image).tobytes() == Equalization.parse("square:32").apply(averaged).tobytes()
    assert steps.apply(image).tobytes() != Equalization.parse("square:32").apply(image).tobytes()
    small = photo(100, 100)
    assert steps.apply(small).tobytes() == Equalization.parse("square:32").apply(small).tobytes()
