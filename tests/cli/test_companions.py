"""Captions, objects and twins on the command line: from pictures to a detector that judges new ones."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call
from planted_clip import COLOURS, coloured, write_planted_clip

sys.path.insert(0, str(Path(__file__).parents[1] / "encoders"))

import tiny_describers

from aigiscan.detector.card import read_card
from aigiscan.evaluation import words
from aigiscan.images.beside import Region, as_json
from aigiscan.store import EmbeddingStore

PER_SOURCE = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_planted_clip(tmp_path_factory.mktemp("planted"))


def colour_of(rng: np.random.Generator, label: int) -> tuple[str, str]:
    """The colour of a picture and the one that its caption names: another for fakes."""
    colour = str(rng.choice(COLOURS))
    return colour, str(rng.choice([c for c in COLOURS if c != colour])) if label else colour


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of three photo sources and three generators; only the caption against the picture tells the label."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    lines = ["path,label,generator,source,caption,twin"]
    for source in range(3):
        for label in (0, 1):
            for i in range(PER_SOURCE):
                colour, said = colour_of(rng, label)
                name = f"{source}-{label}-{i}.png"
                coloured(rng, colour).save(root / name)
                (root / "twins").mkdir(exist_ok=True)
                coloured(rng, said).save(root / "twins" / name)
                (root / f"{name}.json").write_text(as_json([Region(f"a {said} thing", (4, 4, 28, 28))][: i % 3]))
                maker = f"gan{source},gan{source}" if label else f",camera{source}"
                lines.append(f"{name},{label},{maker},a {said} photo,twins/{name}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """New pictures with captions beside them, fakes named fake-…, and one without."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "new"
    (tmp_path / "new-twins").mkdir()
    folder.mkdir()
    for i in range(12):
        colour, said = colour_of(rng, i % 2)
        name = f"{('photo', 'fake')[i % 2]}-{i}"
        coloured(rng, colour).save(folder / f"{name}.png")
        coloured(rng, said).save(tmp_path / "new-twins" / f"{name}.jpg")
        (folder / f"{name}.txt").write_text(f"a {said} photo\n")
    coloured(rng, "red").save(folder / "untold.png")
    return folder


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


def check_scores(rows: dict[str, dict[str, str]]) -> None:
    fakes = [float(row["score"]) for name, row in rows.items() if name.startswith("fake")]
    photos = [float(row["score"]) for name, row in rows.items() if name.startswith("photo")]
    assert len(fakes) == len(photos) == 6
    assert np.mean([[f > p for p in photos] for f in fakes]) > 0.9


FIT = ("--precision", "fp32", "-c", "logistic", "--C", "0.1", "--folds", "3")
BOTH = ("--captions", "given", "--objects", "given")


def test_from_pictures_to_a_detector_that_scans_new_ones(clip: str, labelled: Path, new: Path, tmp_path: Path) -> None:
    detector = tmp_path / "tidy"
    call("fit", labelled, "-o", detector, "-e", clip, *BOTH, "--features", "discrepancy:w1=1,w2=0.5", *FIT)
    card = read_card(detector)
    assert card.view["w2"] == 0.5 and card.encoder["fingerprint"]["objects"] == {"source": "given"}
    call("scan", new, "-d", detector, "-o", tmp_path / "report.csv")
    rows = rows_of(tmp_path / "report.csv")
    assert rows["untold.png"]["verdict"] == "unreadable" and "no caption" in rows["untold.png"]["error"]
    assert not rows["fake-1.png"]["error"] and rows["fake-1.png"]["note"] == "no object: the global distance alone"
    check_scores(rows)
    (new / "fake-1.png.json").write_text('[{"phrase": "x", "box": [0, 0, 400, 4]}]')
    call("scan", new, "-d", detector, "-o", tmp_path / "again.csv")
    assert "object 0 (x) lies outside the picture of 32×32" in rows_of(tmp_path / "again.csv")["fake-1.png"]["error"]
    call("explain", detector, new / "fake-3.png", "-o", tmp_path / "why")
    why = json.loads((tmp_path / "why" / "fake-3.json").read_text())
    assert set(why["parts"]) == {"caption", "intercept"} and why["nearest"]["text"]["positive"]
    assert "global distance alone" in why["missing"]["objects"]


def test_twins(clip: str, labelled: Path, new: Path, tmp_path: Path) -> None:
    detector = tmp_path / "double"
    call("fit", labelled, "-o", detector, "-e", clip, "--twins", "given", "--features", "twins", *FIT)
    assert "captions" not in read_card(detector).encoder["fingerprint"]
    call("scan", new, "-d", detector, "--twins", tmp_path / "new-twins", "-o", tmp_path / "report.csv")
    rows = rows_of(tmp_path / "report.csv")
    assert "no twin: give --twins FOLDER" in rows["untold.png"]["error"]
    check_scores(rows)
    call("scan", new, "-d", detector, "-o", tmp_path / "none.csv")
    assert all("no twin" in row["error"] for row in rows_of(tmp_path / "none.csv").values())
    call("scan", new, "-d", detector, "--twins", tmp_path / "nowhere", refused="nowhere")


