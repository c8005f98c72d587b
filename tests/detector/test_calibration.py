from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigiscan.detector.achieved import achieved_rates, cross_conformal_rates, cross_conformal_verdicts, pooled
from aigiscan.detector.calibration import SMALL_SIDE, Calibration, is_small
from aigiscan.detector.card import of_small
from aigiscan.detector.tail import Tail
from aigiscan.detector.verdict import Verdict
from aigiscan.errors import DetectorError, FitError
from aigiscan.reports.page import histogram


def test_p_value_is_the_count_of_the_contract():
    calibration = Calibration.from_scores([1.0, 2.0, 2.0, 5.0], [0.0, 7.0], 0.3, 0.4)
    assert calibration.p_value([0.0, 2.0, 2.1, 5.0, 5.1]) == pytest.approx([1.0, 0.8, 0.4, 0.4, 0.2])
    assert calibration.p_miss([-1.0, 0.0, 3.0, 7.0]) == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1.0])
    assert calibration.verdict([-1.0, 3.0, 5.0, 5.1]).tolist() == ["real", "uncertain", "uncertain", "ai"]
    assert calibration.threshold_ai == 5.0
    assert calibration.threshold_real == 0.0


@pytest.mark.parametrize(("n", "max_fpr"), [(99, 0.01), (120, 0.01), (57, 0.05), (400, 0.05), (19, 0.05), (33, 0.07)])
def test_false_alarm_bound_holds_within_binomial_error(n, max_fpr):
    rng = np.random.default_rng(n)
    draws, per_draw = 4000, 5
    alarms = 0
    for _ in range(draws):
        scores = rng.exponential(size=n + per_draw)
        calibration = Calibration.from_scores(scores[:n], None, max_fpr)
        alarms += int((calibration.verdict(scores[n:]) == "ai").sum())
    # the pictures of one draw share a threshold and are not independent: count draws, not pictures, in the error
    rate, error = alarms / (draws * per_draw), np.sqrt(max_fpr * (1 - max_fpr) / draws)
    exact = np.floor(max_fpr * (n + 1) + 1e-9) / (n + 1)
    assert rate <= max_fpr + 3 * error
    assert abs(rate - exact) < 4 * error  # neither more nor uselessly fewer than the bound allows


def test_miss_bound_holds_as_the_mirror_image():
    rng = np.random.default_rng(3)
    draws = 3000
    missed = 0
    for _ in range(draws):
        fakes = rng.normal(1.0, 1.0, 61)
        calibration = Calibration(Tail.of([9.0] * 20), Tail.of(fakes[:60]), 0.05, 0.05)
        missed += int(calibration.verdict(fakes[60:])[0] == "real")
    assert missed / draws <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert missed / draws > 0.02


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
@settings(max_examples=60, deadline=None)
def test_thresholds_say_the_same_as_p_values(seed, n, m, rate):
    rng = np.random.default_rng(seed)
    real, fake = rng.integers(0, 12, n).astype(float), rng.integers(4, 16, m).astype(float)  # many ties
    calibration = Calibration.from_scores(real, fake, rate, rate)
    grid = np.arange(-2, 18, 0.5)
    assert ((calibration.p_value(grid) <= rate + 1e-12) == (grid > calibration.threshold_ai)).all()
    assert ((calibration.p_miss(grid) <= rate + 1e-12) == (grid < calibration.threshold_real)).all()
    assert (np.diff(calibration.p_value(grid)) <= 0).all()


def test_too_few_images_never_flag_and_say_so():
    calibration = Calibration.from_scores(np.arange(98.0), np.arange(1000.0, 1050.0), 0.01, 0.1)
    assert (calibration.verdict([1e9, 1040.0]) == "uncertain").all()
    assert calibration.threshold_ai == np.inf
    assert "98 real images" in calibration.warnings[0]
    assert "at least 99" in calibration.warnings[0]
    assert len(calibration.warnings) == 1
    assert Calibration.from_scores(np.arange(99.0), np.arange(1000.0, 1050.0), 0.01, 0.1).verdict([1e9])[0] == "ai"


def test_gap_between_well_separated_classes_is_uncertain():
    calibration = Calibration.from_scores(np.linspace(0, 1, 200), np.linspace(5, 6, 200), 0.01, 0.01)
    assert calibration.verdict([0.5, 3.0, 5.5]).tolist() == ["real", "uncertain", "ai"]


