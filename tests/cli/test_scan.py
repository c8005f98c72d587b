"""``fit`` and ``scan`` as a user runs them, in a subprocess: every report is parsed with a plain CSV reader."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bad_files import BadFiles, photo
from cli_calls import call
from PIL import ImageFilter

from aigiscan.detector.verdict import REPORT_COLUMNS
from aigiscan.text import printable


def run(*args: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([sys.executable, "-m", "aigiscan", *map(str, args)], capture_output=True, **options)
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done


def rows_of(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode("utf-8"), newline="")))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs are noisy, generated pictures are smooth: two sources and two generators of 15 pictures each."""
    root = tmp_path_factory.mktemp("labelled")
    for number, (name, kind) in enumerate(
        [("cam1", "0_real"), ("cam2", "0_real"), ("gan", "1_fake"), ("sd", "1_fake")]
    ):
        folder = root / name / kind
        folder.mkdir(parents=True)
        for i in range(15):
            image = photo(64, 64, seed=100 * number + i)
            if kind == "1_fake":
                image = image.filter(ImageFilter.GaussianBlur(1.5))
            image.save(folder / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def detector(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectors") / "spam"
    done = run("fit", labelled, "-o", folder, "--encoder", "spam", "--max-fpr", "0.1", "--max-miss", "0.1")
    assert b"AUC" in done.stderr
    return folder


def test_finds_the_planted_difference_and_writes_the_documented_columns(labelled: Path, detector: Path) -> None:
    done = run("scan", labelled, "--detector", detector)
    assert done.stdout.splitlines()[0].decode() == ",".join(REPORT_COLUMNS)
    assert ",".join(REPORT_COLUMNS) == (
        "path,verdict,p_ai,score,p_value,generator,provenance,width,height,format,bytes,sha256,error"
    )
    rows = rows_of(done.stdout)
    assert [r["path"] for r in rows] == sorted(r["path"] for r in rows)
    assert len(rows) == 60
    fake = np.array(["1_fake" in r["path"] for r in rows])
    score = np.array([float(r["score"]) for r in rows])
    assert score[fake].min() > score[~fake].max()
    assert {r["verdict"] for r, f in zip(rows, fake, strict=True) if not f} <= {"real", "uncertain"}
    assert sum(r["verdict"] == "ai" for r in rows) >= 20


def test_every_bad_file_is_a_row_with_a_reason_and_no_score(bad_files: BadFiles, detector: Path) -> None:
    done = run("scan", bad_files.folder, "-d", detector)
    rows = {row["path"]: row for row in rows_of(done.stdout)}
    assert set(rows) == {printable(path) for path in bad_files.expected}
    for path, reason in bad_files.expected.items():
        row = rows[printable(path)]
        if reason:
            assert row["verdict"] == "unreadable" and reason in row["error"], row
            assert row["score"] == row["p_ai"] == row["p_value"] == ""
        else:
            assert row["verdict"] in ("ai", "real", "uncertain") and row["error"] == "", row
            assert np.isfinite(float(row["score"]))
            assert len(row["sha256"]) == 64


def test_same_bytes_again_and_the_same_scores_for_any_batch_and_worker_count(labelled: Path, detector: Path) -> None:
    first = run("scan", labelled, "-d", detector).stdout
    assert run("scan", labelled, "-d", detector).stdout == first
    other = rows_of(run("scan", labelled, "-d", detector, "--batch-size", 7, "--workers", 3).stdout)
    alone = rows_of(run("scan", labelled, "-d", detector, "--batch-size", 1, "--workers", 0).stdout)
    for a, b, c in zip(rows_of(first), other, alone, strict=True):
        assert a["verdict"] == b["verdict"] == c["verdict"]
        assert float(a["score"]) == pytest.approx(float(b["score"]), abs=1e-3)
        assert float(a["score"]) == pytest.approx(float(c["score"]), abs=1e-3)


def test_list_on_standard_input_json_lines_and_several_paths(labelled: Path, detector: Path) -> None:
    names = sorted(str(p) for p in labelled.rglob("0[0-3].png"))
    listed = run("scan", "-", "-d", detector, "--format", "jsonl", input="\n".join(names).encode())
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["path"] for row in rows] == names
    assert list(rows[0]) == [*REPORT_COLUMNS, "claims"]
    given = rows_of(run("scan", names[3], names[0], "-d", detector).stdout)
    assert [row["path"] for row in given] == [names[0], names[3]]
    assert float(given[0]["score"]) == rows[0]["score"]


def test_store_cache_and_python_give_the_same_scores(labelled: Path, detector: Path, tmp_path: Path) -> None:
    from aigiscan import Detector

    plain = rows_of(run("scan", labelled, "-d", detector).stdout)
    run("embed", labelled, "-o", tmp_path / "s.h5", "--encoder", "spam")
    stored = rows_of(run("scan", tmp_path / "s.h5", "-d", detector).stdout)
    cached = [rows_of(run("scan", labelled, "-d", detector, "--cache", tmp_path / "cache.h5").stdout) for _ in range(2)]
    assert plain == stored == cached[0] == cached[1]
    python = list(Detector.load(detector).scan(labelled))
    assert [row.path for row in python] == [row["path"] for row in plain]
    assert [row.score for row in python] == pytest.approx([float(row["score"]) for row in plain], abs=1e-3)


def test_fit_from_a_store_equals_fit_from_the_folder(labelled: Path, detector: Path, tmp_path: Path) -> None:
    run("embed", labelled, "-o", tmp_path / "s.h5", "--encoder", "spam")
    run("fit", tmp_path / "s.h5", "-o", tmp_path / "d", "--max-fpr", "0.1", "--max-miss", "0.1")
    assert run("scan", labelled, "-d", tmp_path / "d").stdout == run("scan", labelled, "-d", detector).stdout


def test_report_file_is_complete_or_resumable(labelled: Path, detector: Path, tmp_path: Path) -> None:
    whole = call("scan", labelled, "-d", detector).stdout_bytes
    report = tmp_path / "out" / "report.csv"
    call("scan", labelled, "-d", detector, "-o", report)
    assert report.read_bytes() == whole
    meta = json.loads(report.with_name("report.csv.meta.json").read_text())
    assert meta["detector"]["weights_sha256"] in (detector / "card.yaml").read_text()
    assert meta["detector"]["promise"]["max_fpr"] == 0.1 and meta["rows"] == 60
    report.rename(report.with_name("report.csv.part"))
    with report.with_name("report.csv.part").open("r+b") as part:
        part.truncate(len(whole) // 2)  # in the middle of a row
    report.with_name("report.csv.meta.json").rename(report.with_name("report.csv.part.meta.json"))
    call("scan", labelled, "-d", detector, "-o", report, refused="--resume")
    call("scan", labelled, "-d", "builtin", "-o", report, "--resume", refused="its detector was spam")
    call("scan", labelled, "-d", detector, "-o", report, "--resume")
    assert report.read_bytes() == whole
    assert sorted(p.name for p in report.parent.iterdir()) == ["report.csv", "report.csv.meta.json"]


def test_new_pictures_are_added_to_a_complete_report(labelled: Path, detector: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    call("scan", labelled / "cam1", "-d", detector, "-o", report)
    before = report.read_bytes()
    done = call("scan", labelled / "cam1", labelled / "gan", "-d", detector, "-o", report, "--resume")
    assert b"15 rows are already there, 15 are to come" in done.stderr_bytes
    assert report.read_bytes().startswith(before)
    rows = [json.loads(line) for line in report.read_bytes().splitlines()]
    assert len({row["path"] for row in rows}) == 30
    call("scan", labelled / "cam1", "-d", detector, "-o", report, "--resume", "--fail-on", "ai", code=1)
    assert len(report.read_bytes().splitlines()) == 30
    some = call("scan", labelled / "cam1", "-d", detector, "-o", report, "--resume")
    assert "30 rows are already there, 0 are to come" in some.stderr, "some of which are not looked at now"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_stopped_at_any_moment_is_resumed_to_the_same_bytes(
    number: int, code: int, detector: Path, tmp_path: Path
) -> None:
    for i in range(30):
        photo(400, 300, seed=i).save(tmp_path / f"{i:02d}.jpg")
    (tmp_path / "05.jpg").write_bytes(b"no picture")
    command = ["scan", *sorted(tmp_path.iterdir()), "-d", detector, "--batch-size", 8, "--workers", 0]
    report, part = tmp_path / "r.csv", tmp_path / "r.csv.part"
    process = subprocess.Popen(
        [sys.executable, "-m", "aigiscan", *map(str, command), "-o", str(report)],
        stderr=subprocess.PIPE,
        # a shell that runs the tests in the background lets its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > 1):
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert b"Traceback" not in errors
    assert not report.exists()
    assert all(row["verdict"] for row in rows_of(part.read_bytes()))
    call(*command, "-o", report, "--resume")
    call(*command, "-o", tmp_path / "whole.csv")
    assert report.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def shell(command: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], capture_output=True, **more)


@pytest.mark.parametrize(
    ("redirect", "words"),
    [
        (">&-", b"cannot write to standard output: it is closed"),
        ("> /dev/full", b"cannot write to standard output: the disk is full"),
        ("-o /dev/full", b"cannot write /dev/full: the disk is full"),
        ("-o {folder}", b"it is a folder"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line_before_any_work(
    redirect: str, words: bytes, labelled: Path, detector: Path
) -> None:
    done = shell(f"{sys.executable} -m aigiscan scan {labelled} -d {detector} {redirect.format(folder=labelled)}")
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.count(b"\n") == 1 and words in done.stderr, done.stderr


def test_closed_streams_spoil_nothing(labelled: Path, detector: Path, tmp_path: Path) -> None:
    scan = f"{sys.executable} -m aigiscan scan {labelled / 'gan'}"
    done = shell(f"{scan} -d {detector} -o {tmp_path / 'r.csv'} 0<&- 1>&- 2>&-")
    assert done.returncode == 0
    assert len(rows_of((tmp_path / "r.csv").read_bytes())) == 15
    noted = shell(f"{scan} -d {detector} --table 2>&-")  # a table that nobody is to read
    assert [row["format"] for row in rows_of(noted.stdout)] == ["PNG"] * 15
    listed = shell(f"{sys.executable} -m aigiscan scan - -d {detector} <&-")
    assert listed.returncode == 2 and listed.stderr.count(b"\n") == 1, listed.stderr


def test_a_fifo_stays_one_and_gets_the_report(labelled: Path, detector: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    scan = f"{sys.executable} -m aigiscan scan {labelled / 'gan'} -d {detector} -o {tmp_path / 'fifo'}"
    done = shell(f"cat {tmp_path / 'fifo'} & {scan}; wait")
    assert len(rows_of(done.stdout)) == 15 and (tmp_path / "fifo").is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["fifo"]


def test_names_for_xargs_and_rows_of_some_verdicts(labelled: Path, detector: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"x")
    odd = tmp_path / os.fsdecode(b"\xff\n[") / "b].png"
    odd.parent.mkdir()
    os.link(labelled / "gan" / "1_fake" / "03.png", odd)
    names = call("scan", tmp_path, "-d", detector, "--only", "ai,unreadable,real,uncertain", "--print0").stdout_bytes
    assert set(names.split(b"\0")) == {os.fsencode(odd), os.fsencode(tmp_path / "broken.jpg"), b""}
    done = call("scan", tmp_path, "-d", detector, "--only", "unreadable", "--sort", "p_ai", "--table")
    assert [row["path"] for row in rows_of(done.stdout_bytes)] == [str(tmp_path / "broken.jpg")]
    assert b"broken.jpg" in done.stderr_bytes and b"[/b]" not in done.stderr_bytes


def test_head_closes_the_pipe_without_a_complaint(labelled: Path, detector: Path) -> None:
    command = f"{sys.executable} -m aigiscan scan {labelled} -d {detector} --batch-size 2 | head -2"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr


def test_standard_error_is_quiet_without_a_terminal(labelled: Path, detector: Path) -> None:
    assert run("scan", labelled / "gan", "-d", detector, "--device", "cpu").stderr == b""


def test_a_nightly_run_has_one_line_in_its_log(labelled: Path, detector: Path, tmp_path: Path) -> None:
    given = ("scan", labelled / "gan", "-d", detector, "--device", "cpu", "-o", tmp_path / "r.csv")
    (line,) = run(*given).stderr.decode().splitlines()
    counts = line.removeprefix("aigiscan: ").partition(";")[0]
    assert counts.endswith(" 0 unreadable") and counts.partition(" images: ")[0] == str(
        len((tmp_path / "r.csv").read_text().splitlines()) - 1
    )
    assert run(*given, "--quiet").stderr == b""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "nowhere"),
        (["{folder}", "--detector", "no-such-detector"], "no-such-detector"),
        (["{folder}", "--format", "xml"], "csv or jsonl"),
        (["{folder}", "--fail-on", "maybe"], "maybe"),
        (["{folder}", "--resume"], "-o FILE"),
        (["{folder}", "--only", "ai,maybe"], "maybe"),
        (["{folder}", "--sort", "size"], "path or p_ai"),
        (["{empty}"], "no image"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    args: list[str], message: str, labelled: Path, detector: Path, tmp_path: Path
) -> None:
    given = [a.format(folder=labelled, empty=tmp_path) for a in args]
    extra = [] if "--detector" in given else ["-d", detector]
    done = run("scan", *given, *extra, check=False)
    lines = done.stderr.decode().strip().splitlines()
    assert done.returncode == 2
    assert len(lines) == 1 and lines[0].startswith("aigiscan: error:") and message in lines[0]
    assert done.stdout == b""


def test_fail_on_exits_with_1_and_still_writes_the_report(labelled: Path, detector: Path) -> None:
    done = run("scan", labelled / "gan", "-d", detector, "--fail-on", "ai", check=False)
    assert done.returncode == 1
    assert len(rows_of(done.stdout)) == 15


def test_fit_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    photo().save(tmp_path / "pictures" / "a.png")
    done = run("fit", tmp_path / "pictures", "-o", tmp_path / "d", check=False)
    assert done.returncode == 2 and b"0_real" in done.stderr
    assert not (tmp_path / "d").exists()


def test_formulas_keep_their_brackets() -> None:
    done = call("detectors", "classifiers")
    assert "[" in done.stderr, "Rich takes [..] for markup"


@pytest.mark.parametrize(
    "command",
    [
        "fit {0}",
        "fit --calibrate-on {0} builtin",
        "select-heads {0} --train a --validate b",
        "select-features {0} --pair a,b",
    ],
)
def test_every_output_is_tried_before_the_work(command: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    taken = tmp_path if command.startswith("select") else tmp_path / "mine.txt"
    call(*command.format(tmp_path / "no-such-input").split(), "-o", taken, refused=str(taken))
    assert (tmp_path / "mine.txt").read_text() == "mine"
