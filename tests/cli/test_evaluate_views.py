"""``aigiscan evaluate --geometry --spectra`` and its galleries."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from aigiscan.cli.app import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Grey noise from two cameras; a generator with a grid of period 4, one with a tint and too small pictures."""
    root = tmp_path_factory.mktemp("data") / "set"
    rng = np.random.default_rng(0)
    grid = 10 * np.cos(np.pi / 2 * np.arange(32))
    for source, label, size in (("cam_a", 0, 32), ("cam_b", 0, 32), ("grid_gan", 1, 32), ("tint", 1, 20)):
        place = root / source / ("1_fake" if label else "0_real")
        place.mkdir(parents=True)
        for i in range(10):
            pixels = rng.normal(120, 25, (size, size, 3))
            if source == "grid_gan":
                pixels += grid[None, :, None]
            if source == "tint":
                pixels[..., 2] += 60
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{i}.png")
    return root


def evaluate(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_geometry_spectra_and_gallery_of_a_folder(folder, tmp_path):
    out = tmp_path / "out"
    evaluate(
        folder, "-o", out, "-e", "color:rgb", "--no-transfer", "--folds", 2, "--draws", 20,
        "--geometry", "--spectra", "--spectra-size", 32, "--gallery", 3,
    )  # fmt: skip
    geometry = json.loads((out / "geometry" / "geometry.json").read_text())["rows"]
    assert {row["subset"] for row in geometry} == {"all images", "real", "grid_gan", "tint"}
    assert (out / "geometry" / "tsne.png").exists()
    spectra = json.loads((out / "spectra" / "spectra.json").read_text())["generators"]
    peak = spectra["grid_gan"]["peaks"][0]
    assert (abs(peak["fx"]), peak["fy"]) == (0.25, 0.0)
    assert set(spectra) == {"real", "grid_gan"}
    (gallery,) = out.glob("gallery_*.json")
    cells = json.loads(gallery.read_text())
    assert len(cells["real, taken as real"]) == 3
    assert all("0_real" in entry["path"] for entry in cells["real, taken as real"])
    page = (out / "index.html").read_text()
    assert "Spectra" in page and "Geometry" in page
    assert page.count("<img") >= 3


def test_geometry_of_a_store_and_no_gallery(folder, tmp_path):
    store = tmp_path / "s.h5"
    assert CliRunner().invoke(app, ["embed", str(folder), "-o", str(store), "-e", "color:rgb"]).exit_code == 0
    out = tmp_path / "out"
    evaluate(store, "-o", out, "--no-transfer", "--no-held-out", "--geometry", "--gallery", 0)
    with (out / "geometry_table.csv").open(newline="") as handle:
        assert {row["columns"] for row in csv.DictReader(handle)} == {"all"}
    assert not list(out.glob("gallery_*"))


def test_geometry_before_and_after_removal(folder, tmp_path):
    from aigiscan.features.selection import write_yaml
    from aigiscan.store import EmbeddingStore

    store, chosen, out = tmp_path / "s.h5", tmp_path / "kept.yaml", tmp_path / "out"
    assert CliRunner().invoke(app, ["embed", str(folder), "-o", str(store), "-e", "color:rgb"]).exit_code == 0
    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
        kept = [i for i, spread in enumerate(opened.read("embedding").std(axis=0)) if spread > 0][:9]
    names = [f"{fingerprint['name']}:{i}" for i in kept]
    pair = ["grid_gan", "tint"]
    write_yaml(chosen, {"format": 1, "kind": "components", "encoder": fingerprint, "pair": pair, "kept": names})
    evaluate(
        store, "-o", out, "--no-transfer", "--no-held-out", "--geometry", "--features", f"components:{chosen}"
    )  # fmt: skip
    written = json.loads((out / "geometry" / "geometry.json").read_text())["rows"]
    dimensions = {row["columns"]: row["dimensions"] for row in written}
    assert dimensions["after removal"] == 9 < dimensions["before removal"]


def test_what_cannot_be_shown_is_one_line(folder, tmp_path):
    result = evaluate(folder, "-o", tmp_path, "-e", "color:rgb", "--no-transfer", "--no-held-out", "--spectra", code=2)
    assert "--spectra-size" in result.stderr.splitlines()[-1]
