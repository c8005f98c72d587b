"""SIGKILL at random moments of a run, and power cuts: the store can be read each time, nothing finished is lost, and it
ends as an uninterrupted run would have left it.

Each run is a forked child of this warm process, killed with signal 9: a real kill without the second that an
interpreter needs to start.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fake_encoder import FakeEncoder
from store_helpers import HEADS, embed, records_of, writer_of

import aigiscan.store.folder
from aigiscan.runner import RunSettings, run_batches
from aigiscan.store import EmbeddingStore, is_store
from aigiscan.store.folder import Folder
from aigiscan.store.layout import COLUMNS
from aigiscan.store.table import RowTable
from aigiscan.store.verify import verify

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
KILLS = 18  # benchmarks/kill_embed.py does hundreds to the real command


def start(store: Path, records: list, seconds: float | None) -> bool:
    """Run in a child, kill it after ``seconds`` (None: let it end); True if it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # a part per batch, merged four to one: as many dangerous moments as there can be
            aigiscan.store.folder.FAN_IN = 4
            embed(store, records, flush_seconds=0)
            code = 0
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def look(path: Path, embeddings: dict[str, np.ndarray]) -> int:
    """Number of rows, after every one of them was found right; 0 if there is no store yet."""
    if not is_store(path):  # killed before it had come so far
        assert not path.is_file() and not list(path.glob("*.h5"))
        return 0
    with EmbeddingStore(path) as store:
        for name, row in zip(store.rows.path, store.read(), strict=True):
            np.testing.assert_array_equal(row, embeddings[name])
        n = len(store)
    if path.suffix == ".h5" and path.exists():
        with h5py.File(path) as file:
            names = [os.fsdecode(name) for name in file["rows/path"][:]]
            for name, row in zip(names, file["embedding"][:], strict=True):
                np.testing.assert_array_equal(row, embeddings[name])
    return n


@pytest.mark.parametrize("name", ["new.h5", "grown.h5", "folder"])
def test_killed_at_any_moment(tmp_path, make_images, name):
    paths = make_images(32, size=8)
    paths[17].write_bytes(b"not an image")
    records = records_of(paths, label=1, generator="g")
    reference, base, store = tmp_path / "reference.h5", tmp_path / "base", tmp_path / name
    began = time.monotonic()
    assert start(reference, records, None)
    duration = time.monotonic() - began
    with EmbeddingStore(reference) as whole:
        embeddings = dict(zip(whole.rows.path, whole.read(), strict=True))
    if name == "grown.h5":
        embed(base.with_suffix(".h5"), records[::2])
    random.seed(name)
    kills = complete = rows = 0
    while kills < KILLS // 3 or not complete:
        if complete or not kills:
            for left in tmp_path.glob(f"{name}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            if name == "grown.h5":
                shutil.copyfile(base.with_suffix(".h5"), store)
            rows = 0
        complete = start(store, records, random.uniform(0, duration))
        now = look(store, embeddings)
        assert now >= rows, "finished rows were lost"
        rows = now
        if complete:
            compare(store, reference)
        else:
            kills += 1
    assert rows == 31


def compare(store: Path, reference: Path) -> None:
    if store.suffix == ".h5":
        assert not list(store.parent.glob(f"{store.name}.parts"))
    assert list(verify(store)) == []
    with EmbeddingStore(store) as a, EmbeddingStore(reference) as b:
        assert not a.unfinished
        for column in COLUMNS:
            assert getattr(a.rows, column).tolist() == getattr(b.rows, column).tolist()
        assert a.failures == b.failures
        for channel in b.channel_names:
            assert a.read(channel).tobytes() == b.read(channel).tobytes()


@pytest.mark.parametrize("step", ["move", "retire", "commit"])
def test_killed_after_a_part_was_merged_and_before_its_commit(tmp_path, make_images, monkeypatch, step):
    records, store = records_of(make_images(12, size=8)), tmp_path / "s"
    embed(tmp_path / "reference", records)
    child = os.fork()
    if child == 0:
        aigiscan.store.folder.FAN_IN = 2
        merge = Folder.merge

        def killed(self: Any, numbers: Any) -> None:
            setattr(RowTable, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            merge(self, numbers)

        monkeypatch.setattr(Folder, "merge", killed)
        embed(store, records, flush_seconds=0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and len(list(store.glob("*.h5"))) == 3  # two, and the one they were merged into
    with EmbeddingStore(store) as opened:
        assert len(opened) == 8
    assert sum(embed(store, records).batches) == 4
    compare(store, tmp_path / "reference")
    assert len(list(store.glob("*.h5"))) == 2


def test_power_cut_at_any_place_of_the_log(tmp_path, make_images, monkeypatch):
    """What the disk has of the log may end anywhere; the parts were synced before the commits that name them."""
    monkeypatch.setattr("aigiscan.store.folder.FAN_IN", 4)
    # the system removes files when it likes to: the latest that is allowed is never
    monkeypatch.setattr("aigiscan.store.folder.Folder.remove_retired", lambda self: self.__dict__.pop("_names", None))
    records = records_of(make_images(40, size=8), label=0)
    embed(tmp_path / "reference", records)
    with writer_of(tmp_path / "s", FakeEncoder(HEADS), flush_seconds=0) as writer:
        for rows in run_batches(records, FakeEncoder(HEADS), RunSettings(batch_size=4, workers=0)):
            writer.append(rows)
        assert writer.folder.table.sql.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        shutil.copytree(tmp_path / "s", tmp_path / "cut")
    monkeypatch.undo()
    log = (tmp_path / "cut/rows.sqlite-wal").read_bytes()
    assert len(log) > 100_000
    seen = set()
    for n, length in enumerate([0, 31, *(len(log) * k // 9 - 7 * k for k in range(1, 10))]):
        store = tmp_path / f"cut{n}"
        shutil.copytree(tmp_path / "cut", store)
        (store / "rows.sqlite-wal").write_bytes(log[:length])
        (store / "rows.sqlite-shm").unlink()
        with EmbeddingStore(store) as opened:
            seen.add(len(opened))
            assert opened.read().shape == (len(opened), 48)
        assert embed(store, records).batches == []  # every part was taken over
        compare(store, tmp_path / "reference")
    assert len(seen) > 4 and min(seen) == 0


def test_files_go_only_after_the_commit_that_forgets_them(tmp_path, make_images, monkeypatch):
    monkeypatch.setattr("aigiscan.store.folder.FAN_IN", 2)
    unlink, removed = Path.unlink, []

    def watched(path: Path, *args: Any, **options: Any) -> None:
        if path.suffix == ".h5":
            with EmbeddingStore(path.parent) as store:  # what another process sees at this moment
                assert path not in store.files
            removed.append(path)
        unlink(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", watched)
    records = records_of(make_images(16, size=8))
    embed(tmp_path / "s", records, flush_seconds=0)
    embed(tmp_path / "s", records, FakeEncoder(HEADS), resume=False)
    assert len(removed) > 4
