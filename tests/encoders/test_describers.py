"""Captioners and the grounder: tiny random models through open_clip and transformers, saved and loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_clip and tiny_describers

import tiny_describers
from tiny_clip import pictures, save_model, tiny_config

from aigiscan.encoders.accompanied import DescribingEncoder
from aigiscan.encoders.describe import create_captioner, create_grounder
from aigiscan.encoders.hf_models import BOX_THRESHOLD, PROMPT
from aigiscan.errors import AigiscanError, EncoderError, MissingDependencyError
from aigiscan.images.beside import check_inside, parse_objects
from aigiscan.images.records import ImageRecord

PICTURES = pictures(3)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("describers")
    return {name: getattr(tiny_describers, f"save_{name}")(root / name) for name in ("blip", "blip2", "llava", "dino")}


def test_coca_says_what_open_clip_generates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip import coca_model
    from transformers import TopKLogitsWarper

    name, stock = tiny_describers.save_coca(tmp_path / "coca")
    captioner: Any = create_captioner(name, device="cpu")
    pixels = captioner._clip.pixels([captioner._clip.prepare(picture) for picture in PICTURES])
    # open_clip refuses beside transformers 5 for want of its beam scorer, which this way of decoding does not use.
    monkeypatch.setattr(coca_model, "_has_transformers", True)
    monkeypatch.setitem(coca_model.GENERATION_TYPES, "top_k", TopKLogitsWarper)
    expected = stock.generate(pixels, generation_type="top_k", top_k=1)
    assert captioner.generate(pixels).tolist() == expected.tolist()
    said = captioner.caption(PICTURES)
    assert len(set(said)) == 3 and all(said) and not any("_of_text" in text for text in said)
    assert captioner.fingerprint()["weights"] and captioner.fingerprint()["prompt"] == ""
    with pytest.raises(EncoderError, match="takes no prompt"):
        create_captioner(name, "a photo of")


def test_coca_ends_at_an_end(tmp_path: Path) -> None:
    name, _ = tiny_describers.save_coca(tmp_path / "coca")
    captioner: Any = create_captioner(name, device="cpu")
    model = captioner._clip.model
    end = captioner._tokenizer.eot_token_id

    def logits(*_: Any, **__: Any) -> dict[str, Any]:
        import torch

        out = torch.zeros(2, 1, 49408)
        out[:, 0, 320] = 1
        out[0, 0, end] = 2  # the first picture's caption wants to end at once
        return {"logits": out}

    model.forward = logits
    short, long = captioner.generate(
        captioner._clip.pixels([captioner._clip.prepare(p) for p in PICTURES[:2]])
    ).tolist()
    assert short[4:7] == [320, end, model.pad_id] and set(short[6:]) == {model.pad_id}
    assert len(long) == 30 and long[-1] == end and set(long[1:-1]) == {320}
    assert captioner.caption(PICTURES[:2]) == ["a a a a", " ".join(["a"] * 28)]


@pytest.mark.parametrize("kind", ["blip", "blip2", "llava"])
def test_transformers_models_caption(models: dict[str, str], kind: str) -> None:
    captioner = create_captioner(models[kind], device="cpu")
    assert captioner is not None
    said = captioner.caption(PICTURES)
    assert len(set(said)) > 1 and {w for text in said for w in text.split()} <= set(tiny_describers.WORDS)
    assert captioner.caption(PICTURES[:1]) == said[:1]  # what is said of one picture does not depend on the others
    mark = captioner.fingerprint()
    assert mark["source"] == models[kind] and len(mark["weights"]) == 64
    assert mark["prompt"] == (PROMPT if kind == "llava" else "")


@pytest.mark.parametrize("kind", ["blip2", "llava"])
def test_a_prompt_changes_the_fingerprint_and_is_no_part_of_the_answer(models: dict[str, str], kind: str) -> None:
    plain, asked = create_captioner(models[kind], device="cpu"), create_captioner(models[kind], "a photo of the", "cpu")
    assert plain is not None and asked is not None
    assert plain.fingerprint()["prompt"] != asked.fingerprint()["prompt"]
    said = asked.caption(PICTURES)
    assert said != plain.caption(PICTURES)
    assert not all(text.startswith("a photo of the") for text in said)


def test_grounding_gives_boxes_with_words_of_the_caption(models: dict[str, str]) -> None:
    grounder = create_grounder(models["dino"], device="cpu")
    assert grounder is not None
    captions = ["A red dog on the grass.", "the cat", "two dog and a photo of the sky"]
    found = grounder.ground(PICTURES, captions)
    assert any(found)
    for regions, caption, picture in zip(found, captions, PICTURES, strict=True):
        for region in regions:
            x0, y0, x1, y1 = region.box
            assert 0 <= x0 < x1 <= picture.width and 0 <= y0 < y1 <= picture.height
            assert set(region.phrase.split()) <= set(caption.lower().rstrip(".").split())
    alone = grounder.ground(PICTURES[1:2], captions[1:2])[0]
    assert [r.phrase for r in alone] == [r.phrase for r in found[1]]
    assert np.allclose([r.box for r in alone], [r.box for r in found[1]], atol=1e-3)
    assert grounder.fingerprint()["thresholds"][0] == BOX_THRESHOLD


def test_the_model_of_an_earlier_run_is_told_from_another(models: dict[str, str]) -> None:
    mark = create_captioner(models["blip"]).fingerprint()  # type: ignore[union-attr]
    moved = create_captioner(models["blip"], "", "cpu", {**mark, "source": "hf:/elsewhere"})
    assert moved is not None and moved.fingerprint()["source"] == "hf:/elsewhere"
    assert moved.caption(PICTURES[:1])
    other = create_captioner(models["blip"], "", "cpu", {**mark, "weights": "0" * 64})
    with pytest.raises(EncoderError, match="not the model that was used before"):
        other.caption(PICTURES[:1])  # type: ignore[union-attr]


def test_what_is_missing_is_one_line(models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(error: type[AigiscanError], *needles: str, source: str) -> None:
        with pytest.raises(error) as caught:
            create_captioner(source, device="cpu").caption(PICTURES[:1])  # type: ignore[union-attr]
        assert all(needle in str(caught.value) for needle in needles), caught.value
        assert "\n" not in str(caught.value)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(EncoderError, "nobody/nothing", "HF_HUB_OFFLINE", "hf:FOLDER", source="hf:nobody/nothing")
    refused(EncoderError, "given, open_clip:NAME, hf:NAME", source="blip")
    refused(EncoderError, "given", source="hf:")
    clip, _ = save_model(tmp_path / "clip", tiny_config())
    refused(EncoderError, "writes no captions", "coca_ViT-L-14", source=clip)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(EncoderError, "config.json", source=f"hf:{empty}")
    (empty / "config.json").write_text(json.dumps({"model_type": "blip"}))
    refused(EncoderError, "cannot be loaded", source=f"hf:{empty}")
    with pytest.raises(EncoderError, match=r"no \.safetensors file"):
        create_captioner(f"hf:{empty}").fingerprint()  # type: ignore[union-attr]
    with pytest.raises(EncoderError, match="--objects open_clip:x is not known"):
        create_grounder("open_clip:x")
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(MissingDependencyError, "pip install 'aigiscan[captions]'", source=models["blip"])


def test_nothing_is_loaded_before_it_is_used() -> None:
    mark = {"source": "hf:nobody/nothing", "weights": "1"}
    captioner = create_captioner("hf:nobody/nothing", "", "cpu", mark)
    assert captioner is not None and captioner.fingerprint() == mark


@pytest.mark.parametrize("size", [(1, 1), (1, 1500), (3000, 2), (900, 900)])
def test_pictures_of_any_shape_are_described(models: dict[str, str], size: tuple[int, int]) -> None:
    captioner, grounder = create_captioner(models["blip"], device="cpu"), create_grounder(models["dino"], device="cpu")
    encoder = DescribingEncoder(None, grounder)
    images = [Image.new("RGB", size, (200, 30, 30)), PICTURES[0]]
    inputs = [encoder.prepare_record(ImageRecord("", caption="a red dog"), image) for image in images]
    assert len(captioner.caption([item.picture for item in inputs if item.picture])) == 2
    encoder.encode(inputs)
    for item, image in zip(inputs, images, strict=True):
        noted = encoder.noted(item)
        assert set(noted) == {"objects"}
        check_inside(parse_objects(noted["objects"], "found"), image.size, "found")
