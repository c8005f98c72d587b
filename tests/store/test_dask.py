"""``embed`` on a Dask cluster of two worker processes, one of which is killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cli_calls import call
from fake_encoder import FakeEncoder
from store_helpers import HEADS, digest, records_of

from aigiscan.embedding import EmbedSettings, SliceTask, embed, embed_slice, embed_with_dask
from aigiscan.encoders import create_encoder
from aigiscan.encoders.base import captures
from aigiscan.errors import EncoderError, InputError
from aigiscan.runner import run
from aigiscan.store import EmbeddingStore
from aigiscan.store.buffer import write_part
from aigiscan.store.part import Part

SETTINGS = EmbedSettings(batch_size=1, workers=0)  # 16 images per slice
NOTHING = captures(["embedding"])


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


def test_cluster_gives_the_same_store_though_a_worker_dies(tmp_path, make_images, cluster):
    paths = make_images(150, size=40)
    paths[7].write_bytes(b"not an image")
    records = records_of(paths, label=1, generator="g")
    embed(records, create_encoder("spam"), tmp_path / "local.h5", SETTINGS)
    store = tmp_path / "s.h5"
    embed(records[:20], create_encoder("spam"), store, SETTINGS)  # the rest is for the cluster
    pids = [worker.pid for worker in cluster.workers.values()]
    killed = threading.Thread(target=_kill_when_a_part_is_there, args=(pids[0], store))
    killed.start()
    summary = embed_with_dask(records, create_encoder("spam"), store, cluster.scheduler_address, SETTINGS)
    killed.join()
    assert (summary.encoded, summary.known) == (130, 19)
    assert [Path(path).name for path, _ in summary.failures] == ["0007.png"]
    assert digest(store) == digest(tmp_path / "local.h5")


def _kill_when_a_part_is_there(pid: int, store: Path) -> None:
    parts = store.with_name(store.name + ".parts")
    limit = time.monotonic() + 60
    while not list(parts.glob("part-*[1-9].h5")) and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)


def test_relative_names_stay_as_they_were_given(tmp_path, make_images, cluster, monkeypatch):
    make_images(20, size=40)
    monkeypatch.chdir(tmp_path)  # the workers were started elsewhere
    records = records_of(Path("images").iterdir())
    summary = embed_with_dask(records, create_encoder("spam"), "folder", cluster.scheduler_address, SETTINGS)
    assert summary.encoded == 20
    with EmbeddingStore("folder") as store:
        assert store.rows.path.tolist() == [r.path for r in records] and not store.unfinished


def test_a_slice_that_is_there_is_not_done_again(tmp_path, make_images):
    records = records_of(make_images(3))
    encoder = FakeEncoder(HEADS)
    fingerprint = {**encoder.fingerprint(), "equalization": ""}
    target = tmp_path / "part-00000001.h5"
    write_part(target, fingerprint, encoder.channels(), ((row.record.path, row) for row in run(records, encoder)))
    before = target.stat().st_mtime_ns
    task = SliceTask(tuple(records), "", str(target), "no fingerprint at all", NOTHING, "cpu", SETTINGS)
    embed_slice(task)
    assert len(Part(target)) == 3 and target.stat().st_mtime_ns == before


def test_a_worker_with_another_encoder_refuses(tmp_path, make_images):
    wanted = {**create_encoder("spam").fingerprint(), "equalization": "", "weights": "0" * 64}
    import json

    task = SliceTask(
        tuple(records_of(make_images(1))),
        "",
        str(tmp_path / "part-00000001.h5"),
        json.dumps(wanted),
        NOTHING,
        "cpu",
        SETTINGS,
    )
    with pytest.raises(EncoderError, match="weights"):
        embed_slice(task)


def test_no_scheduler_is_one_line(tmp_path, make_images):
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1"):
        embed_with_dask(
            records_of(make_images(1)),
            create_encoder("spam"),
            tmp_path / "s.h5",
            "tcp://127.0.0.1:1",
            SETTINGS,
            timeout=1,
        )


def test_moved_files_take_their_rows_along_on_a_cluster(tmp_path, make_images, cluster):
    paths = make_images(20, size=40)
    embed(records_of(paths, label=1, generator="g"), create_encoder("spam"), tmp_path / "s", SETTINGS)
    for path in paths[:5]:
        path.rename(path.with_name("moved" + path.name))
    make_images(2, "images/new", size=40, seed=3)
    now = records_of(p for p in (tmp_path / "images").rglob("*.png"))
    summary = embed_with_dask(now, create_encoder("spam"), tmp_path / "s", cluster.scheduler_address, SETTINGS)
    assert (summary.encoded, summary.moved, summary.known) == (2, 5, 15)
    with EmbeddingStore(tmp_path / "s") as store:
        assert store.rows.path.tolist() == [r.path for r in now]
        assert store.rows.label.tolist().count(1) == 20


def test_scan_on_a_cluster_gives_the_report_of_a_local_scan(tmp_path, make_images, cluster):
    make_images(12, "photos/0_real", size=40)
    make_images(12, "photos/1_fake", size=40, seed=2)
    photos, detector = tmp_path / "photos", tmp_path / "detector"
    call("fit", photos, "-o", detector, "--encoder", "spam", "--max-fpr", 0.2, "--max-miss", 0.2)
    (photos / "1_fake/0003.png").write_bytes(b"no picture")
    call("scan", photos, "-d", detector, "-o", tmp_path / "local.csv")
    there = ("--backend", "dask", "--scheduler", cluster.scheduler_address)
    call("scan", photos, "-d", detector, "-o", tmp_path / "x.csv", *there, refused="--cache")
    call(
        "scan", photos, "-d", detector, "-o", tmp_path / "x.csv", "--cache", tmp_path / "c", *there[:2], refused="go to"
    )
    for _ in range(2):
        call("scan", photos, "-d", detector, "-o", tmp_path / "far.csv", "--cache", tmp_path / "cache", *there)
        assert (tmp_path / "far.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    with EmbeddingStore(tmp_path / "cache") as store:
        assert len(store) == 23 and not store.unfinished
