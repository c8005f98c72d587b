"""What goes into a store comes out: rows, channels, failures, under every history."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from fake_encoder import FakeEncoder
from PIL import Image
from store_helpers import HEADS, digest, embed, records_of, writer_of

from aigiscan.errors import StoreError
from aigiscan.images.records import ImageRecord
from aigiscan.store import EmbeddingStore, is_store


def expected(path: str) -> np.ndarray:
    """The fake encoder's embedding, computed from the file by another way."""
    encoder = FakeEncoder()
    return encoder.encode([encoder.prepare(Image.open(path).convert("RGB"))])["embedding"][0]


@pytest.mark.parametrize("name", ["s.h5", "folder"])
def test_round_trip(tmp_path, make_images, name):
    paths = make_images(11)
    (tmp_path / "images" / "0003.png").write_bytes(b"not an image at all")
    records = records_of(paths, label=1, generator="gän", group="g,1", caption='a "cat"\nin two lines', source="s")
    embed(tmp_path / name, records)
    with EmbeddingStore(tmp_path / name) as store:
        good = [r for r in records if not r.path.endswith("0003.png")]
        assert store.rows.path.tolist() == [r.path for r in good]
        assert [store.rows.record(i) for i in range(len(store))] == good
        assert store.channel_names == ["embedding", "heads", "sigma"]
        np.testing.assert_array_equal(store.read(), np.stack([expected(r.path) for r in good]))
        heads = np.stack([expected(r.path) for r in good])[:, :24].reshape(-1, 2, 3, 4).astype(np.float16)
        np.testing.assert_array_equal(store.read("heads"), heads.astype(np.float32))
        assert store.read("sigma").shape == (10,)
        [(failed, reason)] = store.failures
        assert failed.endswith("0003.png") and reason
        facts = store.rows.facts(0)
        stat = Path(good[0].path).stat()
        assert (facts.width, facts.height, facts.format, facts.bytes) == (24, 24, "PNG", stat.st_size)
        assert facts.mtime_ns == stat.st_mtime_ns and facts.sha256 == digest(Path(good[0].path))
        assert not store.unfinished
    assert is_store(tmp_path / name)


def test_subsets_are_those_of_the_whole(tmp_path, make_images):
    embed(tmp_path / "s.h5", records_of(make_images(9)))
    with EmbeddingStore(tmp_path / "s.h5") as store:
        whole, heads = store.read(), store.read("heads")
        rows = [7, 0, 3, 3]
        np.testing.assert_array_equal(store.read(rows=rows), whole[rows])
        np.testing.assert_array_equal(store.read(rows=whole[:, 0] > 0.5), whole[whole[:, 0] > 0.5])
        np.testing.assert_array_equal(store.read(rows=rows, columns=[47, 5]), whole[rows][:, [47, 5]])
        np.testing.assert_array_equal(store.read("heads", columns=[(1, 2), (0, 0)]), heads[:, [1, 0], [2, 0]])
        assert store.read(rows=[]).shape == (0, 48)
        for bad in ({"rows": [9]}, {"columns": [48]}, {"channel": "heads", "columns": [(2, 0)]}, {"channel": "text"}):
            with pytest.raises(StoreError):
                store.read(**bad)


def test_readable_with_h5py_alone(tmp_path, make_images):
    paths = make_images(6)
    embed(tmp_path / "s.h5", records_of(paths, label=0))
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["embedding"].shape == (6, 48) and file["heads"].shape == (6, 2, 3, 4)
        assert file["heads"].dtype == np.float16
        assert file["rows/path"].asstr()[0] == str(paths[0]) and file["rows/label"][:].tolist() == [0] * 6
        assert json.loads(file.attrs["fingerprint"])["name"] == "fake" and file.attrs["format"] == 1
        # one head, or a few components, over all images lie in chunks of their own
        assert file["heads"].chunks[1:] == (1, 1, 4) and file["embedding"].chunks[1] == 8


def test_bytes_do_not_depend_on_history(tmp_path, make_images):
    records = records_of(make_images(40), label=1, generator="g")
    embed(tmp_path / "once.h5", records)
    embed(tmp_path / "batches.h5", records, flush_seconds=0)  # ten parts
    embed(tmp_path / "grown.h5", records[20:])
    embed(tmp_path / "grown.h5", records[::3])
    embed(tmp_path / "grown.h5", records)
    many = records_of(make_images(80, "many"))
    embed(tmp_path / "many.h5", many)
    embed(tmp_path / "merged.h5", many, flush_seconds=0, encoder=FakeEncoder(HEADS))  # 20 parts: some merged on the way
    assert digest(tmp_path / "once.h5") == digest(tmp_path / "batches.h5") == digest(tmp_path / "grown.h5")
    assert digest(tmp_path / "many.h5") == digest(tmp_path / "merged.h5")
    assert not list(tmp_path.glob("*.parts"))


