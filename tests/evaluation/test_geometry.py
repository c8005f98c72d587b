from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from aigiscan.errors import InputError
from aigiscan.evaluation.geometry import geometry_of, isoscore, isoscore_corrected, mean_cosine, tsne, write_geometry


def isoscore_step_by_step(X: np.ndarray) -> float:
    """Algorithm 1 of Rudman et al. (2022), as written there, with an explicit rotation to principal axes."""
    d = X.shape[1]
    centred = X - X.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    variances = np.var(centred @ axes.T, axis=0, ddof=1)
    scaled = variances * np.sqrt(d) / np.linalg.norm(variances)
    defect = np.linalg.norm(scaled - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    phi = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return float((d * phi - 1) / (d - 1))


@pytest.mark.parametrize(("n", "d"), [(200, 5), (50, 64), (30, 30), (500, 2)])
def test_isoscore_equals_the_published_algorithm(n: int, d: int) -> None:
    rng = np.random.default_rng(n + d)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 5, d) + rng.normal(size=d)
    assert isoscore(X) == pytest.approx(isoscore_step_by_step(X), abs=1e-10)


def test_reference_values() -> None:
    rng = np.random.default_rng(0)
    assert isoscore(rng.normal(size=(20_000, 10))) > 0.995
    line = np.outer(rng.normal(size=500), rng.normal(size=10)) + 3
    assert isoscore(line) == pytest.approx(0, abs=1e-9)
    # k of d dimensions used alike: (k - 1)/(d - 1), exactly so for the corners of a cross
    for k in (1, 3, 7, 10):
        cross = np.zeros((2 * k, 10))
        cross[np.arange(k), np.arange(k)] = 1
        cross[np.arange(k) + k, np.arange(k)] = -1
        assert isoscore(cross) == pytest.approx((k - 1) / 9, abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(1000, 768), (1000, 47), (200, 768), (30, 12)])
def test_the_corrected_score_of_noise_is_one_whatever_the_width_and_the_number(n: int, d: int) -> None:
    rng = np.random.default_rng(0)
    found = geometry_of(rng.normal(size=(n, d)))
    assert found.isoscore < 0.96  # 1,000 images: 0.56 in 768 columns, 0.95 in 47
    assert found.corrected > 0.97 or n < 100
    mean = np.mean([isoscore_corrected(rng.normal(size=(n, d))) for _ in range(3)])
    assert mean > 0.85
    half = rng.normal(size=(n, d)) * (np.arange(d) < d // 4)  # a quarter of the dimensions, used alike
    used = geometry_of(half).dimensions_used
    assert used == pytest.approx(d // 4, rel=0.05 if n >= 200 else 0.4)


def test_as_many_random_columns_tell_what_narrowing_alone_does(tmp_path) -> None:
    """A removal that knows nothing: with the published score noise looks more even after it, and so do its controls."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 200))
    written = write_geometry(tmp_path, X, np.arange(300) % 2, np.where(np.arange(300) % 2, "g", ""), kept=range(20))
    by = {row["columns"]: row for row in written["rows"] if row["subset"] == "all images"}
    before, after, random = (by[name] for name in ("before removal", "after removal", "random columns, as many"))
    assert before["isoscore"] < 0.65 < 0.9 < after["isoscore"]
    assert random["isoscore"] == pytest.approx(after["isoscore"], abs=0.03)
    assert random["dimensions"] == 20
    assert abs(before["corrected"] - after["corrected"]) < 0.05


def test_isoscore_invariances() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 8)) * np.arange(1, 9)
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    for same in (X @ rotation, 7.5 * X, X + 100, X[::-1], X[:, ::-1], np.concatenate([X, X])):
        assert isoscore(same) == pytest.approx(isoscore(X), rel=1e-9)


def test_mean_cosine_over_pairs() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(40, 6)) + 1
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert mean_cosine(X) == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean(), abs=1e-12)
    assert mean_cosine(np.outer([1.0, 2.0, 3.0], [1.0, 1.0])) == pytest.approx(1)
    assert mean_cosine(np.array([[1.0, 0], [-1.0, 0]])) == pytest.approx(-1)
    assert mean_cosine(np.array([[0.0, 0], [1.0, 0]])) == 0
    assert abs(mean_cosine(rng.normal(size=(5000, 50)))) < 1e-3


def test_what_has_no_geometry() -> None:
    for bad in (np.ones((1, 4)), np.eye(2), np.ones((5, 4)), np.ones((5, 1)), np.full((9, 3), 0.1)):
        with pytest.raises(InputError):
            geometry_of(bad)


def test_removing_a_dominant_column_makes_the_cloud_isotropic(tmp_path) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 12))
    X[:, 4] = 50 + 20 * rng.normal(size=60)
    labels = np.arange(60) % 2
    generators = np.where(labels == 1, np.where(np.arange(60) % 4 == 1, "gan_a", "diff_b"), "")
    kept = [i for i in range(12) if i != 4]
    written = write_geometry(tmp_path, X, labels, generators, kept=kept, paths=[f"p{i}.png" for i in range(60)])
    by = {(row["columns"], row["subset"]): row for row in written["rows"]}
    assert by["before removal", "all images"]["isoscore"] < 0.05 < 0.6 < by["after removal", "all images"]["isoscore"]
    assert by["before removal", "real"]["mean_cosine"] > 0.9 > 0.1 > by["after removal", "real"]["mean_cosine"]
    assert {"gan_a", "diff_b"} <= {row["subset"] for row in written["rows"]}
    assert by["after removal", "gan_a"]["images"] == 15
    assert json.loads((tmp_path / "geometry.json").read_text()) == written
    with (tmp_path / "tsne.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 120
    assert {row["generator"] for row in rows} == {"real", "gan_a", "diff_b"}
    assert (tmp_path / "tsne.png").read_bytes().startswith(b"\x89PNG")


def test_tsne_keeps_two_far_clusters_apart_and_repeats() -> None:
    rng = np.random.default_rng(4)
    centres = np.repeat([[1.0, 0, 0, 0], [0, 0, 0, 1.0]], 40, axis=0)
    X = centres + 0.01 * rng.normal(size=(80, 4))
    rows, points = tsne(X)
    assert rows.tolist() == list(range(80))
    gap = np.linalg.norm(points[:40].mean(axis=0) - points[40:].mean(axis=0))
    spread = max(points[:40].std(), points[40:].std())
    assert gap > 2 * spread
    assert np.array_equal(points, tsne(X)[1])
    assert len(tsne(X, max_points=30)[0]) == 30