def test_the_ablations_of_a_store(clip: str, labelled: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    call("embed", labelled, "-o", store, "-e", clip, "--precision", "fp32", *BOTH)
    shown = call("stores", "show", store).stdout
    assert "captions: 72 of 72 images" in shown and "objects: 48 of 72 images" in shown
    modes = ("text", "image", "global", "local", "both")
    features = [word for mode in modes for word in ("--features", f"discrepancy:{mode}")]
    quick = ("-p", "C=0.1", "--folds", 3, "--draws", 10, "--gallery", 0, "--no-transfer")
    call("evaluate", store, "-o", tmp_path / "out", *features, *quick)
    with open(tmp_path / "out" / "held-out_sources_summary.csv", newline="") as file:
        auc = {row["name"].partition(":")[2]: float(row[words.AUC]) for row in csv.DictReader(file)}
    assert min(auc[mode] for mode in ("global", "local", "both")) > 0.85
    assert max(auc[mode] for mode in ("text", "image")) < 0.7
    call("fit", store, "-o", tmp_path / "d", "--features", "discrepancy:global", *FIT)
    assert "objects" not in read_card(tmp_path / "d").encoder["fingerprint"]  # what it does not read it need not find
    call("scan", store, "-d", tmp_path / "d", "-o", tmp_path / "report.csv")
    rows = rows_of(tmp_path / "report.csv")
    assert len(rows) == 72 and "note" not in rows["0-0-0.png"]
    call("fit", store, "-o", tmp_path / "b", "--features", "discrepancy", *FIT)
    call("scan", store, "-d", tmp_path / "b", "-o", tmp_path / "both.csv")
    assert sum(bool(row["note"]) for row in rows_of(tmp_path / "both.csv").values()) == 72 - 48
    call("fit", store, "-o", tmp_path / "e", "--features", "twins", refused="embed again with --twins")


def test_captions_only(clip: str, new: Path, tmp_path: Path) -> None:
    captioner, grounder = tiny_describers.save_llava(tmp_path / "llava"), tiny_describers.save_dino(tmp_path / "dino")
    models = ("--captions", captioner, "--objects", grounder, "--device", "cpu")
    done = call("embed", new, *models, "--captions-only")
    assert "14 files written" in done.stderr  # one caption was missing, and all objects
    assert (new / "untold.png.txt").read_text().strip() and not (new / "fake-1.png.txt").exists()
    assert isinstance(json.loads((new / "photo-0.png.json").read_text()), list)
    again = call("embed", new, *models, "--captions-only")
    assert "0 files written beside the pictures; 13 pictures had theirs" in again.stderr
    call("embed", new, "--captions", "given", "--captions-only", refused="needs a model")


def test_models_at_work_in_a_store_and_out_of_work_in_a_scan(
    clip: str, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner, grounder = tiny_describers.save_llava(tmp_path / "llava"), tiny_describers.save_dino(tmp_path / "dino")
    models = ("--captions", captioner, "--objects", grounder, "--prompt", "a photo of")
    store = tmp_path / "s.h5"
    arguments = ("embed", new, "-o", store, "-e", clip, "--precision", "fp32", "--device", "cpu", *models)
    call(*arguments)
    with EmbeddingStore(store) as opened:
        mark = opened.fingerprint
        captions = dict(zip((Path(p).name for p in opened.rows.path), opened.rows.caption, strict=True))
        before = opened.read("text")
    assert mark["captions"]["prompt"] == "a photo of" and mark["captions"]["source"] == captioner
    assert captions["untold.png"] and captions["photo-0.png"].startswith("a ")
    assert "0 images embedded, 13 known" in call(*arguments).stderr
    with EmbeddingStore(store) as opened:
        assert dict(zip((Path(p).name for p in opened.rows.path), opened.rows.caption, strict=True)) == captions
    (new / "photo-0.txt").write_text("something else")
    (new / "untold.txt").write_text(captions["untold.png"])
    assert "1 images embedded, 12 known" in call("embed", new, "-o", store).stderr
    with EmbeddingStore(store) as opened:
        moved = np.abs(opened.read("text") - before).max(axis=1) > 1e-3
        assert [Path(p).name for p in opened.rows.path[moved]] == ["photo-0.png"]
    shutil.copy(new / "photo-2.png", new / "same.png")
    shutil.copy(new / "photo-2.png", new / "other.png")
    (new / "other.txt").write_text("another caption of the same picture")
    done = call("embed", new, "-o", store).stderr
    assert "1 images embedded" in done and "1 found again by content" in done
    with EmbeddingStore(store) as opened:
        row = {Path(p).name: i for i, p in enumerate(opened.rows.path)}
        text = opened.read("text")
        assert opened.rows.caption[row["same.png"]] == captions["photo-2.png"]
        assert np.allclose(text[row["same.png"]], text[row["photo-2.png"]])
        assert not np.allclose(text[row["other.png"]], text[row["photo-2.png"]])
    call(*arguments[:-1], "another question", refused="captions: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--features", "discrepancy"), "--features discrepancy needs --captions --objects"),
        (("--features", "twins"), "--features twins needs --twins"),
        (("--features", "discrepancy:global", "--objects", "given"), "--objects needs --captions"),
        (("--features", "discrepancy:x", "--captions", "given"), "discrepancy:x is not known"),
        (("--captions", "given", "-e", "spam"), "no space that texts and pictures share"),
        (("--captions", "blip"), "--captions blip is not known"),
        (("--prompt", "say"), "--prompt is for a captioner"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    clip: str, labelled: Path, tmp_path: Path, words: Any, said: str
) -> None:
    call("fit", labelled, "-o", tmp_path / "d", "-e", clip, *words, refused=said)
