"""``aigiscan evaluate`` as a user calls it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_calls import call
from PIL import Image

GENERATORS = {"green_gan": "gan", "grass_gan": "gan", "blue_diffusion": "diffusion", "sky_diffusion": "diffusion"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Grey noise from three cameras; each family of generators has a colour of its own."""
    root = tmp_path_factory.mktemp("data") / "set"
    rng = np.random.default_rng(0)
    shifts = {"gan": (0, 45, 0), "diffusion": (0, 0, 45)}
    places = [(f"cam{i}/0_real", (0, 0, 0), "", "") for i in range(3)]
    places += [(f"{name}/1_fake", shifts[family], name, family) for name, family in GENERATORS.items()]
    lines = ["path,label,generator,family,group,source"]
    for place, shift, generator, family in places:
        (root / place).mkdir(parents=True)
        for i in range(14):
            pixels = rng.normal(110, 30, (28, 28, 3)) + np.array(shift) + rng.normal(0, 12, 3)
            name = f"{place}/{i:02d}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name)
            label = "fake" if generator else "real"
            lines.append(f"{name},{label},{generator},{family},{place}-{i // 2},{place.split('/')[0]}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "set.h5"
    call("embed", folder, "-o", path, "--encoder", "color:hsv", "--equalize", "square:24")
    return path


def test_transfer_and_held_out_of_a_store(store, tmp_path):
    out = tmp_path / "out"
    call("evaluate", store, "-o", out, "--draws", 50, "-p", "C=0.1", "--folds", 3)
    averages = {row["transfer"]: row for row in rows(out / "transfer_logistic_averages.csv")}
    assert list(averages) == [
        "all",
        "same generator",
        "within diffusion",
        "within gan",
        "diffusion → gan",
        "gan → diffusion",
    ]
    assert float(averages["within gan"]["AUC"]) > 0.9
    cells = rows(out / "transfer_logistic_cells.csv")
    assert len(cells) == 16
    assert {row["train"] for row in cells} == set(GENERATORS)
    summary = rows(out / "held-out_sources_summary.csv")
    assert [row["name"] for row in summary] == ["logistic"]
    generators = rows(out / "held-out_sources_generators_logistic.csv")
    assert len(generators) == 4
    assert [float(r["AUC"]) for r in generators] == sorted(float(r["AUC"]) for r in generators)
    assert json.loads((out / "transfer_logistic.json").read_text())["generators"]
    page = (out / "index.html").read_text()
    assert page.count("<img") == 5  # with the gallery and the reliability diagram
    assert "Held-out sources" in page


def test_the_same_seed_gives_the_same_tables(store, tmp_path):
    for name in ("a", "b"):
        call("evaluate", store, "-o", tmp_path / name, "--draws", 20, "--folds", 3, "--seed", 5)
    for file in sorted(p.name for p in (tmp_path / "a").glob("*.csv")):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_classifiers_encoders_and_families_compared(folder, tmp_path):
    families = tmp_path / "families.yaml"
    families.write_text("green_gan: gan\ngrass_gan: gan\n")
    out = tmp_path / "out"
    call(
        "evaluate", folder, "-o", out, "-e", "color:hsv", "-e", "color:rgb", "-c", "logistic", "-c", "multiclass-svm",
        "--families", families, "--no-transfer", "--draws", 20, "--folds", 3,
    )  # fmt: skip
    names = [row["name"] for row in rows(out / "held-out_sources_summary.csv")]
    assert names == [f"set {e} {c}" for e in ("color:hsv", "color:rgb") for c in ("logistic", "multiclass-svm")]
    classes = rows(out / "confusion_set_color_hsv_multiclass-svm_classes.csv")
    assert {row["class"] for row in classes} == {"real", "gan", "other"}


def test_detectors_on_a_store_and_on_a_folder(store, folder, tmp_path):
    detector = tmp_path / "detector"
    call("fit", store, "-o", detector, "--max-fpr", 0.1, "--max-miss", 0.1, "--folds", 3)
    out = tmp_path / "out"
    result = call("evaluate", store, "-o", out, "--detector", detector, "--draws", 20, "--max-fpr", 0.2)
    assert "fitted on these very images" in result.stderr
    generators = next(out.glob("detectors_generators_*.csv"))
    assert {row["in training"] for row in rows(generators)} == {"yes"}
    sources = rows(next(out.glob("detectors_sources_*.csv")))
    assert {row["promised"] for row in sources} == {"0.1", "0.2"}
    assert rows(out / "detectors_oracle.csv")[0]["oracle balanced accuracy"]
    again = tmp_path / "again"
    call("evaluate", folder, "-o", again, "--detector", detector, "--draws", 20, "--max-fpr", 0.2)
    key = ("generator", "AUC", "called ai")
    for ours, theirs in zip(rows(generators), rows(next(again.glob("detectors_generators_*.csv"))), strict=True):
        assert [ours[k] for k in key] == [theirs[k] for k in key]


def test_robustness_quality_and_audit(store, tmp_path):
    out = tmp_path / "out"
    result = call(
        "evaluate", store, "-o", out, "--no-transfer", "--no-held-out", "--robustness", "--quality-matrix", "--audit",
        "--max-images", 30, "--draws", 20,
    )  # fmt: skip
    found = rows(out / "robustness.csv")
    assert [row["perturbation"] for row in found][:3] == ["none", "jpeg:90", "jpeg:75"]
    assert len(found) == 16
    assert float(found[0]["AUC"]) > 0.8
    quality = rows(out / "quality_logistic.csv")
    assert len(quality) == 9
    assert {row["train quality"] for row in quality} == {"40", "65", "90"}
    assert {row["fact"] for row in rows(out / "audit_facts.csv")} >= {"format", "size"}
    assert "wrote" in result.stderr


def test_robustness_of_a_detector(folder, store, tmp_path):
    call("fit", store, "-o", tmp_path / "detector", "--max-fpr", 0.2, "--max-miss", 0.2, "--folds", 3)
    call(
        "evaluate", folder, "-o", tmp_path / "out", "-d", tmp_path / "detector", "--robustness", "--max-images", 20,
        "--draws", 20,
    )  # fmt: skip
    assert len(rows(tmp_path / "out" / "robustness.csv")) == 16


def test_the_training_source_swapped(store, folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    manifest = (other / "manifest.csv").read_text().splitlines()
    keep = [line for line in manifest if "diffusion" not in line]
    (other / "manifest.csv").write_text("\n".join(keep) + "\n")
    trained = tmp_path / "gan_only.h5"
    call("embed", other / "manifest.csv", "-o", trained, "--encoder", "color:hsv", "--equalize", "square:24")
    out = tmp_path / "out"
    call("evaluate", store, "-o", out, "--train-on", trained, "--draws", 20, "--max-fpr", 0.2)
    table = {row["generator"]: row for row in rows(out / "trained_on_another_data_set_generators_logistic.csv")}
    assert {g for g, row in table.items() if row["in training"] == "yes"} == {"green_gan", "grass_gan"}
    assert float(table["green_gan"]["AUC"]) > float(table["sky_diffusion"]["AUC"])


def test_what_cannot_be_evaluated_is_one_line(store, folder, tmp_path):
    out = tmp_path / "out"
    call("evaluate", store, "-o", out, "-c", "no-such", refused="choose one of")
    call("evaluate", store, "-o", out, "-p", "nonsense", refused="KEY=VALUE")
    call("evaluate", store, "-o", out, "--equalize", "square:24", refused="embed --equalize")
    call("evaluate", store, store, "-o", out, refused="two inputs are called")
    call("evaluate", store, "-o", out, "--min-images", 999, "--no-held-out", "--transfer", refused="min-images")
    call("evaluate", store, "-o", out, "-c", "zero-shot", refused="text")
    call("evaluate", store, "-o", out, "-d", tmp_path / "no-such", refused="no detector")


def test_plain_real_and_fake_folders_can_be_evaluated(tmp_path):
    rng = np.random.default_rng(1)
    for name, shift in (("real", 0), ("fake", 40)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.normal(110, 30, (24, 24, 3)) + np.array([0, shift, 0])
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / "set" / name / f"{name}{i}.png")
    out = tmp_path / "out"
    result = call("evaluate", tmp_path / "set", "-o", out, "-e", "color:hsv", "--draws", 20, "--folds", 3)
    assert "no transfer matrix" in result.stderr
    (row,) = rows(out / "held-out_sources_generators_logistic.csv")
    assert float(row["AUC"]) > 0.9
    assert {r["source"].partition(" (")[0] for r in rows(out / "held-out_sources_sources_logistic.csv")} == {"real"}
