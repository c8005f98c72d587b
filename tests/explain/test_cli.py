"""`aigiscan explain` from end to end, through files and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted_clip import coloured, make_detector
from typer.testing import CliRunner

from aigiscan.cli.app import app
from aigiscan.explain.directions import directions_of


@pytest.fixture
def detector_folder(planted: Any, pictures: Any, tmp_path: Path) -> Path:
    make_detector(planted, pictures, standardize=False).save(tmp_path / "det")
    return tmp_path / "det"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)], catch_exceptions=False)


def test_a_detector_in_words(detector_folder: Path, coloured_store: Path, tmp_path: Path) -> None:
    phrases = tmp_path / "mine.txt"
    phrases.write_text("a red lamp\na green lamp\na lamp\n")
    out = tmp_path / "out"
    result = run(detector_folder, "-o", out, "--phrases", phrases, "--neighbours", coloured_store, "--top", "2")
    assert result.exit_code == 0, result.output
    words = json.loads((out / "words.json").read_text())
    assert [w["text"] for w in words["phrases"]["positive"]] == ["a red lamp", "a lamp"]
    assert words["phrases"]["negative"][0]["text"] == "a green lamp"
    assert set(words["phrases"]["positive"][0]) == {"text", "cosine"}
    assert set(words["generators"]) == {"red_gan", "blue_gan"}
    assert {"phrases", "tokens"} <= set(words["generators"]["red_gan"])
    assert "labels dealt anew: up to" in " ".join(result.stderr.split())
    assert set(words["chance"]) == {"phrases", "tokens"}
    assert {path.name for path in out.iterdir()} == {"words.json", "words.csv", "words.png"}
    assert result.stdout == ""


def test_the_shipped_phrases_on_standard_output(detector_folder: Path) -> None:
    result = run(detector_folder, "--top", "3")
    words = json.loads(result.stdout)
    assert len(words["phrases"]["negative"]) == 3
    assert "generators" in words["missing"]


def test_images(detector_folder: Path, coloured_store: Path, coloured_folder: Path, tmp_path: Path, rng: Any) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    coloured(rng, "red", 64).save(tmp_path / "a" / "x.png")
    coloured(rng, "green", 40).save(tmp_path / "b" / "x.png")
    (tmp_path / "b" / "bad.png").write_bytes(b"")
    out = tmp_path / "out"
    result = run(detector_folder, tmp_path / "a", tmp_path / "b", "-o", out, "--neighbours", coloured_store, "--k", "2")
    assert result.exit_code == 0, result.output
    red, green = (json.loads((out / name).read_text()) for name in ("x.json", "x_2.json"))
    assert red["logit"] > 0 > green["logit"]
    assert sum(red["parts"].values()) == pytest.approx(red["logit"], rel=1e-4)
    assert len(red["patches"]) == len(red["patches"][0]) == 4
    assert [n["generator"] for n in red["neighbours"]["fake"]] == ["red_gan", "red_gan"]
    assert red["missing"] == {}
    assert (
        red["patch_scale"]
        == green["patch_scale"]
        == max(abs(v) for e in (red, green) for row in e["patches"] for v in row)
    )
    assert "error" in json.loads((out / "bad.json").read_text())
    assert {"x.png", "x_2.png", "parts.csv"} <= {path.name for path in out.iterdir()}
    assert not (out / "bad.png").exists()


def test_a_terminal_is_not_flooded_where_a_page_is_written(
    detector_folder: Path, tmp_path: Path, rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigiscan.cli.explain._TABLES", 2)
    (tmp_path / "in").mkdir()
    for number in range(4):
        coloured(rng, "red", 64).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "9.png").write_bytes(b"")
    told = run(detector_folder, tmp_path / "in", "-o", tmp_path / "out").stderr
    assert told.count("contribution") == 2 and told.count("no more tables than 2") == 1
    assert "9.png: empty file" in told and "wrote 4 explanations" in told
    assert run(detector_folder, tmp_path / "in").stderr.count("contribution") == 4


def test_images_to_standard_output(detector_folder: Path, coloured_folder: Path) -> None:
    result = run(detector_folder, coloured_folder / "0_real")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 8
    assert all(line["logit"] < 0 for line in lines)
    assert "--neighbours" in lines[0]["missing"]["neighbours"]


def test_heads_of_a_store_and_of_an_encoder(planted_name: str, coloured_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("heads", coloured_store, "-o", out, "--top", "4")
    assert result.exit_code == 0, result.output
    heads = json.loads((out / "heads.json").read_text())["heads"]
    assert len(heads) == 12
    assert len(heads[0]["positive"]) == len(heads[0]["negative"]) == 4
    assert (out / "heads.csv").read_text().count("\n") == 1 + 12 * 8
    result = run("heads", planted_name, "--top", "1")
    assert len(json.loads(result.stdout)["heads"]) == 12


def test_a_detector_fitted_on_selected_heads(coloured_store: Path, coloured_folder: Path, tmp_path: Path) -> None:
    """fit --features heads: → words and parts of these heads, from the files alone."""
    from aigiscan.features.selection import write_yaml
    from aigiscan.store import EmbeddingStore

    with EmbeddingStore(coloured_store) as store:
        content = {"format": 1, "kind": "heads", "encoder": dict(store.fingerprint), "kept": [[0, 1], [2, 2]]}
    write_yaml(tmp_path / "heads.yaml", {**content, "train": "red_gan", "validate": "blue_gan"})
    fit = ["fit", coloured_store, "-o", tmp_path / "det", "--features", f"heads:{tmp_path / 'heads.yaml'}"]
    result = CliRunner().invoke(app, [*map(str, fit), "--folds", "2", "--no-standardize"])
    assert result.exit_code == 0, result.output
    words = json.loads(run(tmp_path / "det", "--top", "1").stdout)
    assert words["heads"]["0:1"]["tokens"]["negative"][0]["text"] == "green"
    lines = run(tmp_path / "det", coloured_folder / "1_fake" / "red_gan").stdout.splitlines()
    explained = json.loads(lines[0])
    assert set(explained["parts"]) == {"head:0:1", "head:2:2", "intercept"}
    assert sum(explained["parts"].values()) == pytest.approx(explained["logit"], rel=1e-5)
    assert {head["head"] for head in explained["heads"]} == {"0:1", "2:2"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("heads",), "one store or encoder"),
        (("heads", "spam"), "spam has no attention heads"),
        (("nowhere",), "there is no detector nowhere"),
    ],
)
def test_one_line_for_the_user(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_directions_of_a_loaded_detector_are_those_of_the_fitted_one(
    planted: Any, pictures: Any, tmp_path: Path
) -> None:
    from aigiscan.detector.detector import Detector

    fitted = make_detector(planted, pictures)
    loaded = Detector.load(fitted.save(tmp_path / "det") and tmp_path / "det")
    assert (directions_of(loaded, planted).joint() == directions_of(fitted, planted).joint()).all()


def test_what_could_not_be_read_is_not_counted_as_explained(detector_folder: Path, tmp_path: Path, rng: Any) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a[", "[b]"):
        (tmp_path / "in" / f"{name}.png").write_bytes(b"junk")
    none = run(detector_folder, tmp_path / "in", "-o", tmp_path / "out")
    assert none.exit_code == 2 and "of 2 pictures none could be read" in none.stderr
    assert "wrote" not in none.stderr and "[b].png: not an image" in none.stderr
    coloured(rng, "red", 64).save(tmp_path / "in" / "x[/b].png".replace("/", ""))
    some = run(detector_folder, tmp_path / "in", "-o", tmp_path / "out")
    assert some.exit_code == 0
    assert "wrote 1 explanations" in some.stderr and "2 could not be read; their JSON says why" in some.stderr
    assert "x[b].png" in some.stderr  # the table's title keeps its brackets
