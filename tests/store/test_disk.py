"""Full disks, places that cannot be written, two writers: one clear line, and nothing lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import HEADS, digest, embed, records_of

from aigiscan.errors import StoreError
from aigiscan.store import EmbeddingStore, StoreWriter, is_store
from aigiscan.store.files import DeferringFile
from aigiscan.store.part import Part

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(work: Callable[[], None]) -> tuple[int, str]:
    """Exit code of a forked child and what the StoreError said that it ended with ("" none)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except StoreError as error:
            os.write(write, str(error).encode())
            code = 2
        finally:
            os._exit(code)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(status), f"the child died of signal {os.WTERMSIG(status)}"
    return os.WEXITSTATUS(status), said


@needs_fork
@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000, 90_000, 120_000, 150_000])
def test_file_size_limit(tmp_path, make_images, monkeypatch, limit):
    """A limit on every file: parts fit and the merged file does not, or nothing does."""
    monkeypatch.setattr("aigiscan.store.writer._PAUSE", 0)
    resource = pytest.importorskip("resource")
    records = records_of(make_images(300, size=4))
    embed(tmp_path / "whole.h5", records)
    assert (tmp_path / "whole.h5").stat().st_size > 150_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        embed(tmp_path / "s.h5", records, flush_seconds=1e9, flush_bytes=4_000)

    code, said = in_child(limited)
    assert code == 2 and "s.h5" in said and "larger than allowed" in said and "\n" not in said
    kept = 0
    if is_store(tmp_path / "s.h5"):
        with EmbeddingStore(tmp_path / "s.h5") as store:
            kept = len(store)
    assert kept > 0 or limit <= 60_000
    # the last part may wait for its commit: it is not done again either
    done = sum(len(Part(path)) for path in (tmp_path / "s.h5.parts").glob("*.h5"))
    assert sum(embed(tmp_path / "s.h5", records).batches) == 300 - done <= 300 - kept
    assert digest(tmp_path / "s.h5") == digest(tmp_path / "whole.h5")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@needs_fork
def test_full_disk(tmp_path, make_images, monkeypatch, small_disk):
    monkeypatch.setattr("aigiscan.store.writer._PAUSE", 0)
    records = records_of(make_images(300, size=4))
    embed(tmp_path / "whole.h5", records)
    store = small_disk / "s.h5"
    failed = 0
    for ballast in range(1_990_000, -1, -199_000):  # from no room at all, through parts without the merge, to enough
        (small_disk / "ballast").write_bytes(b"x" * ballast)
        code, said = in_child(lambda: embed(store, records, flush_seconds=1e9, flush_bytes=8_000))
        if code == 0:
            break
        failed += 1
        assert code == 2 and "the disk is full" in said and "\n" not in said
        if is_store(store):
            EmbeddingStore(store).close()
    assert code == 0 and failed >= 3
    assert digest(store) == digest(tmp_path / "whole.h5")


@needs_fork
def test_place_without_permission(tmp_path, make_images):
    records = records_of(make_images(2))
    place = tmp_path / "locked"
    place.mkdir()
    place.chmod(0o555)

    def as_nobody() -> None:
        if os.geteuid() == 0:  # root may write anywhere
            for folder in [tmp_path, *tmp_path.parents]:
                if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/pytest"):
                    folder.chmod(0o755)
            os.setuid(65534)
        embed(place / "s.h5", records)

    code, said = in_child(as_nobody)
    assert code == 2 and "no permission to write there" in said
    assert list(place.iterdir()) == []


def test_read_only_store_can_be_read(tmp_path, make_images):
    embed(tmp_path / "s.h5", records_of(make_images(2)))
    (tmp_path / "s.h5").chmod(0o444)
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 2


