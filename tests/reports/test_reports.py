"""Reports: whatever the file names are, a CSV reader and a JSON reader get them back; a cut report is continued."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from aigiscan.detector.verdict import REPORT_COLUMNS, VERDICTS, Verdict
from aigiscan.errors import InputError
from aigiscan.reports.files import Arrangement, ReportFile, meta_path, part_path
from aigiscan.reports.meta import MadeBy
from aigiscan.reports.sinks import ScreenSink, StreamSink, name_line
from aigiscan.reports.terminal import shorten, verdict_table
from aigiscan.reports.writers import CsvFormat, JsonLinesFormat, ReportFormat, choose_format
from aigiscan.text import common_folder, printable

#: any bytes a file system may have in a name
names = st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b).map(os.fsdecode)
numbers = st.floats(-1e6, 1e6)
verdicts = st.builds(
    Verdict,
    path=names,
    verdict=st.sampled_from(VERDICTS),
    score=st.none() | numbers,
    p_ai=st.none() | st.floats(0, 1),
    p_value=st.none() | st.floats(0, 1),
    provenance=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    error=st.sampled_from(["", "truncated JPEG"]),
    bytes=st.integers(0, 10**12),
)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


FORMATS: list[ReportFormat] = [CsvFormat(), CsvFormat(excel_safe=True), JsonLinesFormat()]
IDENTITY = {"name": "d", "weights_sha256": "a" * 64, "calibration_sha256": "b" * 64, "encoder": {}, "equalization": ""}
MADE_BY = MadeBy(IDENTITY, {"precision": None})


def report_file(path: Path, made_by: MadeBy = MADE_BY, *, resume: bool = False, **more: Any) -> ReportFile:
    return ReportFile(path, CsvFormat(), made_by, resume=resume, **more)


@given(st.lists(verdicts, max_size=5))
def test_csv_comes_back(rows: list[Verdict]) -> None:
    form = CsvFormat()
    text = form.header() + "".join(form.line(row) for row in rows)
    back = read_csv(text.encode("utf-8").decode("utf-8"))
    assert [r["path"] for r in back] == [printable(row.path) for row in rows]
    assert [r["provenance"] for r in back] == [row.provenance for row in rows]
    for row, values in zip(rows, back, strict=True):
        assert list(values) == list(REPORT_COLUMNS)
        assert (
            values["score"] == "" if row.score is None else float(values["score"]) == pytest.approx(row.score, abs=1e-4)
        )


@given(verdicts)
def test_json_lines_come_back_with_null_where_nothing_is_known(row: Verdict) -> None:
    line = JsonLinesFormat().line(row)
    assert line.endswith("\n") and "\n" not in line[:-1]
    values = json.loads(line)
    assert list(values) == [*REPORT_COLUMNS, "claims"]
    assert values["path"] == printable(row.path)
    for name in ("p_ai", "score", "p_value", "width", "height", "bytes"):
        assert values[name] is None or isinstance(values[name], (int, float))
    assert values["width"] is None  # the strategy gives none


def test_sizes_that_are_unknown_are_empty_but_an_empty_file_has_0_bytes() -> None:
    row = Verdict("a", "unreadable", error="empty file")
    (values,) = read_csv(CsvFormat().header() + CsvFormat().line(row))
    assert values["width"] == values["height"] == "" and values["bytes"] == "0"
    assert json.loads(JsonLinesFormat().line(row))["height"] is None


def test_the_format_is_that_of_the_name_unless_it_is_asked_for() -> None:
    assert isinstance(choose_format(None, Path("x.JSONL")), JsonLinesFormat)
    assert isinstance(choose_format(None, Path("x.csv")), CsvFormat)
    assert isinstance(choose_format("csv", Path("x.jsonl")), CsvFormat)
    with pytest.raises(InputError, match="csv or jsonl"):
        choose_format("xml", None)
    with pytest.raises(InputError, match="--excel-safe"):
        choose_format("jsonl", None, excel_safe=True)


@pytest.mark.parametrize("form", FORMATS, ids=repr)
@given(data=st.data())
def test_any_cut_leaves_whole_rows(form: ReportFormat, data: st.DataObject) -> None:
    rows = data.draw(st.lists(verdicts, min_size=1, max_size=4))
    lines = [form.line(row).encode() for row in rows]
    header = form.header().encode()
    whole = header + b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    expected = 0
    while expected < len(rows) and len(header) + sum(map(len, lines[: expected + 1])) <= cut:
        expected += 1
    found = list(form.rows(whole[:cut]))
    assert [row.path for row in found] == [form.spelled(row.path) for row in rows[:expected]]
    assert [row.verdict for row in found] == [row.verdict for row in rows[:expected]]
    if found:
        assert found[-1].stop == len(header) + sum(map(len, lines[:expected]))


ROWS = [Verdict("a.jpg", "real", score=-1.0), Verdict("b.jpg", "ai", score=2.0), Verdict("c.jpg", "unreadable")]


def paths(report: Path) -> list[str]:
    return [row["path"] for row in read_csv(report.read_text())]


def test_report_appears_at_once_and_keeps_rows_of_a_failed_run(tmp_path: Path) -> None:
    report = tmp_path / "new" / "r.csv"
    with pytest.raises(KeyboardInterrupt), report_file(report) as file:
        file.write(ROWS[:1])
        assert part_path(report).read_text().endswith("\n") and "a.jpg" in part_path(report).read_text()
        raise KeyboardInterrupt
    assert not report.exists()
    with pytest.raises(InputError, match="--resume"), report_file(report):
        pass
    with report_file(report, resume=True) as file:
        assert [row.path for row in file.kept] == ["a.jpg"]
        file.write(ROWS[1:])
        assert not report.exists()
    assert paths(report) == ["a.jpg", "b.jpg", "c.jpg"]
    assert sorted(p.name for p in report.parent.iterdir()) == ["r.csv", "r.csv.meta.json"]


def test_the_meta_file_says_what_made_the_report(tmp_path: Path) -> None:
    with report_file(tmp_path / "r.csv") as file:
        file.write(ROWS)
    meta = json.loads(meta_path(tmp_path / "r.csv").read_text())
    assert meta["sha256"] == hashlib.sha256((tmp_path / "r.csv").read_bytes()).hexdigest()
    assert meta["verdicts"] == {"ai": 1, "real": 1, "unreadable": 1} and meta["rows"] == 3
    assert meta["detector"] == IDENTITY and meta["digest"] == MADE_BY.digest
    (run,) = meta["runs"]
    assert run["rows"] == 3 and run["started"] <= run["finished"] and run["versions"]["numpy"]


def test_new_rows_are_added_to_a_complete_report(tmp_path: Path) -> None:
    with report_file(tmp_path / "r.csv") as file:
        file.write(ROWS[:2])
    with report_file(tmp_path / "r.csv", resume=True) as file:
        assert file.base == len(file.kept) == 2
        file.write(ROWS[2:])
    assert paths(tmp_path / "r.csv") == ["a.jpg", "b.jpg", "c.jpg"]
    meta = json.loads(meta_path(tmp_path / "r.csv").read_text())
    assert [run["rows"] for run in meta["runs"]] == [2, 1] and meta["rows"] == 3


@pytest.mark.parametrize("cut", [True, False])
def test_rows_of_another_detector_or_setting_are_refused(tmp_path: Path, cut: bool) -> None:
    with contextlib.suppress(KeyboardInterrupt), report_file(tmp_path / "r.csv") as file:
        file.write(ROWS[:1])
        if cut:
            raise KeyboardInterrupt
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    others = [
        (MadeBy({**IDENTITY, "weights_sha256": "c" * 64}, MADE_BY.settings), "its detector was d (aaaa"),
        (MadeBy({**IDENTITY, "calibration_sha256": "c" * 64}, MADE_BY.settings), "with other thresholds"),
        (MadeBy(IDENTITY, {"precision": "bf16"}), "precision was None, now it is bf16"),
    ]
    for other, words in others:
        with pytest.raises(InputError, match=re.escape(words)), report_file(tmp_path / "r.csv", other, resume=True):
            pass
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_foreign_file_is_not_continued(tmp_path: Path) -> None:
    part_path(tmp_path / "r.csv").write_text("my,own,table\n" * 20)
    with pytest.raises(InputError, match="nobody can say"), report_file(tmp_path / "r.csv", resume=True):
        pass
    meta_path(part_path(tmp_path / "r.csv")).write_text(json.dumps(MADE_BY.to_json()))
    with pytest.raises(InputError, match="not a report of this version"), report_file(tmp_path / "r.csv", resume=True):
        pass
    with pytest.raises(InputError, match="cannot write"), report_file(Path("/proc/nowhere/r.csv")):
        pass


def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    with report_file(tmp_path / "r.csv") as file:
        with pytest.raises(InputError, match="another run"), report_file(tmp_path / "r.csv"):
            pass
        file.write(ROWS)
    assert paths(tmp_path / "r.csv") == ["a.jpg", "b.jpg", "c.jpg"]


def test_only_and_sort_arrange_the_finished_report(tmp_path: Path) -> None:
    with report_file(tmp_path / "r.csv", arrangement=Arrangement(sort="p_ai")) as file:
        file.write(ROWS)
    assert paths(tmp_path / "r.csv") == ["b.jpg", "a.jpg", "c.jpg"]
    some = MadeBy(IDENTITY, {"only": ["ai", "unreadable"]})
    with report_file(tmp_path / "s.csv", some, arrangement=Arrangement(("ai", "unreadable"))) as file:
        file.write(ROWS)
    assert paths(tmp_path / "s.csv") == ["b.jpg", "c.jpg"]
    with pytest.raises(InputError, match="only some verdicts"), report_file(tmp_path / "s.csv", some, resume=True):
        pass


def test_nothing_is_left_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), report_file(tmp_path / "r.csv"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_whole_rows_and_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.write, 0

    def some(fd: int, data: Any) -> int:
        nonlocal written
        if written > 300:
            raise OSError(28, "No space left on device")
        written += (n := real(fd, bytes(data)[:50]))
        return n

    with pytest.raises(InputError, match="disk is full; finished rows are kept"), report_file(tmp_path / "r.csv") as f:
        monkeypatch.setattr(os, "write", some)
        for _ in range(30):
            f.write(ROWS[:1])
    monkeypatch.undo()
    with report_file(tmp_path / "r.csv", resume=True) as file:
        assert len(file.kept) >= 5
        file.write(ROWS[1:])
    assert paths(tmp_path / "r.csv")[-2:] == ["b.jpg", "c.jpg"]
    assert set(paths(tmp_path / "r.csv")[:-2]) == {"a.jpg"}


def test_streams_flush_each_batch_unless_rows_are_sorted() -> None:
    came: list[bytes] = []
    form = CsvFormat()
    plain = StreamSink(came.append, lambda row: form.line(row).encode(), Arrangement(("ai", "real")), form.header())
    plain.write(ROWS)
    assert [line.split(",")[0] for line in b"".join(came).decode().splitlines()] == ["path", "a.jpg", "b.jpg"]
    came.clear()
    names = StreamSink(came.append, name_line, Arrangement(sort="p_ai"))
    names.write([*ROWS, Verdict(os.fsdecode(b"\xff"), "ai", score=9.0)])
    assert b"".join(came) == b""
    names.finish()
    assert b"".join(came) == b"\xff\0b.jpg\0a.jpg\0c.jpg\0"


def drawn(rows: list[Verdict], width: int = 80) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width)
    console.print(verdict_table(rows, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_shows_what_is_there_and_obeys_no_name() -> None:
    rows = [
        Verdict("x/a[/b].jpg", "ai", p_ai=0.75, score=1.0, generator="sd[xl]"),
        Verdict("x/beach [edited].png", "real", p_ai=0.25, score=-1.0),
        Verdict("x/\x1b[31m\n.png", "unreadable", error="truncated PNG"),
    ]
    text = drawn(rows)
    assert text.startswith(f"in x{os.sep}")
    for shown in ("a[/b].jpg", "beach [edited].png", "\\x1b[31m\\n.png", "sd[xl]", "0.750", "truncated PNG"):
        assert shown in text
    assert "\x1b" not in text
    lean = drawn([Verdict("a.png", "real", p_ai=0.2, score=0.0)])
    assert "generator" not in lean and "note" not in lean and "in " not in lean
    assert "p_ai" not in drawn([Verdict("a.png", "unreadable", error="empty file")])


@pytest.mark.parametrize("width", [60, 80, 132])
def test_the_table_fits(width: int) -> None:
    rows = [
        Verdict("f/" + "very long " * 20 + "7.jpg", "unreadable", error="damaged JPEG: " + "word " * 30),
        Verdict("f/" + "日本語" * 30 + ".jpg", "ai", p_ai=1.0, score=3.0, generator="stable-diffusion-xl-turbo-1.0"),
    ]
    text = drawn(rows, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "7.jpg" in text and "….jpg" not in text


def test_shortening_keeps_both_ends() -> None:
    assert shorten("short", 10) == "short"
    assert shorten("0123456789abcdef", 10) == "012…abcdef"
    assert cell_len(shorten("日本語" * 9, 10)) <= 10
    assert common_folder(["a/b/c.jpg", "a/d.jpg"]) == os.path.join("a", "")
    assert common_folder(["/x/a.jpg", "b.jpg"]) == common_folder(["a.jpg"]) == common_folder([]) == ""


def test_the_screen_keeps_the_most_suspicious() -> None:
    sink = ScreenSink(Arrangement(sort="p_ai"), most=3)
    for i in range(100):
        sink.write([Verdict(f"{i}.jpg", "ai", score=float(i))])
    assert [row.path for row in sink.rows()] == ["99.jpg", "98.jpg", "97.jpg"]
    assert sink.left_out == 97
