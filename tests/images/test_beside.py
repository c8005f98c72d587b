"""Captions, objects and twins beside the pictures: read, checked, written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images import beside
from aigiscan.images.beside import Region, as_json, check_inside, complete, parse_objects, with_twins
from aigiscan.images.equalize import Equalization, Frame
from aigiscan.images.manifest import read_manifest
from aigiscan.images.perturb import parse_perturbation
from aigiscan.images.records import ImageRecord

DOG = [{"phrase": " a  dog ", "box": [1, 2, 3.456, 4]}]


def test_captions_and_objects_are_found_beside_the_picture(tmp_path: Path) -> None:
    for name in ("a.jpg.txt", "a.txt", "b.txt", "a.jpg.json", "b.json"):
        text = json.dumps(DOG) if name.endswith("json") else f"\ufeff a photo\n of {name} "
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "c.json").write_text('{"url": "what a downloader leaves"}')
    (tmp_path / "d.txt").mkdir()
    records = [ImageRecord(str(tmp_path / f"{name}.jpg")) for name in "abcd"]
    records.append(replace(records[0], caption="the manifest's"))
    found = list(complete(records, ("caption", "objects")))
    assert [r.caption for r in found] == [
        "a photo of a.jpg.txt", "a photo of b.txt", "", "", "the manifest's",
    ]  # fmt: skip
    assert parse_objects(found[1].objects, "") == (Region("a dog", (1, 2, 3.46, 4)),)
    assert [bool(r.objects) for r in found] == [True, True, False, False, True]
    assert not any(r.error for r in found)
    assert list(complete(records, ())) == records
    assert [r.objects for r in complete(records, ("caption",))] == [""] * 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not JSON"),
        ('{"phrase": "a"}', "a list"),
        (
            '[{"phrase": "a", "box": [0, 0, 1, 1]}, {"phrase": "b", "box": [2, 0, 1, 1]}]',
            "object 1: the box is reversed",
        ),
        ('[{"phrase": "a", "box": [0, 3, 1, 1]}]', "object 0: the box is reversed"),
        ('[{"phrase": "a", "box": [1, 0, 1, 1]}]', "object 0: the box is empty"),
        ('[{"phrase": "a", "box": [0, 0, NaN, 1]}]', "object 0: the box has a number that is not finite"),
        ('[{"phrase": "a", "box": [0, 0, 1e999, 1]}]', "object 0: the box has a number that is not finite"),
        ('[{"phrase": "a", "box": [0, 0, true, 1]}]', "object 0: the box is not"),
        ('[{"phrase": "a", "box": [0, 0, 1]}]', "object 0: the box is not"),
        ('[{"phrase": " ", "box": [0, 0, 1, 1]}]', "object 0: no phrase"),
        ("[3]", "object 0: no phrase"),
    ],
)
def test_a_box_that_cannot_be_is_told_with_its_file_and_number(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.jpg.json").write_text(text)
    (record,) = complete([ImageRecord(str(tmp_path / "a.jpg"))], ("objects",))
    assert str(tmp_path / "a.jpg.json") in record.error and said in record.error and "\n" not in record.error


def test_a_box_outside_the_picture_is_told_with_its_number() -> None:
    inside, outside = Region("a", (0, 0, 10, 8)), Region("b", (0, 0, 10.01, 8))
    check_inside([inside], (10, 8), "x")
    with pytest.raises(InputError, match=r"x: object 1 \(b\) lies outside the picture of 10×8 pixels"):
        check_inside([inside, outside], (10, 8), "x")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("box") | st.just("phrase"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["phrase", "box", "x"]), inner),
    max_leaves=12,
))  # fmt: skip
def test_whatever_json_says_is_read_or_refused(value: object) -> None:
    try:
        regions = parse_objects(json.dumps(value), "here")
    except InputError as error:
        assert str(error).startswith("here")
    else:
        assert parse_objects(as_json(regions), "again") == regions


def test_what_cannot_be_read_is_an_error_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "b.jpg.txt").write_bytes(b"x" * (beside.MOST_BYTES + 1))
    errors = [r.error for r in complete([ImageRecord(str(tmp_path / f"{n}.jpg")) for n in "ab"], ("caption",))]
    assert "a.jpg.txt: not UTF-8 text" in errors[0] and "b.jpg.txt: 1048576 bytes are more" in errors[1]


def test_sidecars_are_written_once_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("mine")
    objects = as_json([Region("größer", (0, 0, 1, 2))])
    records = [ImageRecord(str(tmp_path / f"{n}.jpg"), caption=f"caption {n}", objects=objects) for n in "ab"]
    assert [beside.write(r, ("caption", "objects")) for r in records] == [2, 1]
    assert [beside.write(r, ("caption", "objects")) for r in records] == [0, 0]
    found = list(complete([ImageRecord(r.path) for r in records], ("caption", "objects")))
    assert [r.caption for r in found] == ["caption a", "mine"]
    assert [r.objects for r in found] == [objects, objects]
    with pytest.raises(InputError, match="cannot be written"):
        beside.write(ImageRecord(str(tmp_path / "none" / "c.jpg"), caption="x"), ("caption",))


def test_twins_by_stem_or_by_column(tmp_path: Path) -> None:
    for name in ("twins/x/a.png", "twins/y/a.png", "twins/b.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    records = [ImageRecord(str(tmp_path / f"photos/{n}.jpg")) for n in ("y/a", "x/a", "b", "c")]
    records.append(replace(records[0], twin="own"))
    found = [r.twin for r in with_twins(records, tmp_path / "twins")]
    assert found == [*(str(tmp_path / f"twins/{n}") for n in ("y/a.png", "x/a.png", "b.webp")), "", "own"]
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="no picture is there"):
        list(with_twins(records, tmp_path / "photos"))
    (tmp_path / "m.csv").write_text("path,twin\na.jpg,twins/a.png\nb.jpg,\n")
    assert [r.twin for r in read_manifest(str(tmp_path / "m.csv"))] == [str(tmp_path / "twins/a.png"), ""]


@pytest.mark.parametrize("spec", ["limit:20", "square:20", "square:64", "crop:60", "limit:30,jpeg:95,crop:9"])
@pytest.mark.parametrize("size", [(50, 41), (37, 48)])
def test_a_frame_says_where_a_point_went(spec: str, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    box = (22.0, 19.0, 25.0, 22.0)
    image.paste((255, 255, 255), tuple(map(int, box)))
    equalization = Equalization.parse(spec)
    frame = equalization.frame(Frame(*size))
    after = equalization.apply(image).convert("L")
    assert (frame.width, frame.height) == after.size
    lit = after.point(lambda v: 255 if v > 100 else 0).getbbox()
    moved = frame.box(box)
    assert lit is not None and moved is not None
    assert max(abs(a - b) for a, b in zip(lit, moved, strict=True)) <= 1.0
    if spec == "square:64":
        assert frame.origin(moved) == pytest.approx(box)


def test_a_frame_leaves_out_what_was_cropped_away() -> None:
    frame = Equalization.parse("limit:100").frame(Frame(200, 100))
    assert frame.box((0, 0, 50, 50)) is None
    assert frame.box((40, 10, 60, 50)) == (0, 10, 10, 50)
    assert parse_perturbation("resize:0.5").frame(Frame(31, 20)).box((0, 0, 31, 20)) == (0, 0, 16, 10)
    assert parse_perturbation("blur:1").frame(Frame(31, 20)) == Frame(31, 20)
