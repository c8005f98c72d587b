"""What once lost rows: disks that are not there, names as typed, a store made anew, moved weights, other writers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli_calls import call
from fake_encoder import FakeEncoder
from PIL import Image
from store_helpers import HEADS, digest, embed, records_of, writer_of

from aigiscan.detector.stored import encoded_from_store
from aigiscan.embedding import EmbedSettings, encode_batches
from aigiscan.errors import StoreError
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run
from aigiscan.store import EmbeddingStore
from aigiscan.store import folder as folder_module
from aigiscan.store.table import TABLE_NAME

FORMS = pytest.mark.parametrize("name", ["s.h5", "folder"])


def encoded(path: Path) -> np.ndarray:
    """The fake encoder's embedding, computed from the file by another way."""
    return FakeEncoder().encode([FakeEncoder().prepare(Image.open(path))])["embedding"][0]


@FORMS
def test_an_unmounted_disk_takes_no_row_away(tmp_path, make_images, name):
    paths = make_images(10)
    records = records_of(paths, label=1, generator="g")
    embed(tmp_path / name, records)
    with EmbeddingStore(tmp_path / name) as store:
        before = store.read()
    (tmp_path / "images").rename(tmp_path / "unmounted")
    with writer_of(tmp_path / name, FakeEncoder(HEADS)) as writer:
        writer.append(list(run(records, FakeEncoder(HEADS))))
        assert writer.kept == 10
    with EmbeddingStore(tmp_path / name) as store:
        np.testing.assert_array_equal(store.read(), before)
        assert set(store.rows.generator) == {"g"} and store.failures == []


def test_only_new_bytes_make_a_failure_supersede_a_row(tmp_path, make_images):
    paths = make_images(3)
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
    call("embed", tmp_path / "list.txt", "-o", tmp_path / "s", "-e", "spam")
    told = call("embed", tmp_path / "list.txt", "-o", tmp_path / "s", "--no-resume", "--max-pixels", 10_000).stderr
    assert "3 images embedded" in told
    for path in paths:
        os.utime(path, ns=(1, 1))  # to be looked at again; the bytes are the old ones, and known
    assert "unreadable" not in call("embed", tmp_path / "list.txt", "-o", tmp_path / "s", "--max-pixels", 9).stderr
    paths[0].unlink()
    paths[1].write_bytes(b"these are new bytes")
    told = call("embed", tmp_path / "list.txt", "-o", tmp_path / "s").stderr
    assert "2 unreadable, 1 of them kept as they were stored" in told
    with EmbeddingStore(tmp_path / "s") as store:
        assert [Path(p).name for p in store.rows.path] == ["0000.png", "0002.png"]
        assert [Path(p).name for p, _ in store.failures] == ["0001.png"]


def test_one_file_is_one_row_from_wherever_it_is_given(tmp_path, make_images, monkeypatch):
    make_images(2, "here/x")
    monkeypatch.chdir(tmp_path / "here")
    embed(tmp_path / "s", records_of(["x/0000.png", "x/0001.png"]))
    monkeypatch.chdir(tmp_path)
    assert embed(tmp_path / "s", records_of(["here/x/0000.png"]), prune=True).batches == []
    with EmbeddingStore(tmp_path / "s") as store:
        assert store.rows.path.tolist() == ["x/0000.png", "x/0001.png"]  # as they were given
        assert store.rows.location.tolist() == [str(tmp_path / "here/x" / n) for n in ("0000.png", "0001.png")]


def test_the_same_name_size_and_time_in_another_folder_is_another_file(tmp_path, monkeypatch):
    for place, grey in (("a", 10), ("b", 200)):
        (tmp_path / place / "x").mkdir(parents=True)
        Image.new("RGB", (16, 16), (grey, grey, grey)).save(tmp_path / place / "x/1.bmp")
        os.utime(tmp_path / place / "x/1.bmp", ns=(5, 5))
    found = {}
    for place in ("a", "b", "a", "b"):
        monkeypatch.chdir(tmp_path / place)
        ((row,),) = encode_batches([ImageRecord("x/1.bmp")], FakeEncoder(HEADS), EmbedSettings(), tmp_path / "cache")
        assert row.record.path == "x/1.bmp" and row.facts.sha256 == digest(tmp_path / place / "x/1.bmp")
        assert found.setdefault(place, row.channels["embedding"][0]) == row.channels["embedding"][0]
    assert found == {"a": pytest.approx(10 / 255), "b": pytest.approx(200 / 255)}


