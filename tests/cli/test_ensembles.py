"""``aigiscan stack`` over detectors with different encoders, as a user types it."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_calls import call
from labelled_pictures import labelled, pictures
from PIL import Image

from aigiscan.detector.card import read_card
from aigiscan.detector.detector import Detector
from aigiscan.detector.stacked import StackedView
from aigiscan.encoders.color import ColorEncoder
from aigiscan.encoders.spectrum import SpectrumEncoder
from aigiscan.loader import Loader

BASES = ("rgb", "residual", "spectrum", "small")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of bases (two share encoder and treatment, two do not) and of the stack ``s`` on other pictures."""
    root = tmp_path_factory.mktemp("ensembles")
    data = labelled(root / "data")
    rates = ("--max-fpr", 0.1)
    call("fit", data, "-o", root / "rgb", "-e", "color:rgb", *rates)
    call("fit", data, "-o", root / "residual", "-e", "color:rgb", "-c", "residual", *rates)
    call("fit", data, "-o", root / "spectrum", "-e", "spectrum", *rates)
    call("fit", data, "-o", root / "small", "-e", "color:rgb", "--equalize", "square:12,jpeg:90", *rates)
    new = labelled(root / "new", seed=50)
    for old, renamed in (("cam1", "cam3"), ("cam2", "cam4"), ("gan", "gan2"), ("sd", "sd2")):
        (new / old).rename(new / renamed)
    bases = [word for name in BASES for word in ("--base", root / name)]
    call("stack", new, *bases, "-o", root / "s", *rates)
    return root


def test_its_scores_are_those_of_its_bases_each_on_its_own_features(stack: Path, tmp_path: Path) -> None:
    made = Detector.load(stack / "s")
    assert isinstance(made.view, StackedView) and [base.part for base in made.view.bases] == [0, 0, 1, 2]
    folder = pictures(tmp_path / "fresh", 90, 25.0, "png", n=6)
    call("scan", folder, "--detector", stack / "s", "-o", tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").open(encoding="utf-8")))
    images = [Image.open(row["path"]).convert("RGB") for row in rows]
    columns = []
    for name in BASES:
        base = Detector.load(stack / name)
        encoder, step = base.make_encoder(), base.equalization
        channels = encoder.encode([encoder.prepare(step.apply(i) if step else i) for i in images])
        columns.append(base.classifier.predict_proba(base.view.transform(channels))[:, 1])
    expected = made.classifier.decision_function(np.column_stack(columns))
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=1e-4)


def test_a_picture_is_decoded_once_and_every_encoder_run_once(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    load = Loader.load

    def loading(self: Loader, *args: object) -> object:
        counted["read"] += 1
        return load(self, *args)

    monkeypatch.setattr(Loader, "load", loading)
    for kind in (ColorEncoder, SpectrumEncoder):
        prepare = kind.prepare

        def preparing(self: object, image: object, *, own: object = prepare, name: str = kind.__name__) -> object:
            counted[name] += 1
            return own(self, image)

        monkeypatch.setattr(kind, "prepare", preparing)
    folder = pictures(tmp_path / "fresh", 91, n=5)
    call("scan", folder, "--detector", stack / "s", "-o", tmp_path / "r.csv", "--cache", tmp_path / "c.h5")
    assert counted == {"read": 5, "ColorEncoder": 10, "SpectrumEncoder": 5}
    before = (tmp_path / "r.csv").read_text()
    call("scan", folder, "--detector", stack / "s", "-o", tmp_path / "again.csv", "--cache", tmp_path / "c.h5")
    assert (tmp_path / "again.csv").read_text() == before
    assert counted["SpectrumEncoder"] == 5


def test_it_tells_and_is_held_to_its_encoders(stack: Path, tmp_path: Path) -> None:
    card = read_card(stack / "s")
    parts = card.encoder["fingerprint"]["parts"]
    assert [(part["name"], part["equalization"]) for part in parts] == [
        ("color:rgb", ""), ("spectrum", ""), ("color:rgb", "square:12,jpeg:90")
    ]  # fmt: skip
    call("detectors", "show", stack / "s")
    call("embed", stack / "data", "-o", tmp_path / "e.h5", "-e", "color:rgb")
    bases = ("--base", stack / "rgb", "--base", stack / "spectrum")
    call("stack", tmp_path / "e.h5", *bases, "-o", tmp_path / "x", refused="give the pictures")
    nested = ("--base", stack / "s", "--base", stack / "spectrum")
    call("stack", stack / "new", *nested, "-o", tmp_path / "x", refused="is a stack itself")
    other = labelled(tmp_path / "other", seed=200)
    call("evaluate", other, "-d", stack / "s", "-o", tmp_path / "out")
