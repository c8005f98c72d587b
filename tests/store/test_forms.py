"""Other forms of a store: what older versions wrote, packed, put together, exported, verified; columns and channels."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_calls import call
from store_helpers import digest, embed, pictures, records_of

from aigiscan.errors import StoreError
from aigiscan.images.records import ImageRecord
from aigiscan.store import EmbeddingStore
from aigiscan.store.table import TABLE_NAME, on_network
from aigiscan.store.verify import verify

GOLDEN = Path(__file__).with_name("golden")
HELD = {
    "one.h5": [f"x/{i}.bmp" for i in range(6)],
    "folder": ["x/0.bmp", "x/4.bmp", "x/5.bmp", "x/moved.bmp"],
    "cut.h5": ["x/0.bmp", "x/4.bmp", "x/5.bmp", "x/moved.bmp"],
}


@pytest.fixture(params=HELD)
def old(request, tmp_path, monkeypatch) -> Path:
    """A store of an older version, in a folder of its own without the pictures; the working folder is that."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "golden" / request.param


def held(path: Path) -> dict[str, float]:
    """Path → the grey of its picture, as the embedding has it."""
    with EmbeddingStore(path) as store:
        return dict(zip(store.rows.path, (store.read(columns=[0])[:, 0] * 255).round().tolist(), strict=True))


def test_older_stores_are_read_as_they_were(old):
    before = {path: path.stat().st_mtime_ns for path in [old, *old.parent.rglob("*")]}
    number = {"moved": 1}
    with EmbeddingStore(old) as store:
        assert store.rows.path.tolist() == HELD[old.name]
        grey = [40 * int(number.get(Path(p).stem, Path(p).stem)) for p in store.rows.path]
        np.testing.assert_array_equal((store.read(columns=[0])[:, 0] * 255).round(), grey)
        assert store.read("heads").shape == (len(grey), 2, 3, 4) and store.rows.sha256[0]
        labelled = {"one.h5": HELD["one.h5"], "folder": ["x/0.bmp", "x/moved.bmp"], "cut.h5": []}[old.name]
        assert [p for p, g in zip(store.rows.path, store.rows.generator, strict=True) if g == "gän"] == labelled
        assert [p for p, _ in store.failures] == (["x/2.bmp"] if old.name == "folder" else [])
        assert store.unfinished == (old.name == "cut.h5") and store.fingerprint["name"] == "fake"
        assert set(store.rows.objects) == {""}  # a column that was not there yet
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_older_stores_grow_where_their_pictures_are(old):
    pictures()
    Path("x/1.bmp").rename("x/moved.bmp") if old.name != "one.h5" else None
    records = records_of(Path("x").iterdir())
    todo = [r.path for r in records if r.path not in HELD[old.name]]
    assert sum(embed(old, records).batches) == len(todo)
    with EmbeddingStore(old) as store:
        assert store.rows.path.tolist() == [r.path for r in records] and not store.unfinished
        assert store.rows.location.tolist() == [os.path.abspath(r.path) for r in records]
        assert store.failures == []
    assert list(verify(old)) == [] and embed(old, records).batches == []


def test_older_stores_grow_elsewhere_by_content(old, monkeypatch):
    """Nobody knows from where their relative paths were given: the content is what they are known by."""
    Path("other").mkdir()
    monkeypatch.chdir("other")
    pictures()
    before = held(old)
    records = [ImageRecord(str(path.absolute())) for path in Path("x").iterdir()]
    done = sum(embed(old, records).batches)
    assert done == 6 - len(before)
    with EmbeddingStore(old) as store:
        assert sorted(store.rows.location) == sorted(r.path for r in records)


