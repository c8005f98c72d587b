"""Decoders that hang or crash: their file is a row, the others are judged, and nothing stays behind."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, photo
from fake_encoder import FakeEncoder

from aigiscan.errors import InputError
from aigiscan.images import isolate
from aigiscan.images.decode import decode
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run

#: a decoder with the faults that names ask for
FAULTY = """
import os, sys, time
from aigiscan.images import isolate
real = isolate.decode
def decode(record, **options):
    if "crash" in os.path.basename(record.path):
        os.kill(os.getpid(), 11)
    if "hang" in os.path.basename(record.path):
        time.sleep(600)
    if "print" in os.path.basename(record.path):
        os.write(1, b"a library says something" * 9)
    return real(record, **options)
isolate.decode = decode
isolate.serve()
"""


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "COMMAND", [sys.executable, "-c", FAULTY])


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = ["a.jpg", "b-crash.jpg", "c.png", "d-hang.jpg", "e-print.jpg", "f.jpg", "g-crash.png", "h.jpg"]
    for i, name in enumerate(names):
        kind = "PNG" if name.endswith("png") else "JPEG"
        (tmp_path / name).write_bytes(encoded(photo(seed=i), kind))
    return [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("faulty")
def test_a_hanging_or_crashing_decoder_costs_its_row(files: list[str], workers: int) -> None:
    started = threading.active_count()
    records = [*(ImageRecord(path) for path in files), ImageRecord("gone.jpg"), ImageRecord("x", error="as listed")]
    rows = list(run(records, FakeEncoder(), isolate=3.0, workers=workers))
    assert [row.record for row in rows] == records
    errors = {Path(row.record.path).name: row.error for row in rows if row.error}
    assert errors == {
        "b-crash.jpg": "the decoder crashed (SIGSEGV)",
        "g-crash.png": "the decoder crashed (SIGSEGV)",
        "d-hang.jpg": "decoding took more than 3 s",
        "gone.jpg": "no such file",
        "x": "as listed",
    }
    plain = {row.record.path: row for row in run([ImageRecord(path) for path in files], FakeEncoder())}
    for row in rows[: len(files)]:
        assert row.facts.sha256 == plain[row.record.path].facts.sha256  # also of what nobody could open
        if row.channels is not None:
            np.testing.assert_array_equal(row.channels["embedding"], plain[row.record.path].channels["embedding"])
            assert row.facts == plain[row.record.path].facts
    assert threading.active_count() == started


def test_answers_are_those_of_decode(bad_files) -> None:  # type: ignore[no-untyped-def]
    with isolate.IsolatedDecoder(60) as apart:
        for path in bad_files.expected:
            here, there = decode(ImageRecord(path), least_side=16), apart.decode(ImageRecord(path), least_side=16)
            assert (here.facts, here.error) == (there.facts, there.error)
            assert (here.pixels and here.pixels.tobytes()) == (there.pixels and there.pixels.tobytes())
        assert len(apart._all) == 1
        process = next(iter(apart._all))._process
    assert process.poll() is not None


@pytest.mark.usefixtures("faulty")
def test_leaving_does_not_wait_for_a_hanging_decoder(files: list[str]) -> None:
    rows = run(
        [ImageRecord(files[0]), *[ImageRecord(files[3])] * 4], FakeEncoder(), isolate=500.0, batch_size=1, workers=2
    )
    next(rows)
    start = time.monotonic()
    rows.close()
    assert time.monotonic() - start < 60


def test_a_process_that_cannot_start_is_one_line(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "COMMAND", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(InputError, match="--isolate cannot be started"):
        list(run([ImageRecord(files[0])], FakeEncoder(), isolate=5.0))
