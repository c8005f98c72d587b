from __future__ import annotations

import json

import numpy as np
from PIL import Image

from aigiscan.evaluation.galleries import pick, write_gallery


def test_the_most_confident_of_each_cell_come_first() -> None:
    scores = np.array([-3.0, -1.0, 2.0, 4.0, 5.0, 0.5, -0.1, -9.0, 7.0])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, -1])
    gallery = pick(scores, labels, count=8)
    assert gallery.real_right == [0, 1]
    assert gallery.real_wrong == [3, 2]
    assert gallery.fake_right == [4, 5]
    assert gallery.fake_wrong == [7, 6]
    assert pick(scores, labels, count=1).fake_wrong == [7]
    assert pick(scores, labels, threshold=4.5).real_wrong == []


def test_ties_go_to_the_lower_row() -> None:
    gallery = pick(np.array([1.0, 1.0, 1.0]), np.array([1, 1, 1]), count=2)
    assert gallery.fake_right == [0, 1]


def test_sheet_and_json(tmp_path) -> None:
    paths = []
    for i, colour in enumerate(["red", "lime", "blue"]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (40, 30), colour).save(paths[-1])
    paths.append(str(tmp_path / "gone\udcff.png"))
    scores, labels = np.array([-2.0, 3.0, 1.0, -4.0]), np.array([0, 0, 1, 1])
    out = tmp_path / "out"
    written = write_gallery(out, pick(scores, labels), paths, scores, generators=["", "", "g", "g"])
    assert json.loads((out / "gallery.json").read_text()) == written
    assert written["AI-generated, missed"] == [
        {"path": str(tmp_path / "gone\\xff.png"), "score": -4.0, "generator": "g"}
    ]
    with Image.open(out / "gallery.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(100_000)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (211, 211, 211)} <= colours