@FORMS
def test_pruning_most_rows_asks_first(tmp_path, make_images, name):
    paths = make_images(5, size=40)
    call("embed", tmp_path / "images", "-o", tmp_path / name, "-e", "spam")
    for path in paths[:3]:
        path.rename(tmp_path / path.name)
    again = ("embed", tmp_path / "images", "-o", tmp_path / name, "--prune")
    call(*again, refused="--prune would drop 3 rows")
    with EmbeddingStore(tmp_path / name) as store:
        assert len(store) == 5 and not store.unfinished
    assert "3 dropped" in call(*again, "--yes").stderr
    with EmbeddingStore(tmp_path / name) as store:
        assert store.rows.path.tolist() == [str(p) for p in paths[3:]]


@FORMS
def test_the_old_store_stays_until_the_new_one_is_complete(tmp_path, make_images, name):
    records = records_of(make_images(8))
    embed(tmp_path / name, records)
    other = FakeEncoder(HEADS, name="other")

    def cut():
        yield from records[:6]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / name, cut(), other, resume=False, flush_seconds=0)
    with EmbeddingStore(tmp_path / name) as store:
        assert len(store) == 8 and store.fingerprint["name"] == "fake"
    assert embed(tmp_path / name, records).batches == []  # and it can be gone on with
    embed(tmp_path / name, records[:5], FakeEncoder(HEADS, name="other"), resume=False)
    with EmbeddingStore(tmp_path / name) as store:
        assert len(store) == 5 and store.fingerprint["name"] == "other" and store.read().shape == (5, 48)
    assert len(list((tmp_path / name).glob("*.h5")) if name == "folder" else [0]) == 1


class Moved(FakeEncoder):
    """The same weights, seen in another place."""

    def fingerprint(self):
        return {**super().fingerprint(), "name": f"ViT/{self.name}.pt", "weights": "ab" * 32}


@FORMS
def test_moved_weights_are_the_same_weights(tmp_path, make_images, name):
    paths = make_images(6)
    embed(tmp_path / name, records_of(paths[:3]), Moved(HEADS, name="here"))
    assert sum(embed(tmp_path / name, records_of(paths), Moved(HEADS, name="there")).batches) == 3
    (tmp_path / name / TABLE_NAME).unlink(missing_ok=True) if name == "folder" else None  # as an older version's folder
    with EmbeddingStore(tmp_path / name) as store:
        assert len(store) == 6 and store.fingerprint["name"] in ("ViT/here.pt", "ViT/there.pt")


def test_adding_one_picture_writes_one_row(tmp_path, make_images):
    paths = make_images(400, size=8)
    embed(tmp_path / "s", records_of(paths[:399]))
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").glob("*.h5")}
    embed(tmp_path / "s", records_of(paths))
    new = set((tmp_path / "s").glob("*.h5")) - set(parts)
    assert parts == {p: p.stat().st_mtime_ns for p in parts}
    assert len(new) == 1 and new.pop().stat().st_size < min(p.stat().st_size for p in parts)


@FORMS
def test_readers_never_fail_while_parts_are_merged_and_packed(tmp_path, make_images, name):
    """Some readers open again and again, others keep what they have and find it wherever it goes."""
    paths = make_images(40, size=8)
    records = records_of(paths)
    embed(tmp_path / name, records[:2])
    whole = {
        path: FakeEncoder().encode([FakeEncoder().prepare(Image.open(path))])["embedding"][0]
        for path in map(str, paths)
    }
    wrong, done, opened = [], threading.Event(), [0] * 10

    def look(number: int) -> None:
        kept = EmbeddingStore(tmp_path / name)
        while not done.is_set() or not opened[number]:
            try:
                fresh = EmbeddingStore(tmp_path / name) if number % 2 else kept
                for path, row in zip(fresh.rows.path, fresh.read(), strict=True):
                    assert np.array_equal(row, whole[path])
                opened[number] += 1
                done.wait(0.01)
            except BaseException as error:
                wrong.append(error)
                return

    readers = [threading.Thread(target=look, args=(number,)) for number in range(10)]
    for reader in readers:
        reader.start()
    try:
        for n in range(4, 41, 9):
            embed(tmp_path / name, records[:n], flush_seconds=0)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == [] and min(opened) >= 1


