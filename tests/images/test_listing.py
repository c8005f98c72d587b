"""Listings: in order, each path once, and no memory for long ones."""

from __future__ import annotations

import os
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from aigiscan.errors import InputError
from aigiscan.images import listing
from aigiscan.images.find import find_images
from aigiscan.images.listing import Listing, one_of_each
from aigiscan.images.records import ImageRecord


@pytest.fixture(params=[4096, 5], ids=["in memory", "on disk"])
def run_length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(listing, "RUN", request.param)
    monkeypatch.setattr(listing, "BLOCK", 2)
    return int(request.param)


def shuffled(names: list[str]) -> list[ImageRecord]:
    records = [ImageRecord(name, label=i % 2, caption=f'"{name}"\n', generator="gän") for i, name in enumerate(names)]
    random.Random(0).shuffle(records)
    return records


def test_records_come_back_whole_in_the_order_of_bytes(run_length: int) -> None:
    names = [f"{a}{b}.png" for a in ("a", "B", "é", os.fsdecode(b"\xff\xfe"), "a/", "a-") for b in range(7)]
    found = Listing(shuffled(names))
    expected = sorted(shuffled(names), key=lambda record: os.fsencode(record.path))
    assert len(found) == 42 and list(found) == expected
    first = iter(found)  # two readers at once
    next(first)
    assert list(found) == expected and list(first) == expected[1:]
    assert not Listing([])


def test_of_equal_places_the_first_or_the_last_counts(run_length: int) -> None:
    records = [ImageRecord(name, group=str(i)) for i, name in enumerate(["b", "./a", "a", "c", "b", "x/../a"] * 3)]
    assert [(r.path, r.group) for r in one_of_each(records)] == [("./a", "1"), ("b", "0"), ("c", "3")]
    last = [(r.path, r.group) for r in one_of_each(records, str, last=True)]
    assert last == [("./a", "13"), ("a", "14"), ("b", "16"), ("c", "15"), ("x/../a", "17")]


def test_without_a_place_for_temporary_files(run_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise FileNotFoundError(2, "No usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert [r.path for r in Listing(shuffled(list("cdebafg")))] == list("abcdefg")


def test_a_full_place_for_temporary_files_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "RUN", 5)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(InputError, match="set TMPDIR"):
        Listing(shuffled([f"{i}" for i in range(20_000)]))


def test_memory_does_not_grow_with_the_number() -> None:
    def peak(n: int) -> int:
        def records() -> Iterator[ImageRecord]:
            for i in range(n):
                yield ImageRecord(f"/some/folder/with/a/name/{i * 7919 % n:08d}.jpg")

        tracemalloc.start()
        count = sum(1 for _ in Listing(records()))
        assert count == n
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(5000)
    assert peak(40_000) < 1.5 * peak(5000)


def test_a_long_list_on_standard_input(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{i:06d}.jpg") for i in range(30_000)]  # more than is read at once
    for separator in ("\n", "\0"):
        with tempfile.TemporaryFile() as file:
            file.write(separator.join(reversed(names)).encode())
            file.seek(0)
            assert [r.path for r in find_images(["-"], stdin=file)] == names
