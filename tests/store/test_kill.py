"""SIGKILL at random moments of a run: the store is readable each time and ends byte-equal to an uninterrupted one.

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

import h5py
import numpy as np
import pytest
from store_helpers import digest, embed, records_of

from aigiscan.store import EmbeddingStore, is_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
KILLS = 51


def start(store: Path, records: list, seconds: float | None) -> bool:
    """Run in a child, kill it after ``seconds`` (None: let it end); True if it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            embed(store, records, flush_seconds=0)  # a part per batch: as many dangerous moments as there can be
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
        assert digest(store) == digest(reference)
        assert not list(store.parent.glob(f"{store.name}.parts"))
        return
    with EmbeddingStore(store) as a, EmbeddingStore(reference) as b:
        assert not a.unfinished
        for column in ("path", "sha256", "label", "generator", "mtime_ns"):
            assert getattr(a.rows, column).tolist() == getattr(b.rows, column).tolist()
        assert a.failures == b.failures
        for channel in b.channel_names:
            assert a.read(channel).tobytes() == b.read(channel).tobytes()
