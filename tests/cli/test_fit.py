"""``fit`` and ``detectors`` beyond the plain case, as a user types them."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image


def run(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "aigiscan", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def photographs(folder: Path, seed: int, shift: float = 0.0, suffix: str = "jpg") -> Path:
    """24 pictures of noise; ``shift`` makes them redder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(24):
        pixels = rng.normal(110, 30, (20, 20, 3))
        pixels[..., 0] += shift
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i:02d}.{suffix}")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras and two generators of 24 pictures; generated ones are redder, in PNG, photographs are JPEG."""
    root = tmp_path_factory.mktemp("data")
    photographs(root / "cam1" / "0_real", 0)
    photographs(root / "cam2" / "0_real", 1)
    photographs(root / "gan" / "1_fake", 2, 25, "png")
    photographs(root / "sd" / "1_fake", 3, 25, "png")
    run("embed", root, "-o", root / "s.h5", "--encoder", "color:rgb")
    return root / "s.h5"


def test_file_facts_that_tell_the_label_are_said_before_fitting(store: Path, tmp_path: Path) -> None:
    done = run("fit", store.parent, "-o", tmp_path / "d", "--encoder", "color:rgb", "--max-fpr", 0.1)
    assert "warning" in done.stderr and "--equalize" in done.stderr
    again = run(
        "fit", store.parent, "-o", tmp_path / "e", "--encoder", "color:rgb", "--max-fpr", 0.1,
        "--equalize", "square:16,jpeg:75",
    )  # fmt: skip
    assert "--equalize" not in again.stderr
    card = yaml.safe_load((tmp_path / "e" / "card.yaml").read_text())
    assert card["equalization"] == "square:16,jpeg:75"


def test_stacking_and_continuing_and_own_photographs(store: Path, tmp_path: Path) -> None:
    run("fit", store, "-o", tmp_path / "a", "--max-fpr", 0.1, "--C", 0.1)
    run("fit", store, "-o", tmp_path / "b", "--max-fpr", 0.1, "-c", "residual")
    run(
        "fit",
        store,
        "-o",
        tmp_path / "s",
        "--max-fpr",
        0.1,
        "-c",
        "stacking",
        "--base",
        tmp_path / "a",
        "--base",
        tmp_path / "b",
    )
    again = run("fit", store, "-o", tmp_path / "c", "--max-fpr", 0.1, "--from", tmp_path / "a", code=2)
    assert "has seen 96 of these 96 pictures" in again.stderr
    for i, source in enumerate(("cam1", "cam2", "gan", "sd")):
        photographs(tmp_path / "new" / source / ("0_real", "1_fake")[i // 2], 10 + i, 25 * (i // 2))
    run("fit", tmp_path / "new", "-o", tmp_path / "c", "--max-fpr", 0.1, "--from", tmp_path / "a")
    seen = run("fit", "--calibrate-on", store.parent / "cam1", tmp_path / "a", "-o", tmp_path / "x", code=2)
    assert "24 that the detector was fitted on" in seen.stderr
    mine = photographs(tmp_path / "mine", seed=5)
    done = run("fit", "--calibrate-on", mine, tmp_path / "a", "-o", tmp_path / "own")
    assert "of your 24 photographs the old threshold flagged" in done.stderr
    for name in ("a", "s", "c", "own"):
        rows = list(csv.DictReader(io.StringIO(run("scan", store.parent / "gan", "-d", tmp_path / name).stdout)))
        assert sum(row["verdict"] == "ai" for row in rows) > 12, name
    assert (
        yaml.safe_load((tmp_path / "own" / "card.yaml").read_text())["thresholds"]["calibrated_on"]["photographs"] == 24
    )
    wrong = run("fit", store, "-o", tmp_path / "x", "-c", "stacking", code=2)
    assert "--base" in wrong.stderr


def test_multiclass_reports_the_generator(store: Path, tmp_path: Path) -> None:
    run("fit", store, "-o", tmp_path / "m", "-c", "multiclass-svm", "--max-fpr", 0.1)
    rows = list(csv.DictReader(io.StringIO(run("scan", store, "-d", tmp_path / "m").stdout)))
    named = {row["generator"] for row in rows if row["verdict"] == "ai"}
    assert named and named <= {"gan", "sd", "real"}
    assert all(row["generator"] == "" for row in rows if row["verdict"] != "ai")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-c", "oracle"], "oracle"),
        (["-p", "k"], "KEY=VALUE"),
        (["-p", "depth=3"], "no parameter"),
        (["--grid", "mine"], "paper"),
        (["--features", "toes"], "toes"),
        (["--features", "components:nothing.yaml"], "nothing.yaml"),
        (["--equalize", "square:16"], "embed --equalize"),
        (["-c", "zero-shot"], "text"),
    ],
)
def test_wrong_options_are_one_line(args: list[str], message: str, store: Path, tmp_path: Path) -> None:
    done = run("fit", store, "-o", tmp_path / "d", *args, code=2)
    assert message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "d").exists()


def test_detectors_list_show_and_classifiers() -> None:
    assert "builtin\tlite+spam\tdemonstration grade" in run("detectors", "list").stdout
    card = yaml.safe_load(run("detectors", "show", "builtin").stdout)
    assert card["grade"] == "demonstration grade" and card["metrics"]["held_out"]
    names = [line.split("\t")[0] for line in run("detectors", "classifiers").stdout.splitlines()]
    assert {"logistic", "residual", "svm", "knn", "mlp", "zero-shot", "tip-adapter", "stacking"} <= set(names)
    assert "nothing" in run("detectors", "show", "nothing", code=2).stderr
