"""``aigiscan detectors`` and scans with published heads, as a user types them."""

from __future__ import annotations

import csv
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "encoders"))
from cli_calls import call
from labelled_pictures import labelled
from tiny_clip import pictures, save_model, tiny_config

from aigiscan.detector.card import read_card
from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.images.equalize import Equalization

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path, Path]:
    """(encoder name, folder of pictures, linear head on its 24 columns); UniFD's card asks for as many."""
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))
    name, _ = save_model(tmp_path / "m", tiny_config())
    shipped = tmp_path / "shipped"
    card = yaml.safe_load((MODELS / "unifd" / "card.yaml").read_text(encoding="utf-8"))
    card["published"] |= {"features": 24, "sha256": "0" * 64}
    (shipped / "unifd").mkdir(parents=True)
    (shipped / "unifd" / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    for place in ("aigiscan.detector.published", "aigiscan.encoders.weights"):
        monkeypatch.setattr(f"{place}.shipped_models_dir", lambda: shipped)
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(pictures(3)):
        picture.save(tmp_path / "pictures" / f"{i}.png")
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(24, 1).state_dict(), tmp_path / "head.pth")
    return name, tmp_path / "pictures", tmp_path / "head.pth"


def test_an_imported_head_scans_with_an_encoder_that_lies_elsewhere(tiny: tuple, tmp_path: Path) -> None:
    encoder, folder, head = tiny
    imported = call("detectors", "import", "unifd", head, "-o", tmp_path / "d", "--encoder", encoder)
    assert "Not the published file" in imported.stderr and "aigiscan calibrate" in imported.stderr
    assert read_card(tmp_path / "d").published["sha256"] == hashlib.sha256(head.read_bytes()).hexdigest()
    call("scan", folder, "--detector", tmp_path / "d", "-o", tmp_path / "r.csv", "--device", "cpu")
    rows = list(csv.DictReader((tmp_path / "r.csv").open(encoding="utf-8")))
    assert [row["verdict"] for row in rows] == ["uncertain"] * 3
    made = create_encoder(encoder, EncoderOptions(device="cpu"))
    crop = Equalization.parse("crop:224")
    x = made.encode([made.prepare(crop.apply(picture)) for picture in pictures(3)])["embedding"]
    state = torch.load(head, weights_only=True)
    expected = x @ state["weight"].numpy()[0] + state["bias"].item()
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, atol=1e-4)


def test_import_is_refused_before_and_after_reading(tiny: tuple, tmp_path: Path) -> None:
    _, folder, head = tiny
    call("detectors", "import", "nothing", head, "-o", tmp_path / "d", refused="use one of unifd")
    call("detectors", "import", "unifd", tmp_path / "gone.pth", "-o", tmp_path / "d", refused="no such file")
    call("detectors", "import", "unifd", folder / "0.png", "-o", tmp_path / "d", refused="not a file of plain tensors")
    call("detectors", "import", "unifd", head, "-o", folder, refused="is not a detector")
    assert not (tmp_path / "d").exists()


def test_list_says_what_is_to_come_and_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))
    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))

    def state(name: str) -> str:
        rows = [line.split("\t") for line in call("detectors", "list").stdout.splitlines()]
        lines = {row[0]: row[3] for row in rows}
        assert lines["builtin"] == "here"
        return lines[name]

    assert state("rine-2") == "to come: the head (1140 kB), the encoder (1710 MB)"
    assert state("leverage-dinov3-l") == "to come: the head by `detectors import`, the encoder (1212 MB)"
    head = tmp_path / "cache" / "published" / read_card(MODELS / "rine-2").published["sha256"]
    head.parent.mkdir(parents=True)
    head.touch()
    folder = hub / "models--timm--vit_large_patch14_clip_224.openai"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "open_clip_model.safetensors").touch()
    assert state("rine-2") == "here" and state("clipdet").startswith("to come: the head (5 kB), the encoder")


def test_an_imported_head_is_a_base_beside_a_detector_on_another_encoder(tiny: tuple, tmp_path: Path) -> None:
    encoder, folder, head = tiny
    call("detectors", "import", "unifd", head, "-o", tmp_path / "clip", "--encoder", encoder)
    data = labelled(tmp_path / "data")
    call("fit", data, "-o", tmp_path / "rgb", "-e", "color:rgb", "--max-fpr", 0.1)
    bases = ("--base", tmp_path / "clip", "--base", tmp_path / "rgb")
    call("fit", data, "-c", "stacking", *bases, "-o", tmp_path / "s", "--max-fpr", 0.1)
    parts = read_card(tmp_path / "s").encoder["fingerprint"]["parts"]
    assert [part["equalization"] for part in parts] == ["crop:224", ""] and len(parts[0]["weights"]) == 64
    call("scan", folder, "--detector", tmp_path / "s", "-o", tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().count("\n") == 4
