"""``aigiscan evaluate`` as a user calls it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_calls import call
from PIL import Image

from aigiscan.cli import console
from aigiscan.cli.app import app

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
    thumbnails = page.count('src="data:image/jpeg')
    assert thumbnails == sum(map(len, json.loads((out / "gallery_logistic.json").read_text()).values()))
    assert page.count("<img") - thumbnails == 6  # with the gallery, the reliability diagram and the ROC curve
    assert "3 photo sources and 4 generators: too few for an interval" in page
    assert summary[0]["recall at 5 % false alarms"] and summary[0]["Cllr"] and summary[0]["minCllr"]
    assert page.count("share of generated pictures scoring higher than all but 5 %") == 1
    assert cells[0]["recall at 5 % false alarms"] and cells[0]["accuracy, validated"]
    assert "Held-out generators and photo sources" in page


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
    for given in (store, folder, folder / "manifest.csv"):  # what it was fitted on, however it is given
        call("evaluate", given, "-o", out, "--detector", detector, "--draws", 20, refused="has seen all 98 pictures")
    fresh = fresh_pictures(folder, tmp_path / "fresh", kept=20)
    other = tmp_path / "fresh.h5"
    call("embed", fresh, "-o", other, "--encoder", "color:hsv", "--equalize", "square:24")
    result = call("evaluate", other, "-o", out, "--detector", detector, "--draws", 20, "--max-fpr", 0.2)
    said = "20 of 98 pictures of fresh are left out, for it has seen them"
    assert said in result.stderr and said in (out / "index.html").read_text()
    generators = next(out.glob("detectors_generators_*.csv"))
    assert {row["in training"] for row in rows(generators)} == {"yes"}
    assert sum(int(row["n"]) for row in rows(generators)) == 42  # one generator is left out whole
    sources = rows(next(out.glob("detectors_sources_*.csv")))
    assert {row["promised"] for row in sources} == {"0.1", "0.2"}
    assert {row["n"] for row in sources} == {"8", "14"}
    assert all(float(row["photographs called ai low"]) <= float(row["photographs called ai"]) for row in sources)
    assert rows(out / "detectors_oracle.csv")[0]["accuracy, oracle"]
    files = rows(next(out.glob("detectors_files_*.csv")))
    assert {(row["fact"], row["value"]) for row in files} == {("shorter side", "under 128"), ("format", "PNG")}
    again = tmp_path / "again"
    call("evaluate", fresh, "-o", again, "--detector", detector, "--draws", 20, "--max-fpr", 0.2)
    key = ("generator", "AUC", "fakes called ai")
    for ours, theirs in zip(rows(generators), rows(next(again.glob("detectors_generators_*.csv"))), strict=True):
        assert [ours[k] for k in key] == [theirs[k] for k in key]


def test_what_a_detector_does_not_judge_is_called_neither(store, folder, tmp_path):
    """As in scan: pictures of 28 pixels, where 29 are asked for."""
    fresh = fresh_pictures(folder, tmp_path / "fresh")
    called = []
    for least in (28, 29):
        detector, out = tmp_path / f"d{least}", tmp_path / f"out{least}"
        call("fit", store, "-o", detector, "--max-fpr", 0.2, "--max-miss", 0.2, "--folds", 3, "--least-side", least)
        call("evaluate", fresh, "-o", out, "--detector", detector, "--draws", 20)
        called.append(sum(float(r["fakes called ai"]) for r in rows(next(out.glob("detectors_generators_*.csv")))))
    assert called[0] > 0 and called[1] == 0


def fresh_pictures(folder, out, kept=0, seed=5):
    """The folder with other pictures of the same kinds, but for ``kept`` of the old ones, photographs first."""
    shutil.copytree(folder, out)
    rng = np.random.default_rng(seed)
    pictures = sorted(out.rglob("*.png"))
    for path in pictures[kept:]:
        pixels = np.asarray(Image.open(path), dtype=float) + rng.normal(0, 5, (28, 28, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return out


def test_two_detectors_are_compared_on_the_same_pictures(folder, store, tmp_path):
    call("fit", store, "-o", tmp_path / "good", "--max-fpr", 0.2, "--max-miss", 0.2, "--folds", 3)
    blind = fresh_pictures(folder, tmp_path / "blind", seed=6)
    manifest = (blind / "manifest.csv").read_text().splitlines()
    shuffled = [manifest[0]] + [
        line.replace(",real,", ",fake,") if i % 2 else line.replace(",fake,", ",real,")
        for i, line in enumerate(manifest[1:])
    ]
    (blind / "manifest.csv").write_text("\n".join(shuffled) + "\n")
    call("embed", blind / "manifest.csv", "-o", tmp_path / "blind.h5", "-e", "color:hsv", "--equalize", "square:24")
    call("fit", tmp_path / "blind.h5", "-o", tmp_path / "poor", "--max-fpr", 0.2, "--max-miss", 0.2, "--folds", 3)
    new, out = fresh_pictures(folder, tmp_path / "new"), tmp_path / "out"
    call("evaluate", new, "-o", out, "-d", tmp_path / "good", "-d", tmp_path / "poor", "--draws", 20, "--gallery", 0)
    (difference,) = rows(out / "detectors_differences.csv")
    assert difference["than"].endswith("good") and difference["name"].endswith("poor")
    summary = {row["name"]: float(row["AUC"]) for row in rows(out / "detectors_summary.csv")}
    assert float(difference["AUC, more"]) == pytest.approx(
        summary[difference["name"]] - summary[difference["than"]], abs=1e-5
    )
    assert float(difference["AUC, more"]) < -0.2


def test_photographs_alone_and_fakes_alone_are_evaluated_with_a_detector(folder, store, tmp_path):
    call("fit", store, "-o", tmp_path / "detector", "--max-fpr", 0.2, "--max-miss", 0.2, "--folds", 3)
    new = fresh_pictures(folder, tmp_path / "new")
    lines = (new / "manifest.csv").read_text().splitlines()
    for kind, column in (("real", "photographs called ai"), ("fake", "fakes called ai")):
        mine = new / f"{kind}.csv"
        mine.write_text("\n".join([lines[0], *(line for line in lines if f",{kind}," in line)]) + "\n")
        out = tmp_path / kind
        call("evaluate", mine, "-o", out, "-d", tmp_path / "detector", "--draws", 20)
        (summary,) = rows(out / "detectors_summary.csv")
        assert summary["AUC"] == ""
        files = rows(next(out.glob("detectors_files_*.csv")))
        assert files[0][column] != "" and files[0]["AUC"] == ""
    assert summary["photographs called ai"] == ""
    call(
        "evaluate", mine, "-o", out, "-d", tmp_path / "detector", "--robustness", refused="needs photographs and fakes"
    )  # fmt: skip


def test_generators_that_chose_the_features_of_a_detector_are_left_out_of_its_figures(folder, store, tmp_path):
    from aigiscan.features.selection import write_yaml
    from aigiscan.store import EmbeddingStore

    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
    names = [f"{fingerprint['name']}:{i}" for i in range(8)]
    pair = ["green_gan", "sky_diffusion"]
    chosen = tmp_path / "kept.yaml"
    write_yaml(chosen, {"format": 1, "kind": "components", "encoder": fingerprint, "pair": pair, "kept": names})
    detector, out = tmp_path / "detector", tmp_path / "out"
    call("fit", store, "-o", detector, "--features", f"components:{chosen}", "--max-fpr", 0.2, "--folds", 3)
    result = call("evaluate", fresh_pictures(folder, tmp_path / "new"), "-o", out, "-d", detector, "--draws", 20)
    assert "left out, for they chose its features: green_gan, sky_diffusion (28 pictures)" in result.stderr
    generators = rows(next(out.glob("detectors_generators_*.csv")))
    assert {row["generator"] for row in generators} == {"grass_gan", "blue_diffusion"}


def test_the_papers_grid_tunes_every_generator_of_the_matrix(store, tmp_path):
    out = tmp_path / "out"
    call(
        "evaluate", store, "-o", out, "--no-held-out", "--grid", "paper", "--draws", 10, "--min-images", 10,
        "-p", "max_iter=5",
    )  # fmt: skip
    assert len(rows(out / "transfer_logistic_cells.csv")) == 16
    call("evaluate", store, "-o", out, "--grid", "other", refused="one grid")
    call("evaluate", store, "-o", out, "--grid", "paper", "-c", "svm", refused="--classifier logistic")


def test_a_folder_whose_name_is_no_text(folder, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9"))
    try:
        shutil.copytree(folder, odd)
    except OSError:
        pytest.skip("this file system takes names that are UTF-8 alone")
    out = tmp_path / "out"
    call("evaluate", odd, "-o", out, "-e", "color:hsv", "--draws", 10, "--folds", 3, "--no-transfer", "--geometry")
    assert r"Evaluation of caf\xe9" in (out / "index.html").read_text(encoding="utf-8")


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
    fresh = fresh_pictures(folder, tmp_path / "fresh")
    call(
        "evaluate", fresh, "-o", tmp_path / "out", "-d", tmp_path / "detector", "--robustness", "--max-images", 20,
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
    call("evaluate", store, "-o", out, "--train-on", store, refused="holds all pictures")
    fresh = tmp_path / "fresh.h5"
    manifest = fresh_pictures(folder, tmp_path / "fresh", kept=21) / "manifest.csv"
    call("embed", manifest, "-o", fresh, "--encoder", "color:hsv", "--equalize", "square:24")
    result = call("evaluate", fresh, "-o", out, "--train-on", trained, "--draws", 20, "--max-fpr", 0.2)
    # the first 14 of the kept ones are of a diffusion model, which the other store lacks
    assert "7 of 98 pictures of fresh are left out" in result.stderr
    sources = rows(out / "trained_on_another_data_set_sources_logistic.csv")
    assert sorted(int(row["n"]) for row in sources) == [7, 14, 14]
    table = {row["generator"]: row for row in rows(out / "trained_on_another_data_set_generators_logistic.csv")}
    assert {g for g, row in table.items() if row["in training"] == "yes"} == {"green_gan", "grass_gan"}
    assert float(table["green_gan"]["AUC"]) > float(table["sky_diffusion"]["AUC"])


def test_what_cannot_be_evaluated_is_one_line(store, folder, tmp_path):
    out = tmp_path / "out"
    call("evaluate", store, "-o", out, "-c", "no-such", refused="choose one of")
    call("evaluate", store, "-o", out, "-p", "nonsense", refused="KEY=VALUE")
    call("evaluate", store, "-o", out, "--equalize", "square:24", refused="embed --equalize")
    call("evaluate", store, store, "-o", out, refused="two inputs are called")
    call("evaluate", store, "-o", out, "-d", "builtin", "--grid", "paper", refused="leave out --detector")
    call("evaluate", store, "-o", out, "--min-images", 999, "--no-held-out", "--transfer", refused="min-images")
    call("evaluate", store, "-o", out, "-c", "zero-shot", refused="text")
    call("evaluate", store, "-o", out, "-d", tmp_path / "no-such", refused="no detector")


def test_what_was_done_before_an_error_is_on_the_page(store, tmp_path):
    said = call(
        "evaluate", store, "-o", tmp_path, "--min-images", 999, "--folds", 3, "--draws", 20, "--transfer",
        refused="min-images",
    )  # fmt: skip
    assert "with what was done before this error" in said.stderr
    assert "recall at 5 %" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_where_nothing_can_be_written_is_said_before_anything_is_read(tmp_path):
    """The inputs are not there either: the refusal is of the folder for the report."""
    taken = tmp_path / "report"
    taken.write_text("mine")
    for out in (taken, taken / "below"):
        call("evaluate", tmp_path / "no-data", "-o", out, "-d", tmp_path / "no-detector", refused=f"cannot write {out}")
    assert taken.read_text() == "mine"


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


def test_real_and_fake_are_folders_of_their_own(folder, tmp_path):
    real, fake = tmp_path / "mine", tmp_path / "made"
    for path in sorted(folder.rglob("*.*")):
        side = real if "real" in path.as_posix() else fake
        if path.is_file() and path.suffix in (".jpg", ".png"):
            target = side / path.parent.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    options = ("-e", "color:rgb", "--no-transfer", "--gallery", "0", "--draws", "20")
    call("evaluate", "--real", real, "--fake", fake, "-o", tmp_path / "out", *options)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Evaluation of mine, made" in page
    generators = rows(tmp_path / "out" / "held-out_sources_generators_logistic.csv")
    assert {row["generator"] for row in generators} == set(GENERATORS)
    for wrong in ((), (folder, "--real", real, "--fake", fake)):
        call("evaluate", *wrong, "-o", tmp_path / "no", refused="--real PATH and --fake PATH")


def test_one_bar_with_a_total_for_the_whole_command(store, folder, tmp_path, monkeypatch):
    """Embedding, audit, spectra, folds and perturbations count for one bar, and fill it."""
    drawn = []
    real_bars = console._bars

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def bars():
        drawn.append(real_bars())
        return drawn[-1]

    monkeypatch.setattr(console, "_bars", bars)
    monkeypatch.setattr(sys, "stderr", Terminal())
    options = ["--audit", "--spectra", "--spectra-size", "16", "--robustness", "--draws", "20", "--folds", "3"]
    arguments = ["evaluate", str(store), str(folder), "-o", str(tmp_path / "out"), *options]
    app([*arguments, "-e", "color:rgb", "--no-transfer", "--gallery", "0"], standalone_mode=False)
    (bar,) = drawn
    (task,) = bar.tasks
    assert task.total == 7  # the folder embedded; the audit; spectra of two; the folds; perturbations of two
    assert task.completed == pytest.approx(7, abs=0.01)
    assert task.description.startswith("evaluate: perturb ")
