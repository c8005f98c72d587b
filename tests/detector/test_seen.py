"""A detector remembers its pictures, through saving, stacking, going on and calibrating."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from detector_planted import SETTINGS, encoded, planted

from aigiscan.detector.bases import stacked_view
from aigiscan.detector.detector import Detector
from aigiscan.detector.fit import fit
from aigiscan.detector.recalibrate import recalibrate
from aigiscan.detector.seen import SeenPictures
from aigiscan.errors import DetectorError, FitError
from aigiscan.features.views import EmbeddingView

GOLDEN = Path(__file__).parent / "golden"


def shas(*names: object) -> list[str]:
    return [sha256(str(n).encode()).hexdigest() for n in names]


def test_masks_are_of_exactly_the_pictures_given() -> None:
    seen = SeenPictures.of(fitted=[*shas(*range(50)), ""], calibrated=shas(*range(60, 70)))
    asked = [*shas(*range(45, 65)), ""]
    assert seen.in_fit(asked).tolist() == [True] * 5 + [False] * 16
    assert seen.in_calibration(asked).tolist() == [False] * 15 + [True] * 5 + [False]
    again = SeenPictures.from_arrays(seen.to_arrays())
    assert again.known and (again.in_fit(asked) == seen.in_fit(asked)).all()
    assert seen.fitted.nbytes == 50 * 8
    with pytest.raises(DetectorError, match="calibrated"):
        SeenPictures.from_arrays({"fitted": seen.fitted})


def test_words_say_how_many_and_nothing_of_strangers() -> None:
    seen = SeenPictures.of(shas(*range(10)), shas(20))
    assert seen.words(shas(*range(8, 12), 20), "d") == (
        "detector d has seen these: 2 of 5 pictures took part in fitting it, 1 of 5 pictures gave it its threshold"
    )
    assert seen.words(shas(99), "d") == ""
    assert "cannot be told" in SeenPictures(known=False).words(shas(1), "d")


def test_fit_save_load_and_go_on_remember(tmp_path: Path) -> None:
    first, second = planted(per_source=8), planted(per_source=8, seed=1)
    fit(first, SETTINGS).detector.save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d")
    assert detector.seen.in_fit(first.text["sha256"]).all() and not detector.seen.in_fit(second.text["sha256"]).any()
    further = fit(second, SETTINGS, previous=detector).detector
    assert further.seen.in_fit([*first.text["sha256"], *second.text["sha256"]]).all()


def test_a_stack_has_seen_what_its_bases_saw(tmp_path: Path) -> None:
    tables = [planted(per_source=8, seed=i) for i in range(3)]
    bases = [fit(t, replace(SETTINGS, name=f"b{i}")).detector for i, t in enumerate(tables[:2])]
    view = stacked_view(bases, tables[2].encoder, "")
    fit(tables[2], replace(SETTINGS, classifier="stacking"), view).detector.save(tmp_path / "s")
    stack = Detector.load(tmp_path / "s")
    assert all(stack.seen.in_fit(t.text["sha256"]).all() for t in tables)
    assert not stack.seen.in_fit(planted(per_source=8, seed=9).text["sha256"]).any()


def test_detectors_written_before_do_not_know() -> None:
    for folder in GOLDEN.iterdir():
        if folder.is_dir():
            seen = Detector.load(folder).seen
            assert not seen.known and not seen.in_fit(shas(1)).any()


def test_calibrating_leaves_out_what_was_fitted_on_and_counts_copies_once() -> None:
    table = planted()
    detector = fit(table, SETTINGS, EmbeddingView()).detector
    own, old = planted(per_source=10, seed=5), table.select(table.label == 0)
    mine = encoded(own.select(own.label == 0))
    done = recalibrate(detector, [*mine, *mine, *encoded(old)])
    assert (done.photographs, len(done.seen)) == (40, 120)
    assert done.detector.calibration.max_fpr == detector.calibration.max_fpr  # the promise stays as it was
    assert done.detector.seen.in_calibration([row.facts.sha256 for row in mine]).all()
    expected = np.mean([v.verdict == "ai" for v in detector.judge(mine)])
    assert done.flagged_before == expected * 40
    with pytest.raises(FitError, match=r"0 photographs.*120 that the detector was fitted on.*at least 19"):
        recalibrate(detector, encoded(old))


def test_too_few_photographs_for_the_promise_are_refused() -> None:
    detector = fit(planted(), SETTINGS).detector
    own = planted(per_source=5, seed=5)
    with pytest.raises(FitError, match=r"20 photographs.*0\.01: give at least 99, or a --max-fpr of 0\.048 or more"):
        recalibrate(detector, encoded(own.select(own.label == 0)), 0.01)
