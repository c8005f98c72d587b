"""``fit``, ``continue``, ``stack``, ``calibrate`` and ``detectors`` beyond the plain case, as a user types them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from cli_calls import call
from labelled_pictures import labelled, pictures
from planted_clip import write_planted_clip

from aigiscan.detector.detector import Detector


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("data") / "labelled")


@pytest.fixture(scope="module")
def store(data: Path) -> Path:
    call("embed", data, "-o", data.parent / "s.h5", "-e", "color:rgb")
    return data.parent / "s.h5"


@pytest.fixture(scope="module")
def fitted(store: Path) -> Path:
    """Two detectors, ``a`` and ``b``, on the store."""
    call("fit", store, "-o", store.parent / "a", "--max-fpr", 0.1, "--C", 0.1)
    call("fit", store, "-o", store.parent / "b", "--max-fpr", 0.2, "-c", "residual")
    return store.parent


def card(folder: Path) -> dict:
    return yaml.safe_load((folder / "card.yaml").read_text())


def verdicts(detector: Path, folder: Path) -> list[str]:
    return [v.verdict for v in Detector.load(detector).scan(folder)]


def test_file_facts_that_tell_the_label_are_said_before_fitting(data: Path, tmp_path: Path) -> None:
    done = call("fit", data, "-o", tmp_path / "d", "-e", "color:rgb", "--max-fpr", 0.1)
    assert "warning" in done.stderr and done.stderr.count("--equalize") == 1  # one advice with one value
    equalize = ["--equalize", "square:16,jpeg:75"]
    again = call("fit", data, "-o", tmp_path / "e", "-e", "color:rgb", "--max-fpr", 0.1, *equalize)
    assert "--equalize" not in again.stderr
    assert card(tmp_path / "e")["equalization"] == "square:16,jpeg:75"


def test_what_was_held_out_is_what_the_heading_says(fitted: Path, tmp_path: Path) -> None:
    folders = [pictures(tmp_path / name, i, 25 * i) for i, name in enumerate(("photos", "generated"))]
    done = call(
        "fit", "--real", folders[0], "--fake", folders[1], "-o", tmp_path / "d", "-e", "color:rgb", "--max-fpr", 0.1
    )
    assert "other pictures of the same generators and photo sources" in done.stderr
    assert "held-out" not in done.stderr
    assert "fakes scored by fits without themselves" in card(tmp_path / "d")["metrics"]["held_out_note"]
    assert card(fitted / "a")["metrics"]["held_out_note"].startswith("held-out generators and photo sources")


def test_going_on_takes_new_pictures_and_says_what_was_forgotten(fitted: Path, store: Path, tmp_path: Path) -> None:
    call("continue", fitted / "a", store, "-o", tmp_path / "x", refused="a has seen 96 of these 96 pictures")
    new = labelled(tmp_path / "new", seed=10)
    done = call("continue", fitted / "a", new, "-o", tmp_path / "c")
    assert "What it forgot of its first training is not known" in done.stderr
    made = card(tmp_path / "c")
    assert made["thresholds"]["max_fpr"] == 0.1  # the promise of the first
    assert any("not known" in line for line in made["limits"])
    # the generators and cameras have the names of those of the first data set: they were not held out
    assert made["metrics"]["held_out_note"].startswith("other pictures of the same")
    told = call("continue", fitted / "a", new, "-o", tmp_path / "d", "--old", store)
    assert "96 old pictures, before and after" in told.stderr
    forgotten = card(tmp_path / "d")["training"]["forgotten"]
    assert (forgotten["pictures"], forgotten["of_these_fitted_on"]) == (96, 96)
    assert len(forgotten["figures"]["fakes called ai"]) == 2
    assert verdicts(tmp_path / "c", pictures(tmp_path / "fresh", 90, 25.0, "png")).count("ai") > 12


def test_stacking(fitted: Path, store: Path, tmp_path: Path) -> None:
    call("stack", store, "--base", fitted / "a", "--base", fitted / "b", "-o", tmp_path / "s", "--max-fpr", 0.1)
    assert card(tmp_path / "s")["view"]["kind"] == "stacked"
    assert verdicts(tmp_path / "s", pictures(tmp_path / "fresh", 90, 25.0, "png")).count("ai") > 12
    call("fit", store, "-o", tmp_path / "x", "-c", "stacking", refused="aigiscan stack")
    call("stack", store, "--base", fitted / "a", "--base", fitted / "a", "-o", tmp_path / "x", refused="same name")


def test_stacking_of_an_embedding_and_of_heads(data: Path, tmp_path: Path) -> None:
    """Bases with different views: each gets the channels that it needs, from a store and from pictures."""
    clip, store, chosen = write_planted_clip(tmp_path / "clip"), tmp_path / "s.h5", tmp_path / "h.yaml"
    call("embed", data, "-o", store, "-e", clip, "--heads")
    call("select-heads", store, "--train", "gan", "--validate", "sd", "--top", 2, "-o", chosen)
    call("fit", store, "-o", tmp_path / "whole", "--max-fpr", 0.1)
    call("fit", store, "-o", tmp_path / "heads", "--max-fpr", 0.1, "--features", f"heads:{chosen}")
    fresh = pictures(tmp_path / "fresh", 90, 25.0, "png")
    for given, first, second in ((store, "heads", "whole"), (data, "whole", "heads")):
        bases = ["--base", tmp_path / first, "--base", tmp_path / second]
        made = tmp_path / f"{given.name}-{first}"
        call("stack", given, *bases, "-o", made, "--max-fpr", 0.1)
        kinds = [base["view"]["kind"] for base in card(made)["view"]["bases"]]
        assert kinds == [{"whole": "embedding", "heads": "heads"}[name] for name in (first, second)]
        assert verdicts(made, fresh).count("ai") > 12
    call("embed", data, "-o", tmp_path / "without.h5", "-e", clip)
    call("stack", tmp_path / "without.h5", *bases, "-o", tmp_path / "x", refused="heads")


def test_own_photographs(fitted: Path, data: Path, tmp_path: Path) -> None:
    mine = pictures(tmp_path / "mine", 50)
    call("calibrate", fitted / "a", data / "cam1", "-o", tmp_path / "x", refused="24 that the detector was fitted on")
    call("calibrate", fitted / "a", mine, "-o", tmp_path / "x", "--max-fpr", 0.01, refused="give at least 99")
    done = call("calibrate", fitted / "a", mine, "-o", tmp_path / "own")
    assert "of your 24 photographs the old threshold flagged" in done.stderr and "inf" not in done.stderr
    made = card(tmp_path / "own")["thresholds"]
    assert (made["max_fpr"], made["calibrated_on"]["photographs"]) == (0.1, 24)
    call("calibrate", "builtin", mine, refused="give -o FOLDER")


def test_spellings_of_before_work_and_name_the_new_ones(fitted: Path, store: Path, tmp_path: Path) -> None:
    mine, new = pictures(tmp_path / "mine", 51), labelled(tmp_path / "new", seed=30)
    done = call("fit", "--calibrate-on", mine, fitted / "a", "-o", tmp_path / "own")
    assert f"aigiscan calibrate {fitted / 'a'} {mine} -o" in done.stderr
    done = call("fit", new, "--from", fitted / "a", "-o", tmp_path / "c")
    assert f"aigiscan continue {fitted / 'a'} {new} -o" in done.stderr
    bases = ["--base", fitted / "a", "--base", fitted / "b"]
    done = call("fit", store, "-c", "stacking", *bases, "-o", tmp_path / "s", "--max-fpr", 0.1)
    assert f"aigiscan stack {store} --base" in done.stderr
    assert {p.name for p in tmp_path.iterdir() if (p / "card.yaml").exists()} == {"own", "c", "s"}


def test_stores_of_different_pictures_and_of_other_equalisations(data: Path, store: Path, tmp_path: Path) -> None:
    new = labelled(tmp_path / "new", seed=20)
    call("embed", new, "-o", tmp_path / "n.h5", "-e", "color:rgb")
    call("embed", data, "-o", tmp_path / "t.h5", "-e", "color:rgb", "--equalize", "square:12")
    call("fit", store, tmp_path / "n.h5", store, "-o", tmp_path / "both", "--max-fpr", 0.1)
    assert card(tmp_path / "both")["training"]["images"] == 192  # a picture counts once
    call("fit", store, "--also", tmp_path / "t.h5", "-o", tmp_path / "two", "--max-fpr", 0.1)
    made = card(tmp_path / "two")
    assert made["training"]["equalizations"] == ["", "square:12"]
    assert (made["training"]["images"], made["thresholds"]["real_images"]) == (96, 48)
    call(
        "fit",
        tmp_path / "n.h5",
        "--also",
        tmp_path / "t.h5",
        "-o",
        tmp_path / "x",
        refused="96 of 96 pictures are missing",
    )
    call("fit", store, "--also", tmp_path / "n.h5", "-o", tmp_path / "x", refused="given beside the first")


def test_multiclass_reports_the_generator(store: Path, tmp_path: Path) -> None:
    done = call("fit", store, "-o", tmp_path / "m", "-c", "multiclass-svm", "--max-fpr", 0.1)
    assert "generator named rightly" in done.stderr
    named = card(tmp_path / "m")["metrics"]["attribution"]
    assert named["largest_class"] == 0.5 < named["accuracy"] < 1  # photographs are half; gan and sd differ by nothing
    assert "generator named rightly" in call("detectors", "show", tmp_path / "m").stdout
    call("scan", store, "-d", tmp_path / "m", "-o", tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    named = {row["generator"] for row in rows if row["verdict"] == "ai"}
    assert named and named <= {"gan", "sd", "real"}
    assert all(row["generator"] == "" for row in rows if row["verdict"] != "ai")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-c", "oracle"], "oracle"),
        (["-p", "k"], "KEY=VALUE"),
        (["-p", "depth=3"], "no parameter"),
        (["-p", "C=[1,2"], "C=[1,2 cannot be read"),
        (["-p", "C=[1,2]"], "C of logistic must be a number, not [1, 2]"),
        (["-p", "solver=foo"], "solver"),
        (["-p", "C=-1"], "'C' parameter"),
        (["--C", "0"], "'C' parameter"),
        (["-c", "knn", "-p", "k=0"], "knn"),
        (["-c", "knn", "-p", "k=2.5"], "k of knn must be a whole number"),
        (["-c", "tip-adapter", "-p", "prompts_real=a photo"], "must be a list of texts"),
        (["--max-fpr", "0"], "max_fpr must lie between 0 and 1"),
        (["--max-miss", "1"], "max_miss must lie between 0 and 1"),
        (["--grid", "mine"], "paper"),
        (["--features", "toes"], "toes"),
        (["--features", "components:nothing.yaml"], "nothing.yaml"),
        (["--equalize", "square:16"], "embed --equalize"),
        (["-c", "zero-shot"], "text"),
        (["--real", "."], "--fake PATH"),
    ],
)
def test_wrong_options_are_one_line(args: list[str], message: str, store: Path, tmp_path: Path) -> None:
    done = call("fit", store, "-o", tmp_path / "d", *args, refused=message)
    assert "Traceback" not in done.stderr and not (tmp_path / "d").exists()


def test_parameters_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    call("fit", tmp_path / "nowhere", "-o", tmp_path / "d", "-p", "solver=foo", refused="solver")


def test_a_number_with_an_exponent_is_one(store: Path, tmp_path: Path) -> None:
    call("fit", store, "-o", tmp_path / "d", "-p", "C=1e-3", "--max-fpr", 0.1)
    assert card(tmp_path / "d")["classifier"]["params"]["C"] == 0.001


def test_detectors_list_show_and_classifiers() -> None:
    assert "builtin\tlite+lite:trained+spam\tdemonstration grade" in call("detectors", "list").stdout
    card = yaml.safe_load(call("detectors", "show", "builtin", "--full").stdout)
    assert card["grade"] == "demonstration grade" and card["metrics"]["held_out"]
    page = call("detectors", "show", "builtin").stdout
    assert len(page.splitlines()) <= 30 and max(map(len, page.splitlines())) <= 80
    low, high = card["metrics"]["held_out"]["reduce:2,limit:512,jpeg:80"]["auc"][1:]
    assert f"({low:.3f} to {high:.3f})" in page and f"{card['training']['fake']:,} generated" in page
    assert f"(with a side under {card['thresholds']['small_side']} pixels above" in page.replace("\n ", "")
    assert all(limit[:40] in page for limit in card["limits"]) and "detectors show builtin --full" in page
    published = call("detectors", "show", "unifd").stdout
    assert "none: nothing is called ai or real" in published and "fc_weights.pth" in published
    names = [line.split("\t")[0] for line in call("detectors", "classifiers").stdout.splitlines()]
    assert {"logistic", "residual", "svm", "knn", "mlp", "zero-shot", "tip-adapter", "stacking"} <= set(names)
    call("detectors", "show", "nothing", refused="nothing")
