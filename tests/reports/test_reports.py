"""Reports: whatever the file names are, a CSV reader and a JSON reader get them back; a cut report is continued."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigiscan.detector.verdict import REPORT_COLUMNS, VERDICTS, Verdict
from aigiscan.errors import InputError
from aigiscan.reports.files import finished_rows, open_report, part_path
from aigiscan.reports.writers import REPORT_FORMATS, CsvFormat, JsonLinesFormat
from aigiscan.text import printable

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


@given(st.lists(verdicts, max_size=5))
def test_csv_comes_back(rows: list[Verdict]) -> None:
    text = CsvFormat.header() + "".join(CsvFormat.line(row) for row in rows)
    back = read_csv(text.encode("utf-8").decode("utf-8"))
    assert [r["path"] for r in back] == [printable(row.path) for row in rows]
    assert [r["provenance"] for r in back] == [row.provenance for row in rows]
    for row, values in zip(rows, back, strict=True):
        assert list(values) == list(REPORT_COLUMNS)
        assert (
            values["score"] == "" if row.score is None else float(values["score"]) == pytest.approx(row.score, abs=1e-4)
        )


@given(verdicts)
def test_json_lines_come_back(row: Verdict) -> None:
    line = JsonLinesFormat.line(row)
    assert line.endswith("\n") and "\n" not in line[:-1]
    values = json.loads(line)
    assert list(values) == list(REPORT_COLUMNS)
    assert values["path"] == printable(row.path)


def test_undecodable_names_are_escaped_and_others_left_alone() -> None:
    assert printable(os.fsdecode(b"a\xff.jpg")) == "a\\xff.jpg"
    assert printable("Küche 日.jpg") == "Küche 日.jpg"


def test_sizes_that_are_unknown_are_empty_but_an_empty_file_has_0_bytes() -> None:
    (values,) = read_csv(CsvFormat.header() + CsvFormat.line(Verdict("a", "unreadable", error="empty file")))
    assert values["width"] == values["height"] == "" and values["bytes"] == "0"


@pytest.mark.parametrize("kind", sorted(REPORT_FORMATS))
@given(data=st.data())
def test_any_cut_leaves_whole_rows(kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = data.draw(st.lists(verdicts, min_size=1, max_size=4))
    lines = [REPORT_FORMATS[kind].line(row).encode() for row in rows]
    header = REPORT_FORMATS[kind].header().encode()
    whole = header + b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    report = tmp_path_factory.mktemp("cut") / "r"
    part_path(report).write_bytes(whole[:cut])
    found, length = finished_rows(report, kind)
    expected = 0
    while expected < len(rows) and len(header) + sum(map(len, lines[: expected + 1])) <= cut:
        expected += 1
    assert found == [printable(row.path) for row in rows[:expected]]
    assert length == (len(header) + sum(map(len, lines[:expected])) if cut >= len(header) else 0)


def test_report_appears_at_once_and_keeps_rows_of_a_failed_run(tmp_path: Path) -> None:
    report = tmp_path / "new" / "r.csv"
    row = Verdict("a.jpg", "real")
    with pytest.raises(KeyboardInterrupt), open_report(report, "csv") as handle:
        handle.write(CsvFormat.line(row))
        raise KeyboardInterrupt
    assert not report.exists()
    names, kept = finished_rows(report, "csv")
    assert names == ["a.jpg"]
    with open_report(report, "csv", keep_bytes=kept) as handle:
        handle.write(CsvFormat.line(Verdict("b.jpg", "ai")))
        assert not report.exists()
    assert [r["path"] for r in read_csv(report.read_text())] == ["a.jpg", "b.jpg"]
    assert not part_path(report).exists()


def test_a_foreign_file_is_not_continued(tmp_path: Path) -> None:
    part_path(tmp_path / "r.csv").write_text("my,own,table\n")
    with pytest.raises(InputError, match="not an unfinished report"):
        finished_rows(tmp_path / "r.csv", "csv")
    with pytest.raises(InputError, match="cannot write"), open_report(Path("/proc/nowhere/r.csv"), "csv"):
        pass