@pytest.mark.parametrize("n", [50, 2000])
def test_p_ai_is_calibrated_smooth_and_equally_frequent(n):
    rng = np.random.default_rng(5)
    # equal frequencies and scores N(±1, 1): the true probability is sigmoid(2 s)
    calibration = Calibration.from_scores(rng.normal(-1, 1, 3 * n), rng.normal(1, 1, n))
    grid = np.linspace(-1.5, 1.5, 301)
    assert (np.diff(calibration.p_ai(grid)) > 0).all()  # no steps
    assert np.abs(calibration.p_ai(grid) - 1 / (1 + np.exp(-2 * grid))).mean() < 0.04
    assert calibration.p_ai([-1e6, 1e6]) == pytest.approx([1 / (n + 2), 1 - 1 / (n + 2)])


def test_prior_and_likelihood_ratio_follow_from_bayes():
    rng = np.random.default_rng(5)
    calibration = Calibration.from_scores(rng.normal(-1, 1, 500), rng.normal(1, 1, 500))
    scores = np.array([-1.0, 0.2, 1.5])
    even, ratio = calibration.p_ai(scores), calibration.likelihood_ratio(scores)
    assert ratio == pytest.approx(even / (1 - even))
    rare = calibration.with_rates(prior=0.01)
    assert rare.p_ai(scores) / (1 - rare.p_ai(scores)) == pytest.approx(ratio / 99)
    assert rare.likelihood_ratio(scores) == pytest.approx(ratio)
    assert (rare.verdict(scores) == calibration.verdict(scores)).all()
    assert ratio[0] < 0.3 and ratio[2] > 10
    for prior in (0.0, 1.0):
        with pytest.raises(FitError, match="prior"):
            calibration.with_rates(prior=prior)


