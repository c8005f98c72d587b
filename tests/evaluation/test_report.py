from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

from aigiscan.errors import InputError
from aigiscan.evaluation.heldout import held_out_figures
from aigiscan.evaluation.intervals import Interval
from aigiscan.evaluation.plots import curves, heat_map
from aigiscan.evaluation.report import EvaluationReport
from aigiscan.evaluation.write import SUMMARY_HEADER, terminal_table
from aigiscan.text import plain


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.cells, self.images, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("td", "th"):
            self.cells.append(data)


def test_a_table_is_a_csv_and_part_of_the_page(tmp_path):
    report = EvaluationReport(tmp_path / "new" / "folder", "T<itle")
    report.section("First", "a & b")
    rows = [("x<script>", Interval(0.5, 0.4, 0.625), 3), ("y", 0.25, float("nan"))]
    report.table("t", "Table", ("name", "AUC", "n"), rows)
    page = report.write().read_text(encoding="utf-8")
    with (tmp_path / "new" / "folder" / "t.csv").open(newline="") as handle:
        assert list(csv.reader(handle)) == [
            ["name", "AUC", "AUC low", "AUC high", "n"],
            ["x<script>", "0.5", "0.4", "0.625", "3"],
            ["y", "0.25", "", "", ""],
        ]
    assert "<script>" not in page
    assert "T&lt;itle" in page
    reader = Reader()
    reader.feed(page)
    assert "0.500 [0.400, 0.625]" in reader.cells


def test_long_tables_are_cut_in_the_page_and_whole_in_the_csv(tmp_path):
    report = EvaluationReport(tmp_path, "T")
    report.table("long", "Long", ("i",), [(i,) for i in range(250)])
    assert len((tmp_path / "long.csv").read_text().splitlines()) == 251
    reader = Reader()
    reader.feed(report.write().read_text())
    assert reader.tags.count("td") == 100


def test_file_names_that_are_no_text_are_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    report = EvaluationReport(tmp_path, "T")
    report.table("names", name, ("file",), [(name,)])
    report.json("names", {"file": name})
    report.write()
    assert (tmp_path / "names.csv").read_text(encoding="utf-8").splitlines()[1] == r"caf\xe9.jpg"
    assert json.loads((tmp_path / "names.json").read_text(encoding="utf-8")) == {"file": r"caf\xe9.jpg"}


def test_json_is_strict():
    @dataclass
    class Thing:
        values: np.ndarray
        share: float

    found = plain({1: Thing(np.array([1.5, np.nan]), float("inf")), "n": (np.int64(3), None)})
    assert found == {"1": {"values": [1.5, None], "share": None}, "n": [3, None]}


def test_figures_lie_in_the_folder_and_in_the_page(tmp_path):
    report = EvaluationReport(tmp_path, "T")
    report.figure("map", "Map", heat_map(np.array([[0.5, np.nan]]), ["a"], ["b", "c"], "t"))
    some = Interval(0.9, 0.8, 1.0)
    series = {"one": {"none": some, "jpeg:90": some, "blur:1": some}}
    report.figure("curve", "Curve", curves(series, "t", "AUC"))
    report.figure("empty", "Empty", curves({"one": {"none": some}}, "t", "AUC"))
    reader = Reader()
    reader.feed(report.write().read_text())
    assert len(reader.images) == 3
    assert all(src.startswith("data:image/png;base64,iVBOR") for src in reader.images)
    assert (tmp_path / "map.png").read_bytes()[1:4] == b"PNG"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another -o"):
        EvaluationReport(tmp_path / "file", "T")


def test_rows_for_the_terminal_fit_80_columns_and_name_every_figure_as_the_files_do():
    rng = np.random.default_rng(0)
    sources = np.repeat([f"cam{i}" for i in range(11)] + [f"gen{i}" for i in range(11)], 6)
    labels = np.char.startswith(sources, "gen").astype(int)
    found = held_out_figures(rng.normal(labels, 1.0), labels, sources, np.arange(132), draws=50)
    header, rows = terminal_table({"ViT-L-14/openai": found})
    assert set(header[1:3]) <= set(SUMMARY_HEADER)
    assert all(cell.count("[") == 1 for cell in rows[0][1:])
    # a border and a space on either side of each cell; headings wrap, figures must not
    assert sum(len(cell) for cell in rows[0]) + 3 * len(rows[0]) + 1 <= 80


def test_a_word_is_explained_once_where_it_first_stands(tmp_path):
    report = EvaluationReport(tmp_path, "T")
    for name in ("one", "two"):
        report.table(name, name, ("generator", "recall at 5 % false alarms", "AUC"), [("g", 0.5, 0.7)])
    report.table("nothing", "Nothing", ("AUC",), [])
    page = report.write().read_text()
    assert page.count("share of generated pictures scoring higher than all but 5 % of the photographs") == 1
    assert "Nothing" not in page and not (tmp_path / "nothing.csv").exists()
    assert (tmp_path / "two.csv").read_text().startswith("generator,recall at 5 % false alarms,AUC\n")