@pytest.mark.parametrize("name", ["s.h5", "folder"])
def test_pack_merge_and_verify_from_the_command_line(tmp_path, make_images, name):
    paths = make_images(6, size=40)
    paths[2].write_bytes(b"no picture")
    call("embed", tmp_path / "images", "-o", tmp_path / name, "-e", "spam")
    make_images(3, "more", size=40, seed=4)
    call("embed", tmp_path / "more", "-o", tmp_path / "second", "-e", "spam")
    assert "packed 5 images" in call("stores", "pack", tmp_path / name, tmp_path / "packed.h5").stderr
    if name == "s.h5":
        assert digest(tmp_path / "s.h5") == digest(tmp_path / "packed.h5")
    for target in ("both.h5", "both"):
        call("stores", "merge", tmp_path / "packed.h5", tmp_path / "second", "-o", tmp_path / target)
        with EmbeddingStore(tmp_path / target) as both, EmbeddingStore(tmp_path / name) as first:
            assert len(both) == 8 and both.failures == first.failures and not both.unfinished
            np.testing.assert_array_equal(both.read(rows=np.arange(5)), first.read())
        assert "as it was written" in call("stores", "verify", tmp_path / target).stdout
        # a merged store is a store: nothing of it is done again
        assert "0 images embedded" in call("embed", tmp_path / "more", "-o", tmp_path / target).stderr
    call("embed", tmp_path / "more", "-o", tmp_path / "lite", "-e", "color:rgb")
    call("stores", "merge", tmp_path / name, tmp_path / "lite", "-o", tmp_path / "no", refused="another encoder")
    call("stores", "pack", tmp_path / name, tmp_path / "packed", refused=".h5")


def test_a_packed_file_that_grows_says_what_would_be_cheaper(tmp_path, make_images):
    make_images(2, size=40)
    assert "folder" not in call("embed", tmp_path / "images", "-o", tmp_path / "s.h5", "-e", "spam").stderr
    assert "packed again" not in call("embed", tmp_path / "images", "-o", tmp_path / "s.h5").stderr
    make_images(1, "images/more", size=40, seed=8)
    assert "packed again" in call("embed", tmp_path / "images", "-o", tmp_path / "s.h5").stderr


def test_export(tmp_path, make_images):
    embed(tmp_path / "s", records_of(make_images(3), label=1, caption='a "cat", seen\ntwice'))
    call("stores", "export", tmp_path / "s", tmp_path / "t.csv", "--channel", "sigma", "--channel", "embedding")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with EmbeddingStore(tmp_path / "s") as store:
        assert [row["path"] for row in rows] == store.rows.path.tolist() and rows[0]["label"] == "1"
        assert rows[1]["caption"] == 'a "cat", seen\ntwice' and rows[2]["sha256"] == store.rows.sha256[2]
        assert [float(row["embedding:47"]) for row in rows] == pytest.approx(store.read(columns=[47])[:, 0])
        assert [float(row["sigma:0"]) for row in rows] == pytest.approx(store.read("sigma"))
        call("stores", "export", tmp_path / "s", tmp_path / "t.xls", refused=".parquet")
        call("stores", "export", tmp_path / "s", tmp_path / "u.csv", "--channel", "text", refused="no channel text")
        parquet = pytest.importorskip("pyarrow.parquet")
        call("stores", "export", tmp_path / "s", tmp_path / "t.parquet", "--channel", "embedding")
        table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
        assert table["path"] == store.rows.path.tolist() and table["width"] == [24] * 3
        np.testing.assert_array_equal(np.float32(table["embedding"]), store.read())


@pytest.mark.parametrize("name", ["s.h5", "folder"])
def test_verify_finds_one_changed_byte(tmp_path, make_images, name):
    embed(tmp_path / name, records_of(make_images(20)))
    file = tmp_path / name if name == "s.h5" else next((tmp_path / name).glob("*.h5"))
    with h5py.File(file) as opened:
        offset = opened["embedding"].id.get_chunk_info(3).byte_offset
    raw = bytearray(file.read_bytes())
    raw[offset + 5] ^= 4
    file.write_bytes(raw)
    [finding] = verify(tmp_path / name)
    assert finding.file == file and "embedding is not what was written" in finding.what
    raw[:4] = b"????"
    file.write_bytes(raw)
    if name == "folder":
        [finding] = verify(tmp_path / name)
        assert "not a whole HDF5 file" in finding.what
        file.unlink()
        [finding] = verify(tmp_path / name)
        assert finding.what == "is missing"