def test_small_pictures_are_held_against_small_photographs():
    rng = np.random.default_rng(3)
    real = np.concatenate([rng.normal(0, 1, 400), rng.normal(3, 1, 100)])
    sides = np.repeat([SMALL_SIDE, SMALL_SIDE - 1], [400, 100])
    calibration = Calibration.from_scores(real, rng.normal(4, 1, 300), 0.05, sides=sides)
    fresh_large, fresh_small = rng.normal(0, 1, 20000), rng.normal(3, 1, 20000)
    assert abs(np.mean(calibration.p_value(fresh_large) <= 0.05) - 0.05) < 0.03
    as_small = np.ones(20000, dtype=int)
    assert np.mean(calibration.p_value(fresh_small, as_small) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert np.mean(calibration.p_value(fresh_small) <= 0.05) > 0.5  # what sizes together would do
    again = Calibration.from_arrays(calibration.to_arrays())
    assert (again.p_value(fresh_small, as_small) == calibration.p_value(fresh_small, as_small)).all()
    grid = np.linspace(-2, 8, 500)
    for side, cut in ((900, calibration.threshold_ai), (100, calibration.threshold_ai_small)):
        flagged = calibration.p_value(grid, np.full(500, side)) <= 0.05 + 1e-12
        assert (flagged == (grid > cut)).all()


def test_too_few_small_photographs_never_flag_a_small_picture_and_say_so():
    def sides(small: int) -> np.ndarray:
        return np.repeat([100, 900], [small, 200 - small])

    calibration = Calibration.from_scores(np.arange(200.0), np.arange(300.0, 400.0), 0.01, 0.05, sides=sides(30))
    assert calibration.verdict([350.0, 1e6, 1e6], [100, 100, 900]).tolist() == ["uncertain", "uncertain", "ai"]
    assert "30 such photographs, 99 are needed" in calibration.small_note
    assert calibration.warnings == ()
    few_large = Calibration.from_scores(np.arange(200.0), None, 0.01, sides=sides(170))
    assert few_large.verdict([1e6, 1e6], [100, 900]).tolist() == ["ai", "uncertain"]
    assert "with no side under 256 pixels are never called 'ai'" in few_large.warnings[0]
    together = Calibration.from_scores(np.arange(200.0), None, 0.05, sides=sides(18))
    assert together.small is None
    assert is_small([0, SMALL_SIDE, SMALL_SIDE - 1]).tolist() == [False, False, True]


def test_photographs_that_were_reduced_stand_for_small_ones():
    """Held against these, a small photograph keeps the promise, whatever is thought of the few natural small ones."""
    rng = np.random.default_rng(4)
    real, sides = rng.normal(0, 1, 500), np.repeat([600, 200], [490, 10])
    made = Calibration.from_scores(
        real, rng.normal(4, 1, 300), 0.05, sides=sides, small_side=320, reduced=rng.normal(2, 1, 500)
    )
    fresh = rng.normal(2, 1, 20000)
    for calibration in (made, Calibration.from_arrays(made.to_arrays()), made.recalibrated(real[:490])):
        assert abs(np.mean(calibration.p_value(fresh, np.full(20000, 319)) <= 0.05) - 0.05) < 0.03
        assert np.mean(calibration.p_value(fresh, np.full(20000, 320)) <= 0.05) > 0.5
        assert calibration.describe()["small_side"] == 320


def test_left_out_sources_are_held_against_reduced_photographs_where_they_are_small():
    rng = np.random.default_rng(5)
    labels, names = np.repeat([0, 1], [2000, 100]), np.array([f"s{i % 20}" for i in range(2100)])
    sides, reduced = np.where(np.arange(2100) < 1000, 300, 600), rng.normal(2, 1, 2100)
    scores = np.where(sides < 320, rng.normal(2, 1, 2100), rng.normal(0, 1, 2100))
    for stand_ins, share in ((reduced, 0.05), (reduced - 2, 0.65)):
        verdicts = cross_conformal_verdicts(scores, labels, names, 0.05, sides=sides, small_side=320, reduced=stand_ins)
        assert abs(np.mean(verdicts[:1000] == "ai") - share) < 0.05
        assert abs(np.mean(verdicts[1000:2000] == "ai") - 0.05) < 0.03


def test_p_ai_of_reversed_scores_is_a_half_and_warned_of():
    calibration = Calibration.from_scores(np.arange(10.0) + 5, np.arange(10.0), 0.5, 0.5)
    assert calibration.p_ai([0.0, 50.0]).tolist() == [0.5, 0.5]
    assert any("not higher" in line for line in calibration.warnings)


def test_p_ai_of_scores_of_any_scale():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(-1, 1, 200), rng.normal(1, 1, 200)
    small = Calibration.from_scores(real, fake)
    large = Calibration.from_scores(real * 1e6 + 1e9, fake * 1e6 + 1e9)
    assert large.p_ai(fake * 1e6 + 1e9) == pytest.approx(small.p_ai(fake), abs=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_none_are_refused(bad):
    with pytest.raises(FitError, match="1 of 2 scores"):
        Calibration.from_scores([0.0, bad], [1.0])
    with pytest.raises(FitError, match="1 of 2 scores"):
        Calibration.from_scores([0.0], [1.0, bad])
    with pytest.raises(FitError):
        Calibration.from_scores([0.0], [1.0]).verdict([0.5, bad])


def test_no_photographs_and_impossible_rates_are_refused():
    with pytest.raises(FitError, match="no photographs"):
        Calibration.from_scores([], [1.0])
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(FitError, match="max_fpr"):
            Calibration.from_scores([0.0], [1.0], rate)


def test_arrays_round_trip():
    rng, n = np.random.default_rng(1), 40
    calibration = Calibration.from_scores(rng.normal(size=n), rng.normal(2, 1, n), 0.05, 0.1)
    again = Calibration.from_arrays(calibration.to_arrays())
    grid = np.linspace(-4, 6, 101)
    assert (again.verdict(grid) == calibration.verdict(grid)).all()
    assert np.array_equal(again.p_ai(grid), calibration.p_ai(grid))
    assert np.array_equal(again.p_value(grid), calibration.p_value(grid))
    assert again.warnings == calibration.warnings


def test_damaged_arrays_are_refused():
    arrays = Calibration.from_scores([0.0, 1.0], [2.0]).to_arrays()
    with pytest.raises(DetectorError, match="rates"):
        Calibration.from_arrays({k: v for k, v in arrays.items() if k != "rates"})
    with pytest.raises(DetectorError, match="wrong shape"):
        Calibration.from_arrays({**arrays, "platt": np.zeros(3)})
    with pytest.raises(DetectorError, match="not finite"):
        Calibration.from_arrays({**arrays, "real_scores": np.array([np.nan])})


def test_recalibration_on_own_photographs_moves_the_alarm_threshold_alone():
    rng = np.random.default_rng(2)
    first = Calibration.from_scores(rng.normal(0, 1, 300), rng.normal(4, 1, 300))
    own = first.recalibrated(rng.normal(3, 1, 300))
    assert own.threshold_ai > first.threshold_ai + 2
    assert own.threshold_real == first.threshold_real
    assert np.array_equal(own.p_ai([0.0, 2.0]), first.p_ai([0.0, 2.0]))
    assert own.with_rates(max_fpr=0.2).threshold_ai < own.threshold_ai


def test_achieved_rates_put_the_worst_source_first():
    calibration = Calibration.from_scores(np.arange(100.0), np.arange(200.0, 300.0), 0.05, 0.05)
    scores = [50.0, 99.5, 50.0, 50.0, 250.0, 50.0]
    rates = achieved_rates(calibration, scores, [0, 0, 0, 0, 1, 1], ["cam", "cam", "web", "web", "gan", "gan"])
    assert [(r.source, r.label, r.n, r.ai, r.real) for r in rates] == [
        ("cam", 0, 2, 0.0, 0.5),
        ("web", 0, 2, 0.0, 1.0),
        ("gan", 1, 2, 0.5, 0.5),
    ]


def test_cross_conformal_shows_the_camera_that_breaks_the_promise():
    rng = np.random.default_rng(8)
    shift = {"a": 0.0, "b": 0.0, "c": 0.0, "odd": 2.5}
    real = {name: rng.normal(s, 1, 200) for name, s in shift.items()}
    fake = rng.normal(4, 1, 200)
    scores = np.concatenate([*real.values(), fake])
    sources = np.repeat([*real, "gan"], 200)
    labels = np.repeat([0, 1], [800, 200])
    rates = cross_conformal_rates(scores, labels, sources, 0.05, 0.05)
    assert rates[0].source == "odd"
    assert rates[0].ai > 0.5
    assert all(rate.ai < 0.05 for rate in rates[1:4])  # the odd camera is in their calibration and raises the bar
    assert pooled(rates, 0).n == 800
    with pytest.raises(FitError, match="second photo source"):
        cross_conformal_rates(scores[:400], labels[:400], np.repeat(["a"], 400))


def test_a_fake_is_judged_without_the_others_of_its_source():
    real = np.arange(100.0)
    fakes = np.concatenate([np.full(50, 30.0), np.full(50, 29.0), np.full(50, 90.0)])
    labels, names = np.repeat([0, 1], [100, 150]), np.repeat(["cam_a", "cam_b", "v1", "v2", "other"], 50)

    def missed(units=None):
        rates = cross_conformal_rates(np.concatenate([real, fakes]), labels, names, 0.05, 0.05, units=units)
        return {r.source: r.real for r in rates if r.label == 1}["v1"]

    assert missed() == 0.0  # v2, which scores lower still, sets the threshold of v1
    assert missed(np.where(np.isin(names, ["v1", "v2"]), "v", names)) == 1.0


def test_description_is_plain():
    import yaml

    calibration = Calibration.from_scores(np.arange(60.0), np.arange(30.0, 90.0), 0.2, 0.2)
    described = yaml.safe_load(yaml.safe_dump(calibration.describe()))
    assert described["threshold_ai"] == calibration.threshold_ai
    assert (described["real_images"], described["p_ai"], described["warnings"]) == (60, "logistic", [])
    assert Calibration.from_scores([0.0], None).describe()["threshold_ai"] == float("inf")


def test_words_say_what_small_pictures_need():
    rng = np.random.default_rng(6)
    sides = np.repeat([600, 200], [200, 100])
    made = Calibration.from_scores(np.concatenate([rng.normal(0, 1, 200), rng.normal(5, 1, 100)]), None, sides=sides)
    words = of_small(made.describe())
    assert words == f" (with a side under 256 pixels above {made.threshold_ai_small:.3g})"
    assert words in histogram([Verdict("a", "ai", score=9.0)], made.describe())["words"]
    few = Calibration.from_scores(rng.normal(0, 1, 300), None, sides=np.repeat([600, 200], [270, 30]))
    assert of_small(few.describe()) == of_small(Calibration.from_scores(np.arange(200.0), None).describe()) == ""