def test_unchanged_files_are_not_opened_again(tmp_path, make_images):
    paths = make_images(10)
    embed(tmp_path / "s.h5", records_of(paths))
    before = digest(tmp_path / "s.h5")
    assert embed(tmp_path / "s.h5", records_of(paths)).batches == []
    assert digest(tmp_path / "s.h5") == before
    more = records_of(paths + make_images(3, "more", seed=1))
    assert sum(embed(tmp_path / "s.h5", more).batches) == 3


def test_changed_file_is_embedded_anew(tmp_path, make_images):
    paths = make_images(5)
    embed(tmp_path / "s.h5", records_of(paths))
    stat = paths[2].stat()
    shutil.copyfile(make_images(1, "other", seed=9)[0], paths[2])
    os.utime(paths[2], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert sum(embed(tmp_path / "s.h5", records_of(paths)).batches) == 1
    with EmbeddingStore(tmp_path / "s.h5") as store:
        np.testing.assert_array_equal(store.read(rows=[2])[0], expected(str(paths[2])))
        assert len(store) == 5


@pytest.mark.parametrize("name", ["s.h5", "folder"])
def test_moved_file_is_found_by_content_and_takes_its_row_along(tmp_path, make_images, name):
    paths = make_images(5)
    embed(tmp_path / name, records_of(paths, label=1, generator="g"))
    moved = tmp_path / "images" / "elsewhere.png"
    paths[1].rename(moved)
    copied = tmp_path / "images" / "copy.png"
    shutil.copyfile(paths[2], copied)
    now = list((tmp_path / "images").iterdir())
    assert embed(tmp_path / name, records_of(now)).batches == []
    with EmbeddingStore(tmp_path / name) as store:
        assert store.rows.path.tolist() == sorted(map(str, now))
        np.testing.assert_array_equal(store.read(), np.stack([expected(p) for p in store.rows.path]))
        i = store.rows.path.tolist().index(str(moved))
        assert store.rows.record(i).generator == "g" and store.rows.label[i] == 1
        assert store.rows.facts(i).mtime_ns == moved.stat().st_mtime_ns


def test_new_labels_reach_old_rows_and_missing_ones_do_not_erase(tmp_path, make_images):
    paths = make_images(6)
    embed(tmp_path / "s.h5", records_of(paths))
    embed(tmp_path / "s.h5", records_of(paths, label=1, generator="g", split="test"))
    encoder = embed(tmp_path / "s.h5", records_of(paths))
    assert encoder.batches == []
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert store.rows.label.tolist() == [1] * 6 and set(store.rows.split) == {"test"}
        np.testing.assert_array_equal(store.read(), np.stack([expected(str(p)) for p in paths]))


@pytest.mark.parametrize("name", ["s.h5", "folder"])
def test_prune_drops_vanished_files_only(tmp_path, make_images, name):
    paths = make_images(6)
    paths[4].write_bytes(b"broken")
    embed(tmp_path / name, records_of(paths))
    for gone in (paths[0], paths[4]):
        gone.unlink()
    left = records_of([p for p in paths if p.exists()])
    embed(tmp_path / name, left)
    with EmbeddingStore(tmp_path / name) as store:
        assert len(store) == 5 and len(store.failures) == 1
    embed(tmp_path / name, left[:1], prune=True)  # the others are on the disk, if not in this listing
    with EmbeddingStore(tmp_path / name) as store:
        assert store.rows.path.tolist() == [r.path for r in left] and store.failures == []


def test_failure_becomes_a_row_when_the_file_is_mended_and_back(tmp_path, make_images):
    paths = make_images(3)
    good = paths[1].read_bytes()
    for content, rows in ((b"junk", 2), (good, 3), (b"junk", 2)):
        paths[1].write_bytes(content)
        embed(tmp_path / "s.h5", records_of(paths))
        with EmbeddingStore(tmp_path / "s.h5") as store:
            assert len(store) == rows and len(store.failures) == 3 - rows


def test_names_of_any_bytes(tmp_path, make_images):
    names = [
        b"a b.png",
        b"new\nline.png",
        b'comma,"quote".png',
        b"\xff\xfe\x80.png",
        "ü-日本.png".encode(),
        b"%b%%.png",
        b"'.png",
        b"-o.png",
    ]
    folder = os.fsencode(tmp_path) + b"/100%\xff"
    Path(os.fsdecode(folder)).mkdir()
    for name, source in zip(names, make_images(len(names)), strict=True):
        shutil.copyfile(source, folder + b"/" + name)
    paths = [os.fsdecode(folder + b"/" + name) for name in names]
    records = [ImageRecord(p) for p in sorted(paths, key=os.fsencode)]
    store_path = Path(os.fsdecode(folder)) / "s.h5"
    with pytest.raises(KeyboardInterrupt):
        embed(store_path, _then(records, KeyboardInterrupt), flush_seconds=0)
    with EmbeddingStore(store_path) as store:  # the folder of an unfinished store, through awkward names
        assert [os.fsencode(p) for p in store.rows.path] == sorted(map(os.fsencode, paths))
        np.testing.assert_array_equal(store.read(), np.stack([expected(p) for p in store.rows.path]))
    embed(store_path, records)
    with EmbeddingStore(store_path) as store:
        assert [os.fsencode(p) for p in store.rows.path] == sorted(map(os.fsencode, paths))


def _then(records, exception):
    yield from records
    raise exception


def test_interrupt_keeps_finished_batches(tmp_path, make_images):
    records = records_of(make_images(20))
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "s.h5", _then(records[:13], KeyboardInterrupt))
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 12 and store.unfinished
    assert sum(embed(tmp_path / "s.h5", records).batches) == 8
    embed(tmp_path / "whole.h5", records)
    assert digest(tmp_path / "s.h5") == digest(tmp_path / "whole.h5")