def test_a_reader_in_the_middle_of_a_clearing_finds_what_was_packed(tmp_path, make_images, monkeypatch):
    """The writer has packed and is removing the folder beside: table gone at the first look, parts at the second."""
    records = records_of(make_images(3, size=8))
    embed(tmp_path / "s.h5", records)
    embed(tmp_path / "folder", records)
    beside = tmp_path / "s.h5.parts"
    shutil.copytree(tmp_path / "folder", beside)
    clearing = iter([lambda: (beside / TABLE_NAME).unlink(), lambda: shutil.rmtree(beside)])

    def list_parts(folder: Path) -> list[str]:
        found = actual(folder)
        next(clearing, lambda: None)()
        return found

    actual = folder_module.list_parts
    monkeypatch.setattr("aigiscan.store.reader.list_parts", list_parts)
    monkeypatch.setattr("aigiscan.store.folder.list_parts", list_parts)
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 3 and store.folder is None
    assert next(clearing, None) is None


def test_more_parts_than_open_files(tmp_path, make_images, monkeypatch):
    monkeypatch.setattr("aigiscan.store.folder.FAN_IN", 10_000)
    paths = make_images(70, size=4)
    with writer_of(tmp_path / "s", FakeEncoder(HEADS), flush_seconds=0) as writer:
        for row in run(records_of(paths), FakeEncoder(HEADS), batch_size=70):
            writer.append([row])
    assert len(list((tmp_path / "s").glob("*.h5"))) == 70
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from aigiscan.store import EmbeddingStore\n"
        "with EmbeddingStore(sys.argv[1]) as store: assert store.read().shape == (70, 48), store.read('heads').shape\n"
        "from aigiscan.cli.app import main\n"
        "sys.argv[1:] = ['stores', 'verify', sys.argv[1]]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.undo()
    embed(tmp_path / "s", records_of(paths[:1]))
    embed(tmp_path / "s", records_of(make_images(1, "more", seed=5)))
    assert len(list((tmp_path / "s").glob("*.h5"))) < 16


@FORMS
def test_names_that_go_round_keep_their_contents(tmp_path, make_images, name):
    """A camera's ring of files: every content is found under the next name while its old row is superseded."""
    paths = make_images(6)
    embed(tmp_path / name, records_of(paths))
    for old, new in reversed(list(zip(paths, [*paths[1:], tmp_path / "images/0006.png"], strict=True))):
        old.rename(new)
    shutil.copyfile(make_images(1, "fresh", seed=9)[0], paths[0])
    now = sorted((tmp_path / "images").iterdir())
    assert sum(embed(tmp_path / name, records_of(now)).batches) == 1
    with EmbeddingStore(tmp_path / name) as store:
        np.testing.assert_array_equal(store.read(), [encoded(path) for path in now])


def test_a_touched_file_keeps_its_labels(tmp_path, make_images):
    paths = make_images(2)
    embed(tmp_path / "s", records_of(paths, label=1, generator="g"))
    os.utime(paths[0], ns=(7, 7))
    assert embed(tmp_path / "s", records_of(paths)).batches == []
    with EmbeddingStore(tmp_path / "s") as store:
        assert store.rows.label.tolist() == [1, 1] and store.rows.mtime_ns[0] == 7


def test_a_missing_part_is_said_and_its_images_are_done_again(tmp_path, make_images):
    paths = make_images(8)
    embed(tmp_path / "s", records_of(paths[:4]))
    embed(tmp_path / "s", records_of(paths))
    (tmp_path / "s" / "part-00000001.h5").unlink()
    with EmbeddingStore(tmp_path / "s") as store, pytest.raises(StoreError, match="stores verify"):
        store.read()
    assert sum(embed(tmp_path / "s", records_of(paths)).batches) == 4
    with EmbeddingStore(tmp_path / "s") as store:
        assert store.read().shape == (8, 48)


def test_one_name_given_in_two_folders_is_two_rows_of_a_scan_of_the_store(tmp_path, make_images, monkeypatch):
    detector = SimpleNamespace(
        check_fingerprint=lambda *_: None,
        card=SimpleNamespace(name="d", equalization=""),
        view=SimpleNamespace(channels=["embedding"]),
    )
    for seed, place in enumerate(("a", "b")):
        make_images(1, f"{place}/x", seed=seed)
        monkeypatch.chdir(tmp_path / place)
        embed(tmp_path / "s", [ImageRecord("x/0000.png")])
    embed(tmp_path / "s", [ImageRecord("gone.png")])
    rows = list(encoded_from_store(detector, tmp_path / "s"))
    assert [row.record.path for row in rows] == ["gone.png", "x/0000.png", "x/0000.png"]
    assert [row.facts.sha256 for row in rows[1:]] == [digest(tmp_path / p / "x/0000.png") for p in ("a", "b")]
