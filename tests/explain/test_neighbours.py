from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_encoder import FakeEncoder

from aigiscan.errors import StoreError
from aigiscan.explain import neighbours
from aigiscan.explain.neighbours import NeighbourIndex
from aigiscan.features.views import EmbeddingView
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run
from aigiscan.store import EmbeddingStore, StoreWriter


def write_store(target: Path, paths: list[Path], labels: list[int | None]) -> EmbeddingStore:
    encoder = FakeEncoder()
    records = [ImageRecord(str(path), label=label) for path, label in zip(paths, labels, strict=True)]
    with StoreWriter(target, {**encoder.fingerprint(), "equalization": ""}, encoder.channels()) as writer:
        writer.append(list(run(records, encoder)))
    return EmbeddingStore(target)


def plain(X: np.ndarray, query: np.ndarray, standardize: bool) -> np.ndarray:
    mean, scale = (X.mean(axis=0), X.std(axis=0)) if standardize else (0, 1)
    rows, one = (X - mean) / scale, (query - mean) / scale
    return rows @ one / np.linalg.norm(rows, axis=1) / np.linalg.norm(one)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("block", [3, 1000])
def test_the_nearest_of_each_class(
    make_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standardize: bool, block: int
) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    store = write_store(tmp_path / "s.h5", make_images(20), [i % 2 for i in range(20)])
    index = NeighbourIndex(store, EmbeddingView(), standardize=standardize)
    X, labels = store.read("embedding"), np.asarray(store.rows.label)
    queries = np.random.default_rng(3).uniform(size=(2, 48)).astype(np.float32)
    for query, found in zip(queries, index.nearest(queries, 4), strict=True):
        similar = plain(X.astype(np.float64), query.astype(np.float64), standardize)
        for side, label in (("real", 0), ("fake", 1)):
            expected = sorted(np.flatnonzero(labels == label), key=lambda i: -similar[i])[:4]
            assert [n.row for n in found[side]] == expected
            assert [n.similarity for n in found[side]] == pytest.approx(similar[expected], abs=1e-4)


def test_the_image_itself_is_left_out(make_images, tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.h5", make_images(6), [0, 0, 0, 1, 1, None])
    index = NeighbourIndex(store, EmbeddingView(), standardize=False)
    X = store.read("embedding", rows=[1])
    assert index.nearest(X, 9)[0]["real"][0].row == 1
    (found,) = index.nearest(X, 9, exclude=[store.rows.sha256[1]])
    assert [n.row for n in found["real"]] and 1 not in [n.row for n in found["real"]]
    assert len(found["fake"]) == 2


def test_a_store_without_labels_is_refused(make_images, tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.h5", make_images(3), [None] * 3)
    with pytest.raises(StoreError, match="no labelled rows"):
        NeighbourIndex(store, EmbeddingView(), standardize=False)
