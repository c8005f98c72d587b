"""``aigiscan embed`` and ``aigiscan stores show`` as a user calls them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from cli_calls import call

from aigiscan.encoders import create_encoder
from aigiscan.runner import run
from aigiscan.store import EmbeddingStore


@pytest.fixture
def labelled(make_images, tmp_path):
    """ROOT/<generator>/{0_real,1_fake} with two generators, three of each, and one broken file."""
    for number, generator in enumerate(("alpha", "beta")):
        for name in ("0_real", "1_fake"):
            make_images(3, f"root/{generator}/{name}", size=40, seed=10 * number + len(name))
    (tmp_path / "root/alpha/1_fake/0001.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return tmp_path / "root"


def test_labels_of_the_layout_reach_the_store(labelled, tmp_path):
    store_path = tmp_path / "s.h5"
    result = call("embed", labelled, "-o", store_path, "-e", "spam")
    assert result.stdout == ""
    assert "11 images embedded, 1 unreadable" in result.stderr and "0001.png" in result.stderr
    with EmbeddingStore(store_path) as store:
        rows = store.rows
        assert sorted(zip(rows.label.tolist(), rows.generator, strict=True)) == sorted(
            [(0, "")] * 6 + [(1, "alpha")] * 2 + [(1, "beta")] * 3
        )
        assert set(rows.source) == {"alpha", "beta"}
        again = {r.record.path: r.channels for r in run([rows.record(i) for i in range(11)], create_encoder("spam"))}
        np.testing.assert_array_equal(store.read(), np.stack([again[p]["embedding"] for p in rows.path]))


def test_second_run_computes_nothing(labelled, tmp_path):
    call("embed", labelled, "-o", tmp_path / "s.h5", "-e", "spam")
    before = (tmp_path / "s.h5").read_bytes()
    result = call("embed", labelled, "-o", tmp_path / "s.h5")  # the store says which encoder
    assert "0 images embedded, 11 known, 1 unreadable" in result.stderr
    assert (tmp_path / "s.h5").read_bytes() == before


def test_unlabelled_folder_lists_filters_and_prune(make_images, tmp_path):
    paths = make_images(5, size=40)
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths[:2])))
    result = call("embed", tmp_path / "images", "-o", tmp_path / "a.h5", "-e", "spam", "--exclude", "0004.png")
    assert "no labels" in result.stderr and "4 images embedded" in result.stderr
    call("embed", tmp_path / "list.txt", "-o", tmp_path / "b.h5", "-e", "spam")
    with EmbeddingStore(tmp_path / "b.h5") as store:
        assert store.rows.path.tolist() == [str(p) for p in paths[:2]] and set(store.rows.label) == {-1}
    paths[0].unlink()
    assert "1 dropped" in call("embed", tmp_path / "images", "-o", tmp_path / "a.h5", "--prune").stderr
    with EmbeddingStore(tmp_path / "a.h5") as store:
        assert store.rows.path.tolist() == [str(p) for p in paths[1:]]


def test_equalisation_belongs_to_the_store(make_images, tmp_path):
    make_images(2, size=60)
    call("embed", tmp_path / "images", "-o", tmp_path / "s.h5", "-e", "spam", "--equalize", "square:32, jpeg:75")
    make_images(2, "images/more", size=60, seed=5)
    call("embed", tmp_path / "images", "-o", tmp_path / "s.h5")
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert store.fingerprint["equalization"] == "square:32,jpeg:75" and len(store) == 4
    call("embed", tmp_path / "images", "-o", tmp_path / "s.h5", "--equalize", "square:16", refused="equalization")


def test_what_cannot_be_is_one_line(make_images, tmp_path):
    images = make_images(1, size=40)[0].parent
    call("embed", tmp_path / "nothing", "-o", tmp_path / "s.h5", "-e", "spam", refused="no such file")
    (tmp_path / "empty").mkdir()
    call("embed", tmp_path / "empty", "-o", tmp_path / "s.h5", "-e", "spam", refused="no image found")
    call("embed", images, "-o", tmp_path / "s.h5", "--backend", "dask", refused="--scheduler")
    call("embed", images, "-o", tmp_path / "s.h5", "--backend", "spark", refused="spark")
    call("embed", images, "-o", tmp_path / "s.h5", "-e", "spam")
    call("embed", images, "-o", tmp_path / "s.h5", "-e", "lite", refused="by encoder 'spam' and this run uses 'lite'")
    call("stores", "show", tmp_path / "none.h5", refused="does not exist")


def test_no_resume_makes_a_store_anew(make_images, tmp_path):
    images = make_images(2, size=40)[0].parent
    call("embed", images, "-o", tmp_path / "s.h5", "-e", "spam", "--equalize", "square:16")
    call("embed", images, "-o", tmp_path / "s.h5", "-e", "spam", "--no-resume")
    with EmbeddingStore(tmp_path / "s.h5") as store:
        assert store.fingerprint["equalization"] == "" and len(store) == 2


def test_stores_show(labelled, tmp_path):
    call("embed", labelled, "-o", tmp_path / "s.h5", "-e", "spam")
    text = call("stores", "show", tmp_path / "s.h5").stdout
    for part in ("11 images", "label: real 6, fake 5", "(none) 6, beta 3, alpha 2", "PNG 11", "encoder name: spam"):
        assert part in text
    assert "unreadable files: 1" in text and "0001.png" in text and "unfinished" not in text
    facts = json.loads(call("stores", "show", tmp_path / "s.h5", "--json").stdout)
    assert facts["counts"]["generator"] == {"": 6, "beta": 3, "alpha": 2}
    assert facts["bytes"] == (tmp_path / "s.h5").stat().st_size and len(facts["failures"]) == 1
    shutil.copytree(labelled, tmp_path / "copy")
    call("embed", tmp_path / "copy", "-o", tmp_path / "folder", "-e", "spam")
    assert "11 images" in call("stores", "show", tmp_path / "folder").stdout
