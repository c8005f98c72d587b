"""Rates, false discoveries and prior at scan time, as a user types them."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from cli_calls import call
from labelled_pictures import labelled, pictures

from aigiscan.detector.detector import Detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rates")
    call(
        "fit", labelled(root / "data", shift=3.0, suffix="jpg"), "-o", root / "d", "-e", "color:rgb", "--max-fpr", 0.05
    )
    return root / "d"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scan")
    pictures(root / "photos", 70)
    pictures(root / "red", 71, 5.0)
    return root


def scanned(*args: object) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as place:
        call("scan", *args, "-o", Path(place) / "report.csv")
        return list(csv.DictReader(io.StringIO((Path(place) / "report.csv").read_text())))


def count(rows: list[dict[str, str]], verdict: str) -> int:
    return sum(row["verdict"] == verdict for row in rows)


def test_rates_move_the_thresholds_and_nothing_else(detector: Path, folder: Path) -> None:
    usual = scanned(folder, "-d", detector)
    strict, lax = (scanned(folder, "-d", detector, "--max-fpr", rate) for rate in (0.02, 0.5))
    assert count(strict, "ai") == 0  # 48 photographs cannot promise 2 %
    assert count(strict, "ai") < count(usual, "ai") < count(lax, "ai")
    assert [r["score"] for r in strict] == [r["score"] for r in lax]
    assert [r["p_value"] for r in strict] == [r["p_value"] for r in lax]
    for row in lax:
        assert (row["verdict"] == "ai") <= (float(row["p_value"]) <= 0.5)
    more = scanned(folder, "-d", detector, "--max-miss", 0.4)
    assert count(more, "real") > count(usual, "real")
    python = [v.verdict for v in Detector.load(detector).scan(folder, max_fpr=0.5)]
    assert python == [row["verdict"] for row in lax]


def test_false_discoveries_are_bounded_for_the_whole_folder(detector: Path, folder: Path) -> None:
    found = scanned(folder, "-d", detector, "--fdr", 0.2)
    accused = [row for row in found if row["verdict"] == "ai"]
    n, cut = len(found), max(float(row["p_value"]) for row in accused)
    assert len(accused) >= 20 and cut <= 0.2 * len(accused) / n + 1e-4  # Benjamini and Hochberg's condition
    assert [row["path"] for row in found] == [row["path"] for row in scanned(folder, "-d", detector)]
    only_photos = scanned(folder / "photos", "-d", detector, "--fdr", 0.02)
    assert count(only_photos, "ai") == 0
    assert [v.verdict for v in Detector.load(detector).scan(folder, fdr=0.2)] == [row["verdict"] for row in found]


def test_prior_gives_a_likelihood_ratio_and_another_p_ai(detector: Path, folder: Path) -> None:
    even, rare = scanned(folder, "-d", detector), scanned(folder, "-d", detector, "--prior", 0.01)
    assert "likelihood_ratio" not in even[0] and list(rare[0])[-1] == "likelihood_ratio"
    for a, b in zip(even, rare, strict=True):
        ratio, p = float(b["likelihood_ratio"]), float(b["p_ai"])
        assert p == pytest.approx(ratio / (ratio + 99), abs=1e-4)
        assert float(a["p_ai"]) == pytest.approx(ratio / (ratio + 1), abs=1e-3)
        assert a["verdict"] == b["verdict"]


def test_what_cannot_be_is_one_line(detector: Path, folder: Path) -> None:
    call("scan", folder, "-d", detector, "--max-fpr", 1.5, refused="max_fpr must lie between 0 and 1")
    call("scan", folder, "-d", detector, "--prior", 0, refused="prior must lie between 0 and 1")
    call("scan", folder, "-d", detector, "--fdr", 0.1, "--max-fpr", 0.1, refused="leave out --max-fpr")
    call("scan", folder, "-d", detector, "--fdr", 0.1, "-o", folder / "r.csv", "--resume", refused="--resume")