def test_verify_finds_parts_that_are_not_those_of_the_table(tmp_path, make_images):
    embed(tmp_path / "s", records_of(make_images(3)))
    embed(tmp_path / "t", records_of(make_images(3, "other", seed=3)))
    shutil.copyfile(tmp_path / "t/part-00000001.h5", tmp_path / "s/part-00000001.h5")
    shutil.copyfile(tmp_path / "t/part-00000001.h5", tmp_path / "s/part-00000002.h5")
    wrong, unknown = verify(tmp_path / "s")
    assert "3 rows" in wrong.what and "not named" in unknown.what


def test_a_lost_or_damaged_table_comes_back_from_the_parts(tmp_path, make_images):
    records = records_of(make_images(5), label=1, generator="g")
    embed(tmp_path / "s", records)
    (tmp_path / "s" / TABLE_NAME).write_bytes(b"x" * 10_000)
    with pytest.raises(StoreError, match="move it away and embed again"):
        EmbeddingStore(tmp_path / "s")
    with pytest.raises(StoreError, match="move it away and embed again"):
        embed(tmp_path / "s", records)
    (tmp_path / "s" / TABLE_NAME).unlink()
    with EmbeddingStore(tmp_path / "s") as store:
        assert len(store) == 5 and set(store.rows.generator) == {"g"}
    assert embed(tmp_path / "s", records).batches == []


def test_a_new_column_is_one_line(tmp_path, make_images):
    """A field of a record is a column: in new stores, in old tables, in packed files, in exports."""
    embed(tmp_path / "s", records_of(make_images(2)))
    embed(tmp_path / "p.h5", records_of(make_images(2)))
    code = (
        "import dataclasses, sys\n"
        "import aigiscan.images.records as records\n"
        "bases = (records.ImageRecord,)\n"
        "new = [('mood', str, '')]\n"
        "records.ImageRecord = dataclasses.make_dataclass('ImageRecord', new, bases=bases, frozen=True)\n"
        "records.ImageRecord.__dataclass_fields__['mood'].type = 'str'\n"
        "from pathlib import Path\n"
        "from store_helpers import embed, records_of\n"
        "from aigiscan.store import EmbeddingStore\n"
        "for name in ('s', 'p.h5'):\n"
        "    with EmbeddingStore(name) as store: assert store.rows.mood.tolist() == ['', '']\n"
        "    paths = sorted(Path('images').absolute().iterdir())\n"
        "    made = [records.ImageRecord(str(p), mood='blue') for p in paths]\n"
        "    assert embed(Path(name), made).batches == []\n"
        "    with EmbeddingStore(name) as store: assert store.rows.mood.tolist() == ['blue'] * 2, store.rows.mood\n"
        "    with EmbeddingStore(name) as store: assert store.rows.record(1).mood == 'blue'\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with EmbeddingStore(tmp_path / "s") as store:  # and a column of a newer version is no harm
        assert len(store) == 2


def test_a_network_file_system_gets_a_journal_and_readers_a_copy(tmp_path, make_images, monkeypatch):
    monkeypatch.setattr("aigiscan.store.table.on_network", lambda folder: True)
    records = records_of(make_images(6))
    embed(tmp_path / "s", records[:3])
    with EmbeddingStore(tmp_path / "s") as store:
        embed(tmp_path / "s", records)  # a reader does not hold the writer up
        assert len(store) == 3 and store.read().shape == (3, 48)
    assert sqlite3.connect(tmp_path / "s" / TABLE_NAME).execute("PRAGMA journal_mode").fetchone() == ("delete",)
    with EmbeddingStore(tmp_path / "s") as store:
        assert len(store) == 6
    monkeypatch.undo()
    assert not on_network(tmp_path)


def test_a_folder_that_cannot_be_written_can_be_read(tmp_path, make_images):
    embed(tmp_path / "s", records_of(make_images(3)))
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from aigiscan.store import EmbeddingStore\n"
        "from aigiscan.errors import StoreError\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "with EmbeddingStore(sys.argv[1]) as store: assert store.read().shape == (3, 48)\n"
        "assert not os.access(sys.argv[1], os.W_OK)\n"
    )
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    (tmp_path / "s").chmod(0o555)
    command = [sys.executable, "-c", code, str(tmp_path / "s"), str(Path(__file__).parents[2])]
    done = subprocess.run(command, capture_output=True, text=True)
    (tmp_path / "s").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "s").iterdir())) == 3  # the table, a part, the lock: nothing was left there
