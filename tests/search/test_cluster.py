"""Searches on a Dask cluster of two worker processes, one of which is killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from search_planted import random_problem

from aigiscan.errors import InputError
from aigiscan.search.cluster import run_jobs
from aigiscan.search.features import search_pairs
from aigiscan.search.greedy import SearchOptions

PAIRS, D = 3, 32


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


def test_many_pairs_give_the_same_though_a_worker_dies(tmp_path, cluster):
    pairs = [(random_problem(2 * k, d=D, n=200), random_problem(2 * k + 1, d=D, n=200)) for k in range(PAIRS)]
    expected = search_pairs(pairs, SearchOptions())
    journals = tmp_path / "out.yaml"
    pids = [worker.pid for worker in cluster.workers.values()]
    killed = threading.Thread(target=_kill_in_the_middle, args=(pids[0], tmp_path))
    killed.start()
    reported = []
    found = search_pairs(
        pairs, SearchOptions(), scheduler=cluster.scheduler_address, journals=journals, done=reported.append
    )
    killed.join()
    assert not _alive(pids[0])
    assert found == expected
    assert reported == [direction for pair in expected for direction in pair.directions]  # each once, in order
    for journal in tmp_path.glob("*.progress"):  # nothing lost, nothing twice
        lines = [line for line in journal.read_text().splitlines() if line.startswith('{"step"')]
        assert len({line.split(",")[0] for line in lines}) == D - 1


def _kill_in_the_middle(pid: int, folder) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        if any(len(p.read_text().splitlines()) > 5 for p in folder.glob(".out.yaml.*.progress")):
            break
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return False
    return True


def test_a_missing_scheduler_is_one_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("aigiscan.search.cluster.TIMEOUT", 0.5)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        list(run_jobs(abs, [-1], scheduler="tcp://127.0.0.1:1"))


def test_results_come_in_the_order_of_the_tasks():
    assert list(run_jobs(abs, [-3, 2, -1], jobs=2)) == [3, 2, 1]
