"""What commands say of what they were given, and what they make of difficult files."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import pytest
from bad_files import BadFiles, encoded, photo
from cli_calls import call

from aigiscan.images import isolate
from aigiscan.store import EmbeddingStore

FAULTY = """
import os
from aigiscan.images import isolate
real = isolate.decode
def decode(record, **options):
    if "crash" in os.path.basename(record.path):
        os.kill(os.getpid(), 11)
    return real(record, **options)
isolate.decode = decode
isolate.serve()
"""


@pytest.fixture
def plant(tmp_path: Path):  # type: ignore[no-untyped-def]
    def put(*names: str) -> Path:
        for i, name in enumerate(names):
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(photo(40, 40, seed=i), "PNG") if "." not in name or ".png" in name else b"words")
        return tmp_path / "data"

    return put


def labels_of(store: Path) -> list[int]:
    with EmbeddingStore(store) as opened:
        return sorted(opened.rows.label.tolist())


def test_every_labelled_read_says_what_it_found(plant, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = plant("sd/1_fake/a.png", "sd/0_real/b.png", "flux/1_fake/c.png", "film.mp4")
    said = call("embed", data, "-o", tmp_path / "s.h5", "-e", "color:rgb").stderr
    assert "3 images: 1 photograph, 2 AI-generated" in said
    assert "2 generators: flux 1, sd 1" in said
    assert "1 other file was not looked at (1 .mp4)" in said
    assert labels_of(tmp_path / "s.h5") == [0, 1, 1]
    said = call("fit", data, "-o", tmp_path / "d", "--encoder", "color:rgb", code=2).stderr
    assert "2 generators: flux 1, sd 1" in said and "1 other file" in said


def test_one_class_keeps_its_labels_and_no_labels_are_said_loudly(plant, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = plant("sd/1_fake/a.png", "sd/1_fake/b.png")
    call("embed", data, "-o", tmp_path / "s.h5", "-e", "color:rgb")
    assert labels_of(tmp_path / "s.h5") == [1, 1]
    shutil.rmtree(data)
    said = call("embed", plant("x/a.png", "c.svg"), "-o", tmp_path / "t.h5", "-e", "color:rgb").stderr
    assert "warning: " in said and "no labels are read" in said
    assert "1 other file was not looked at (1 .svg)" in said  # once, though the folder was walked twice
    assert labels_of(tmp_path / "t.h5") == [-1]


def test_a_bad_label_is_an_error_that_names_its_line(plant, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = plant("a.png", "b.png")
    (data / "manifest.csv").write_text("path,label\na.png,real\nb.png,maybe\n")
    call("embed", data, "-o", tmp_path / "s.h5", "-e", "color:rgb", refused="manifest.csv, line 3: label 'maybe'")
    assert not (tmp_path / "s.h5").exists()
    call("embed", data, "-o", tmp_path / "s.h5", "-e", "color:rgb", "--unlabelled")
    assert labels_of(tmp_path / "s.h5") == [-1, -1]


def test_include_on_a_manifest_of_another_spelling(plant, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = plant("x/a.png", "b.png")
    (data / "manifest.csv").write_text("path,label\n./x/a.png,real\n./b.png,fake\n")
    call("embed", data / "manifest.csv", "-o", tmp_path / "s.h5", "-e", "color:rgb", "--include", "x/*.png")
    assert labels_of(tmp_path / "s.h5") == [0]


def test_a_scan_notes_what_it_passed_by_and_makes_rows_of_all_on_request(plant, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = plant("a.png", "IMG_1.CR3", "film.mp4", "notes.svg", ".hidden.png")
    done = call("scan", data, "-o", tmp_path / "r.csv")
    assert "2 other files were not looked at (1 .mp4, 1 .svg)" in done.stderr
    rows = rows_of(tmp_path / "r.csv")
    assert [Path(row["path"]).name for row in rows] == ["IMG_1.CR3", "a.png"]
    assert "camera raw file" in rows[0]["error"]
    done = call("scan", data, "-o", tmp_path / "all.csv", "--all-files")
    assert "not looked at" not in done.stderr
    rows = rows_of(tmp_path / "all.csv")
    assert [Path(row["path"]).name for row in rows] == [".hidden.png", "IMG_1.CR3", "a.png", "film.mp4", "notes.svg"]
    assert [row["error"] for row in rows[3:]] == ["not an image", "not an image"]


def test_isolated_scan_is_the_same_and_survives_a_crash(
    bad_files: BadFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bad_files.folder / "crash.jpg").write_bytes(encoded(photo(), "JPEG"))
    call("scan", bad_files.folder, "-o", tmp_path / "plain.csv")
    monkeypatch.setattr(isolate, "COMMAND", [sys.executable, "-c", FAULTY])
    call("scan", bad_files.folder, "-o", tmp_path / "apart.csv", "--isolate", "--time-limit", "60")
    plain, apart = rows_of(tmp_path / "plain.csv"), rows_of(tmp_path / "apart.csv")
    assert [row["path"] for row in plain] == [row["path"] for row in apart]
    different = [(row["error"], row["verdict"]) for row, other in zip(apart, plain, strict=True) if row != other]
    assert different == [("the decoder crashed (SIGSEGV)", "unreadable")]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
