"""Outputs: whole or not at all, through links, straight into what is no file; refusals in words; names made plain."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigiscan.errors import InputError
from aigiscan.files import check_file, file_sha256, locked, make_folder, reason, uninterrupted, write_csv, write_file
from aigiscan.text import csv_line, json_text, printable, visible


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = write_file(tmp_path / "deep" / "x", "old")

    def full() -> Iterator[str]:
        yield "new"
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="the disk is full; choose another -o"):
        write_file(target, full())
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["x"]


def test_a_link_stays_a_link_and_modes_stay(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "new").symlink_to("not-yet")
    write_file(tmp_path / "link", "1")
    write_file(tmp_path / "new", "2")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "1"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "new").is_symlink() and (tmp_path / "not-yet").read_text() == "2"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    came: list[str] = []
    reader = threading.Thread(target=lambda: came.append(fifo.read_text()), daemon=True)
    reader.start()
    check_file(fifo)  # must not open it: the reader would see its end
    write_file(fifo, "rows\n")
    reader.join(5)
    assert came == ["rows\n"] and fifo.is_fifo()


def test_standard_output_by_name_is_added_to(tmp_path: Path) -> None:
    code = "from pathlib import Path; from aigiscan.files import write_file; write_file(Path('/dev/stdout'), 'b\\n')"
    place = tmp_path / "out"
    place.write_text("a\n")
    with place.open("ab") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert place.read_text() == "a\nb\n"


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"):
        check_file(tmp_path)
    (tmp_path / "file").write_text("mine")
    for wrong in (tmp_path / "file" / "x", tmp_path / "file"):
        with pytest.raises(InputError, match="cannot write"):
            make_folder(wrong)
    with pytest.raises(InputError, match="cannot write"):
        check_file(Path("/proc/nowhere/x"))
    check_file(tmp_path / "file")
    check_file(tmp_path / "made" / "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "made"]


@pytest.mark.parametrize(("number", "words"), [(13, "permission denied"), (28, "disk is full"), (21, "is a folder")])
def test_refusals_in_words(number: int, words: str) -> None:
    assert words in reason(OSError(number, os.strerror(number), "/secret/name"))
    assert "/secret/name" not in reason(OSError(number, os.strerror(number), "/secret/name"))


def test_sha256_of_more_than_a_block(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "x").write_bytes(data)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_a_lock_is_refused_to_another_process_and_given_back(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from aigiscan.files import locked; from aigiscan.errors import InputError\n"
        "with locked(Path(sys.argv[1]), InputError('busy')): print('got it')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.lock")]
    with locked(tmp_path / "x.lock", InputError("busy")):
        assert b"InputError: busy" in subprocess.run(command, capture_output=True).stderr
    assert subprocess.run(command, capture_output=True).stdout == b"got it\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_an_interruption_waits_for_the_end_of_the_block() -> None:
    done = []
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("whole")
        assert done == ["whole"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, former)


def test_names_are_made_plain() -> None:
    assert printable(os.fsdecode(b"a\xff.jpg")) == "a\\xff.jpg"
    assert printable("Küche 日\n.jpg") == "Küche 日\n.jpg"
    assert printable("\ud800") == "\\ud800"
    assert visible("a\x1b[31m\r\n\u202egpj.exe ü") == "a\\x1b[31m\\r\\n\\u202egpj.exe ü"


@given(st.lists(st.text() | st.binary().map(os.fsdecode) | st.none() | st.integers(), min_size=2, max_size=4))
def test_cells_come_back_from_a_plain_reader(cells: list) -> None:
    line = csv_line(cells).encode("utf-8").decode("utf-8")
    (back,) = csv.reader(io.StringIO(line, newline=""))
    assert back == ["" if c is None else printable(str(c)) for c in cells]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_formulas_are_disarmed_when_asked(text: str) -> None:
    assert csv_line([text, -1.5]) == f"{text},-1.5\n"
    assert csv_line([text, -1.5], excel_safe=True) == f"'{text},-1.5\n"


def test_values_become_json(tmp_path: Path) -> None:
    data = {"a": np.float32(0.5), "b": np.array([[1, 2]]), "c": float("nan"), "p": Path("x"), "n": os.fsdecode(b"\xff")}
    expected = {"a": 0.5, "b": [[1, 2]], "c": None, "p": "x", "n": "\\xff"}
    assert json.loads(json_text(data)) == expected
    table = write_csv(tmp_path / "t.csv", ["a", "b"], [(float("nan"), 'x "y"'), (1, None)])
    assert table.read_text() == 'a,b\n,"x ""y"""\n1,\n'