def test_no_resume_starts_afresh(tmp_path, make_images):
    paths = make_images(6)
    embed(tmp_path / "s.h5", records_of(paths))
    assert sum(embed(tmp_path / "s.h5", records_of(paths[:4]), resume=False).batches) == 4
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 4


def test_another_encoder_is_refused_with_both_names(tmp_path, make_images):
    records = records_of(make_images(2))
    embed(tmp_path / "s.h5", records)
    before = digest(tmp_path / "s.h5")
    with pytest.raises(StoreError, match=r"'fake'.*'other'"):
        embed(tmp_path / "s.h5", records, FakeEncoder(HEADS, name="other"))
    with pytest.raises(StoreError, match="--heads"):
        embed(tmp_path / "s.h5", records, FakeEncoder())
    assert digest(tmp_path / "s.h5") == before and not (tmp_path / "s.h5.parts").exists()


def test_what_is_no_store_is_one_line(tmp_path, make_images):
    with pytest.raises(StoreError, match="does not exist"):
        EmbeddingStore(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match="not a whole HDF5 file"):
        EmbeddingStore(tmp_path / "text.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="not an aigiscan store"):
        EmbeddingStore(tmp_path / "foreign.h5")
    embed(tmp_path / "new.h5", records_of(make_images(1)))
    with h5py.File(tmp_path / "new.h5", "r+") as file:
        file.attrs["format"] = 99
    with pytest.raises(StoreError, match="format 99"):
        EmbeddingStore(tmp_path / "new.h5")


@pytest.mark.parametrize("name", ["s.h5", "folder"])
def test_cache_finds_by_path_then_by_content(tmp_path, make_images, name):
    paths = make_images(4)
    encoder = embed(tmp_path / name, records_of(paths))
    with EmbeddingStore(tmp_path / name) as store, writer_of(tmp_path / name, encoder) as writer:
        cache = writer.cache
        three, facts = cache.find(ImageRecord(str(paths[3])))
        assert facts == store.rows.facts(3)
        elsewhere = tmp_path / "elsewhere"
        shutil.copyfile(paths[2], elsewhere)
        two, facts = cache.find(ImageRecord(str(elsewhere)))
        assert facts.mtime_ns == elsewhere.stat().st_mtime_ns and facts.sha256 == store.rows.sha256[2]
        elsewhere.write_bytes(b"x" * paths[2].stat().st_size)  # the size alone is not enough
        assert cache.find(ImageRecord(str(elsewhere))) is None
        assert cache.find(ImageRecord(str(tmp_path / "missing"))) is None
        for channel, values in cache.read_rows([three, two]).items():
            np.testing.assert_array_equal(values, store.read(channel, rows=[3, 2]))


def test_a_link_to_a_store_stays_a_link(tmp_path, make_images):
    paths = make_images(4)
    (tmp_path / "large").mkdir()
    (tmp_path / "s.h5").symlink_to(tmp_path / "large" / "real.h5")
    embed(tmp_path / "s.h5", records_of(paths[:2]))
    embed(tmp_path / "s.h5", records_of(paths))
    assert (tmp_path / "s.h5").is_symlink() and is_store(tmp_path / "s.h5")
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 4


def test_numbers_that_do_not_fit_are_refused_and_the_rest_is_kept(tmp_path, make_images):
    class Large(FakeEncoder):
        def encode(self, inputs):
            out = super().encode(inputs)
            if len(self.batches) == 3:
                out["heads"][1, 0, 2, 3] = 1e6  # finite, but not in float16
            return out

    records = records_of(make_images(12))
    with pytest.raises(StoreError, match=r"'heads'.*float16"):
        embed(tmp_path / "s.h5", records, Large(HEADS), flush_seconds=0)
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert len(store) == 8


def test_the_store_does_not_need_torch():
    code = "import aigiscan.store, aigiscan.runner, sys; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
