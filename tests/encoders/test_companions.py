"""Pictures with captions, objects and twins: every channel against the two towers by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from tiny_clip import pictures, save_model, tiny_config

from aigiscan.encoders import EncoderOptions, clip_text, compare_fingerprints, create_encoder, encoder_from_fingerprint
from aigiscan.encoders.companions import CompanionEncoder
from aigiscan.encoders.describe import Captioner, Grounder
from aigiscan.encoders.fingerprint import for_channels
from aigiscan.encoders.options import unit_length
from aigiscan.errors import EncoderError
from aigiscan.images.beside import Region, as_json, complete
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run

OPTIONS = EncoderOptions(device="cpu", precision="fp32")
BOXES = [Region("a red dog", (3, 4, 30, 36)), Region("grass", (10, 0, 50, 20))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    name, _ = save_model(tmp_path_factory.mktemp("clip"), tiny_config(), seed=3)
    return create_encoder(name, OPTIONS)


@pytest.fixture
def folder(tmp_path: Path) -> list[ImageRecord]:
    """Three pictures: with objects, with a caption in a file, with a twin."""
    for i, picture in enumerate(pictures(3)):
        picture.save(tmp_path / f"{i}.png")
    pictures(4)[3].save(tmp_path / "twin.png")
    records = [
        ImageRecord(str(tmp_path / f"{i}.png"), caption=f"caption {i}", twin=str(tmp_path / "twin.png"))
        for i in range(3)
    ]
    (tmp_path / "1.txt").write_text("a dog")
    (tmp_path / "0.png.json").write_text(as_json(BOXES))
    return [records[0], replace(records[1], caption=""), records[2]]


def raw_text(clip: Any, *texts: str) -> np.ndarray:
    return clip_text.encode_ids(clip, clip_text.tokenizer_of(clip)(list(texts)))


def test_every_channel_is_what_the_towers_say(clip: Any, folder: list[ImageRecord]) -> None:
    encoder = CompanionEncoder(clip, "given", "given", twins=True)
    rows = list(run(folder, encoder, batch_size=2, workers=0))
    assert [row.error for row in rows] == [""] * 3
    assert {name: spec.shape for name, spec in encoder.channels().items()} == {
        name: np.shape(value) for name, value in rows[0].channels.items()
    }
    assert [row.record.caption for row in rows] == ["caption 0", "a dog", "caption 2"]
    texts = raw_text(clip, "caption 0", "a dog", "caption 2")
    images = [Image.open(record.path) for record in folder]
    whole = clip.encode([clip.prepare(image) for image in images])["embedding"]
    for i, row in enumerate(rows):
        assert np.allclose(row.channels["text"], texts[i], atol=1e-5)
        assert np.allclose(row.channels["embedding"], whole[i], atol=1e-5)
    twin = clip.encode([clip.prepare(Image.open(folder[0].twin))])["embedding"][0]
    assert np.allclose(rows[1].channels["twin"], twin, atol=1e-5)
    crops = clip.encode([clip.prepare(images[0].crop(tuple(map(int, r.box)))) for r in BOXES])["embedding"]
    phrases = raw_text(clip, "a red dog", "grass")
    assert np.allclose(rows[0].channels["local_raw"], np.abs(crops - phrases).mean(axis=0), atol=1e-5)
    unit = np.abs(unit_length(crops) - unit_length(phrases)).mean(axis=0)
    assert np.allclose(rows[0].channels["local"], unit, atol=1e-6)
    assert [float(row.channels["objects"]) for row in rows] == [2, 0, 0]
    assert not rows[1].channels["local"].any()


def test_equal_texts_are_encoded_once(clip: Any, folder: list[ImageRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(encoder: Any, ids: Any, *, trim: bool = True) -> np.ndarray:
        seen.append(len(ids))
        return original(encoder, ids, trim=trim)

    original = clip_text.encode_ids
    monkeypatch.setattr(clip_text, "encode_ids", counted)
    encoder = CompanionEncoder(clip, "given")
    same = [replace(record, caption="the same") for record in folder]
    assert all(row.channels is not None for row in run([*same, *same], encoder, batch_size=2, workers=0))
    assert seen == [1]


def test_boxes_follow_the_equalisation(clip: Any, tmp_path: Path) -> None:
    picture = pictures(1, (90, 60))[0]
    picture.save(tmp_path / "a.png")
    box = Region("a dog", (20, 10, 60, 50))
    gone = Region("left out by the central square", (0, 0, 10, 10))
    record = ImageRecord(str(tmp_path / "a.png"), caption="x", objects=as_json([box, gone]))
    equalization = Equalization.parse("square:30")
    encoder = CompanionEncoder(clip, "given", "given")
    (row,) = run([record], encoder, equalization=equalization, workers=0)
    assert row.channels is not None and float(row.channels["objects"]) == 1
    crop = equalization.apply(picture).crop((2, 5, 22, 25))  # x: (20 - 15) / 2 = 2.5 and 22.5, to even
    image = clip.encode([clip.prepare(crop)])["embedding"]
    expected = np.abs(image - raw_text(clip, "a dog"))[0]
    assert np.allclose(row.channels["local_raw"], expected, atol=1e-5)


def test_boxes_are_in_the_files_upright_pixels(clip: Any, tmp_path: Path) -> None:
    """Whatever was reduced while it was decoded, or turned by its EXIF entry."""
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((90, 120))
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # stored lying; 6: turn it clockwise again
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
    record = ImageRecord(str(tmp_path / "a.jpg"), caption="x", objects=as_json([Region("a", (10, 60, 50, 110))]))
    encoder = CompanionEncoder(clip, "given", "given")
    crop = upright.crop((10, 60, 50, 110))
    expected = np.abs(clip.encode([clip.prepare(crop)])["embedding"] - raw_text(clip, "a"))[0]
    other = np.abs(clip.encode([clip.prepare(upright.crop((0, 0, 40, 50)))])["embedding"] - raw_text(clip, "a"))[0]
    for spec in ("", "reduce:2,limit:20"):
        treatment = Equalization.parse(spec) if spec else None
        (row,) = run([record], encoder, equalization=treatment, workers=0)
        assert row.channels is not None, row.error
        got = row.channels["local_raw"]
        if not spec:
            assert np.abs(got - expected).max() < 0.3 * np.abs(other - expected).max()
        assert float(row.channels["objects"]) == 1
    item = encoder.prepare_record(record, upright.resize((45, 60)), None, (90, 120))
    assert [region.box for region in item.regions or ()] == [(5.0, 30.0, 25.0, 55.0)]
    outside = replace(record, objects=as_json([Region("a", (10, 60, 110, 80))]))  # would fit into the lying picture
    (row,) = run([outside], encoder, workers=0)
    assert "lies outside the picture of 90×120" in row.error


def test_what_is_missing_or_wrong_is_an_error_of_its_row(clip: Any, folder: list[ImageRecord]) -> None:
    encoder = CompanionEncoder(clip, "given", "given", twins=True)
    outside = as_json([BOXES[0], Region("b", (0, 0, 51, 40))])
    bad = [
        replace(folder[0], caption=""),
        replace(folder[0], objects=outside),
        replace(folder[0], twin=""),
        replace(folder[0], twin="nowhere.png"),
        folder[2],
    ]
    errors = [row.error for row in run(bad, encoder, workers=0)]
    needles = (
        "no caption: ",
        "object 1 (b) lies outside the picture of 50×40",
        "no twin: give --twins",
        "nowhere.png: no such file",
    )
    assert all(needle in error for needle, error in zip(needles, errors[:4], strict=True)) and not errors[4], errors


class Says(Captioner):
    kind = "says"

    def own_fingerprint(self) -> dict[str, Any]:
        return {"source": "says:x", "weights": "w"}

    def caption(self, pictures: Any) -> list[str]:
        return ["" if picture.getpixel((0, 0)) == (0, 0, 0) else "a red dog" for picture in pictures]


class Finds(Grounder):
    kind = "finds"

    def own_fingerprint(self) -> dict[str, Any]:
        return {"source": "finds:x", "weights": "w"}

    def ground(self, pictures: Any, captions: Any) -> list[list[Region]]:
        assert all(captions)
        return [[Region("dog", (2.4995, 2.0, picture.width / 2, picture.height / 2))] for picture in pictures]


def with_models(encoder: CompanionEncoder) -> CompanionEncoder:
    encoder.captioner, encoder.grounder = Says("x"), Finds("x")
    return encoder


@pytest.mark.parametrize("equalize", ["", "limit:24"])
def test_models_fill_in_what_is_missing_and_say_what_they_found(clip: Any, tmp_path: Path, equalize: str) -> None:
    """What they found, put beside the pictures, gives the same numbers without them."""
    wide = pictures(1, (1500, 950))[0]  # larger than what the models see
    for i, picture in enumerate([*pictures(2), wide, Image.new("RGB", (40, 40))]):
        picture.save(tmp_path / f"{i}.png")
    records = [ImageRecord(str(tmp_path / f"{i}.png")) for i in range(4)]
    records[1] = replace(records[1], caption="given")
    treatment = Equalization.parse(equalize) if equalize else None
    encoder = with_models(CompanionEncoder(clip, "given", "given"))
    rows = list(run(records, encoder, equalization=treatment, batch_size=3, workers=2))
    assert [row.record.caption for row in rows] == ["a red dog", "given", "a red dog", ""]
    assert "gave no caption" in rows[3].error and rows[3].channels is None
    again = list(
        run([row.record for row in rows[:3]], CompanionEncoder(clip, "given", "given"), equalization=treatment)
    )
    for one, other in zip(rows, again, strict=False):
        assert one.channels is not None and other.channels is not None, other.error
        for name in one.channels:
            assert np.allclose(one.channels[name], other.channels[name], atol=1e-4), name


def test_fingerprints_make_the_encoder_again_without_its_models(clip: Any) -> None:
    encoder = with_models(CompanionEncoder(clip, "given", "given", twins=True))
    mark = encoder.fingerprint()
    assert mark["captions"] == {"source": "says:x", "weights": "w"} and mark["twins"] is True
    mark["captions"] = {"source": "hf:nobody/nothing", "weights": "w", "prompt": "say"}
    mark["objects"] = {"source": "given"}
    again = encoder_from_fingerprint(mark, device="cpu")
    assert isinstance(again, CompanionEncoder) and again.fingerprint() == mark
    assert again.beside == ("caption", "objects", "twin") and again.captioner.prompt == "say"  # type: ignore[union-attr]
    plain = for_channels(mark, ["embedding"])
    assert plain == clip.fingerprint() and type(encoder_from_fingerprint(plain)) is type(clip)
    assert "objects" not in for_channels(mark, ["embedding", "text"]) and "captions" in for_channels(mark, ["text"])
    moved = {**mark, "captions": {**mark["captions"], "source": "hf:/elsewhere"}}
    assert compare_fingerprints(mark, moved) == []
    assert compare_fingerprints(mark, {**mark, "captions": {"source": "given"}})


def test_lengths_follow_the_encoder(clip: Any, folder: list[ImageRecord]) -> None:
    unit = create_encoder(clip.name, replace(OPTIONS, normalize=True))
    (row, *_) = run(folder[:1], CompanionEncoder(unit, "given", "given"), workers=0)
    assert row.channels is not None
    assert np.linalg.norm(row.channels["text"]) == pytest.approx(1, abs=1e-5)
    assert np.allclose(row.channels["local"], row.channels["local_raw"], atol=1e-6)


def test_only_a_clip_can_be_accompanied(clip: Any) -> None:
    for base in (create_encoder("spam"), create_encoder(clip.name, replace(OPTIONS, projection="hidden"))):
        with pytest.raises(EncoderError, match="no space that texts and pictures share"):
            CompanionEncoder(base, "given")
    with pytest.raises(EncoderError, match="--objects needs --captions"):
        CompanionEncoder(clip, "", "given")


def test_heads_are_those_of_the_picture(clip: Any, folder: list[ImageRecord]) -> None:
    heads = create_encoder(clip.name, replace(OPTIONS, heads=True))
    records = list(complete(folder, ("caption", "objects")))
    rows = list(run(records, CompanionEncoder(heads, "given", "given"), workers=0))
    expected = heads.encode([heads.prepare(Image.open(record.path)) for record in records])["heads"]
    assert all(np.allclose(row.channels["heads"], expected[i], atol=1e-5) for i, row in enumerate(rows))
