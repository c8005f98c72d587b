"""The caution by source: what it counts, that it only ever flags less, and what it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigiscan.detector.achieved import cross_conformal_rates, pooled
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.guard import SourceGuard
from aigiscan.errors import DetectorError, FitError


def test_share_of_the_worst_source_counts_and_small_sources_do_not() -> None:
    scores = np.array([*range(10), *range(5, 15), 100.0, 101.0])
    names = ["a"] * 10 + ["b"] * 10 + ["tiny"] * 2
    guard = SourceGuard.of(scores, names)
    assert (guard.sources, guard.may_exceed) == (2, 0)
    assert guard.p_at_least(np.array([0.0, 9.5, 14.0, 14.5])).tolist() == [1.0, 0.5, 0.1, 0.0]
    assert (guard.threshold(0.1), guard.threshold(0.09), guard.threshold(0.5)) == (13.0, 14.0, 9.0)


def test_a_tenth_of_the_sources_may_exceed() -> None:
    names = np.repeat(np.arange(20), 10)
    scores = np.tile(np.arange(10.0), 20)
    scores[:20] += 1000.0  # two sources unlike all others
    assert SourceGuard.of(scores, names).threshold(0.1) == 8.0
    scores[20:30] += 1000.0  # a third is one too many
    assert SourceGuard.of(scores, names).threshold(0.1) == 1008.0


def test_copies_of_a_picture_do_not_make_a_source_large() -> None:
    scores, names = np.arange(8.0), ["a"] * 8
    assert SourceGuard.of(scores, names).sources == 1
    assert SourceGuard.of(scores, names, copies=2).sources == 0
    with pytest.raises(FitError, match="8 calibration scores but 3 sources"):
        SourceGuard.of(scores, ["a"] * 3)


@given(st.integers(0, 2**31), st.integers(1, 14), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
@settings(max_examples=60, deadline=None)
def test_guarded_verdicts_agree_with_thresholds_and_flag_no_more(seed: int, sources: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    names = rng.integers(0, sources, 90)
    real = (rng.integers(0, 8, 90) + names % 4).astype(float)  # many ties
    plain = Calibration.from_scores(real, None, rate)
    guarded = Calibration.from_scores(real, None, rate, guard_sources=names)
    grid = np.arange(-2, 18, 0.5)
    assert ((guarded.p_value(grid) <= rate + 1e-12) == (grid > guarded.threshold_ai)).all()
    assert (np.diff(guarded.p_value(grid)) <= 0).all()
    assert (guarded.p_value(grid) >= plain.p_value(grid)).all()
    again = Calibration.from_arrays(guarded.to_arrays())
    assert (again.p_value(grid) == guarded.p_value(grid)).all()


def test_one_source_is_no_reason_for_caution() -> None:
    real = np.arange(99.0)
    plain, guarded = (Calibration.from_scores(real, None, 0.02, guard_sources=s) for s in (None, ["cam"] * 99))
    assert guarded.threshold_ai == plain.threshold_ai
    assert (guarded.p_value(real) == plain.p_value(real)).all()


def test_own_photographs_replace_the_sources_too() -> None:
    guarded = Calibration.from_scores(np.arange(100.0), None, 0.05, guard_sources=np.arange(100) % 4)
    own = guarded.recalibrated(np.arange(50.0))
    assert own.guard.sources == 0
    assert own.threshold_ai < guarded.threshold_ai


def test_a_source_unlike_the_large_ones_is_flagged_less() -> None:
    """A large source sets the threshold of all pictures; every new camera shifts the scores by a step of its own."""
    rng = np.random.default_rng(5)
    rates: dict[str, list[float]] = {"image": [], "guarded": []}
    recall: dict[str, list[float]] = {"image": [], "guarded": []}
    for _ in range(40):
        names = np.concatenate([np.repeat("large", 600), np.repeat([f"cam{i}" for i in range(12)], 20)])
        step = {name: rng.normal() * (name != "large") for name in np.unique(names)}
        scores = rng.normal(size=len(names)) + np.array([step[n] for n in names])
        fakes = rng.normal(3.0, 1.0, 200)
        labels = np.repeat([0, 1], [len(names), len(fakes)])
        everything = np.concatenate([names, np.repeat("gen", 200)])
        for rule, found in rates.items():
            got = cross_conformal_rates(np.concatenate([scores, fakes]), labels, everything, 0.05, 0.05, rule=rule)
            found.append(np.mean([r.ai for r in got if r.source.startswith("cam")]))
            recall[rule].append(pooled(got, 1).ai)
    assert np.mean(rates["image"]) > 0.08  # 5 % were promised
    assert np.mean(rates["guarded"]) <= 0.05
    assert np.mean(recall["guarded"]) > 0.4  # and the fakes are still found


def test_damaged_arrays_are_refused() -> None:
    arrays = Calibration.from_scores(np.arange(100.0), None, 0.05, guard_sources=np.arange(100) % 4).to_arrays()
    with pytest.raises(DetectorError, match="by source"):
        Calibration.from_arrays({**arrays, "guard_codes": arrays["guard_codes"][1:]})


def test_golden_detectors_have_no_guard() -> None:
    """Detectors written before there was one load and judge as they did."""
    from aigiscan.detector.detector import Detector

    for folder in sorted((Path(__file__).parent / "golden").iterdir()):
        if folder.is_dir():
            assert Detector.load(folder).calibration.guard.sources == 0
