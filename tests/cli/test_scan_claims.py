"""``scan``: claims beside verdicts, and alone."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from cli_calls import call

sys.path.insert(0, str(Path(__file__).parents[1] / "provenance"))

from cases import WEB_UI
from files import exif, png, saved

from aigiscan.detector.verdict import REPORT_COLUMNS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    (made / "ai.png").write_bytes(png({"parameters": WEB_UI}))
    (made / "photo.jpg").write_bytes(saved("JPEG", exif=exif({0x0110: "Canon EOS 5D"}, {0xA431: "SN-77"})))
    (made / "empty.jpg").write_bytes(b"")
    return made


def json_rows(text: str) -> dict[str, dict]:
    rows = [json.loads(line) for line in text.splitlines()]
    return {Path(row["path"]).name: row for row in rows}


def test_claims_alone_need_no_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aigiscan.detector.detector import Detector

    monkeypatch.setattr(Detector, "load", lambda *_: pytest.fail("a model was loaded"))
    done = call("scan", folder, "--provenance-only")
    assert done.stdout.splitlines()[0] == ",".join(REPORT_COLUMNS)
    rows = {Path(r["path"]).name: r for r in csv.DictReader(io.StringIO(done.stdout))}
    assert rows["ai.png"]["verdict"] == rows["photo.jpg"]["verdict"] == "unjudged"
    assert rows["empty.jpg"]["verdict"] == "unreadable"
    assert rows["ai.png"]["provenance"].startswith("claims generator: Stable Diffusion web UI, model dreamshaper_8")
    assert rows["ai.png"]["score"] == rows["ai.png"]["p_ai"] == rows["ai.png"]["sha256"] == ""
    assert (rows["ai.png"]["width"], rows["ai.png"]["format"]) == ("48", "PNG")
    hashed = call("scan", folder, "--provenance-only", "--hash", "--format", "jsonl")
    assert len(json_rows(hashed.stdout)["ai.png"]["sha256"]) == 64


def test_json_lines_carry_claims_with_and_without_a_model(folder: Path) -> None:
    alone = json_rows(call("scan", folder, "--provenance-only", "--format", "jsonl").stdout)
    judged = json_rows(call("scan", folder, "--format", "jsonl").stdout)
    isolated = json_rows(call("scan", folder, "--format", "jsonl", "--isolate").stdout)
    deep = json_rows(call("scan", folder, "--provenance-only", "--deep", "--format", "jsonl").stdout)
    for rows in (alone, judged, isolated, deep):
        (claim,) = rows["ai.png"]["claims"]
        assert (claim["kind"], claim["where"], claim["verified"], claim["ai"]) == (
            "generator",
            "PNG text parameters",
            None,
            True,
        )
        assert [c["kind"] for c in rows["photo.jpg"]["claims"]] == ["camera"]
        assert rows["empty.jpg"]["claims"] == []
    assert judged["ai.png"]["score"] is not None
    assert {k: v for k, v in judged["ai.png"].items() if k != "claims"} == {
        k: v for k, v in isolated["ai.png"].items() if k != "claims"
    }


def test_claims_never_move_a_score(folder: Path) -> None:
    (folder / "same.png").write_bytes(saved("PNG"))
    rows = json_rows(call("scan", folder, "--format", "jsonl").stdout)
    told, silent = rows["ai.png"], rows["same.png"]
    assert (told["score"], told["verdict"], told["p_value"]) == (silent["score"], silent["verdict"], silent["p_value"])


def test_a_cache_keeps_claims(folder: Path, tmp_path: Path) -> None:
    first, again = (call("scan", folder, "--format", "jsonl", "--cache", tmp_path / "c").stdout for _ in range(2))
    assert first == again
    assert json_rows(again)["ai.png"]["claims"][0]["kind"] == "generator"


def test_fail_on_claims_ai(folder: Path) -> None:
    from typer.testing import CliRunner

    from aigiscan.cli.app import app

    def code(*arguments: object) -> int:
        return CliRunner().invoke(app, [str(a) for a in arguments]).exit_code

    assert code("scan", folder, "--provenance-only", "--fail-on", "claims-ai") == 1
    assert code("scan", folder / "photo.jpg", "--provenance-only", "--fail-on", "claims-ai") == 0

    report = folder.parent / "report.csv"  # rows that a report had already count as well
    for _ in range(2):
        asked = ("scan", folder, "--provenance-only", "--fail-on", "claims-ai", "-o", report, "--resume")
        assert code(*asked) == 1
    assert code("scan", folder, "--provenance-only", "--fail-on", "ai") == 0


def test_personal_only_when_asked(folder: Path) -> None:
    assert "SN-77" not in call("scan", folder, "--provenance-only").stdout
    assert "serial number SN-77" in call("scan", folder, "--provenance-only", "--personal", "--format", "jsonl").stdout
    assert "SN-77" not in call("scan", folder, "--format", "jsonl").stdout


def test_options_that_do_not_go_together_are_refused(folder: Path) -> None:
    call("scan", folder, "--provenance-only", "--max-fpr", "0.05", refused="judges nothing")
    call("scan", folder, "--deep", refused="go with --provenance-only")
    call("scan", folder, "--provenance-only", "--c2pa-trust", folder / "none.pem", refused="cannot be read")


def test_a_report_of_claims_is_written_whole_and_resumed(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.csv"
    call("scan", folder, "--provenance-only", "-o", report)
    (folder / "new.png").write_bytes(png({"Software": "GIMP"}))
    call("scan", folder, "--provenance-only", "-o", report, "--resume")
    assert len(list(csv.DictReader(io.StringIO(report.read_text())))) == 4
    call("scan", folder, "-o", report, "--resume", refused="its detector was none, claims alone")