def test_two_writers(tmp_path, make_images):
    records = records_of(make_images(3))
    encoder = embed(tmp_path / "s.h5", records[:1])
    fingerprint = {**encoder.fingerprint(), "equalization": ""}
    with StoreWriter(tmp_path / "s.h5", fingerprint, encoder.channels()):
        with pytest.raises(StoreError, match="another process"):
            embed(tmp_path / "s.h5", records)
        with EmbeddingStore(tmp_path / "s.h5") as store:  # readers are welcome
            assert len(store) == 1
    embed(tmp_path / "s.h5", records)
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 3


@needs_fork
def test_lock_of_a_killed_writer_does_not_stay(tmp_path, make_images):
    encoder = embed(tmp_path / "s.h5", records_of(make_images(1)))
    fingerprint = {**encoder.fingerprint(), "equalization": ""}
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with StoreWriter(tmp_path / "s.h5", fingerprint, encoder.channels()):
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(StoreError, match="another process"):
        embed(tmp_path / "s.h5", [])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    embed(tmp_path / "s.h5", records_of(make_images(3)))
    assert not (tmp_path / "s.h5.parts").exists()


def test_half_written_files_of_a_killed_writer_are_removed(tmp_path, make_images):
    embed(tmp_path / "folder", records_of(make_images(1)))
    (tmp_path / "folder" / "part-00000007.h5.0123456789ab.tmp").write_bytes(b"half")
    embed(tmp_path / "folder", records_of(make_images(2)))
    assert sorted(p.name for p in (tmp_path / "folder").glob("[!.]*")) == [
        "part-00000001.h5",
        "part-00000002.h5",
        "rows.sqlite",
    ]


def test_deferring_file_remembers_the_first_refusal(tmp_path, monkeypatch):
    file = DeferringFile(tmp_path / "x")
    assert file.write(b"abcdef") == 6 and file.seek(2) == 2
    buffer = bytearray(2)
    assert file.readinto(buffer) == 2 and buffer == b"cd" and file.tell() == 4
    buffer = bytearray(b"??????")
    file.seek(4)
    assert file.readinto(buffer) == 6 and buffer == b"ef" + bytes(4)  # past the end as the system's own files: zeros
    full = DeferringFile(Path("/dev/full")) if Path("/dev/full").exists() else pytest.skip("no /dev/full")
    assert full.write(b"gh") == 2 and full.write(b"ij") == 2 and full.truncate(0) == 0
    with pytest.raises(OSError, match="No space"), full:
        raise RuntimeError("what HDF5 says")


@needs_fork
def test_interrupts_at_any_moment(tmp_path, make_images):
    records = records_of(make_images(24, size=4))
    embed(tmp_path / "whole.h5", records)
    random.seed(3)
    interrupted = 0
    while interrupted < 15:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                embed(tmp_path / "s.h5", records, flush_seconds=0)
                code = 0
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        time.sleep(random.uniform(0.01, 0.25))
        os.kill(child, signal.SIGINT)
        _, status = os.waitpid(child, 0)
        assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGINT, "it crashed"
        interrupted += 1
        if (tmp_path / "s.h5").exists():
            EmbeddingStore(tmp_path / "s.h5").close()
        if os.waitstatus_to_exitcode(status) == 0:
            assert digest(tmp_path / "s.h5") == digest(tmp_path / "whole.h5")
            (tmp_path / "s.h5").unlink()
    embed(tmp_path / "s.h5", records)
    assert digest(tmp_path / "s.h5") == digest(tmp_path / "whole.h5")


def test_channels_of_the_wrong_shape_are_refused(tmp_path, make_images):
    encoder = embed(tmp_path / "s.h5", [])
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 0 and store.read("heads").shape == (0, 2, 3, 4)
    from aigiscan.images.records import FileFacts, ImageRecord
    from aigiscan.runner import Encoded

    fingerprint = {**encoder.fingerprint(), "equalization": ""}
    writer = StoreWriter(tmp_path / "s.h5", fingerprint, encoder.channels())
    with pytest.raises(StoreError, match="'embedding'"), writer:
        writer.append([Encoded(ImageRecord("a"), FileFacts(), {"embedding": [0.0] * 47})])
    assert HEADS.heads and Path(tmp_path / "s.h5").exists()
