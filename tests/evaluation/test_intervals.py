"""Intervals: of clusters, none where there are too few, and covering (measured at length in benchmarks)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from aigiscan import metrics
from aigiscan.evaluation.intervals import Interval, binomial_interval, group_bootstrap, resample, share_interval


def two_sides(seed: int, cameras: int, generators: int, each: int = 8):
    """Scores of photographs and fakes whose sources differ by more than their images do."""
    rng = np.random.default_rng(seed)
    real = (rng.normal(size=(cameras, 1)) + 0.5 * rng.normal(size=(cameras, each))).ravel()
    fake = (1.5 + rng.normal(size=(generators, 1)) + 0.5 * rng.normal(size=(generators, each))).ravel()
    return real, fake, np.repeat(np.arange(cameras), each), np.repeat(np.arange(generators), each)


def test_whole_clusters_are_drawn_and_each_is_left_out_once():
    units = np.repeat(np.arange(12), 5)
    drawn = resample(units, np.arange(11), n=30, seed=3)
    side = drawn.sides[0].reshape(len(drawn.sides[0]), 12, 5)
    assert (side == side[:, :, :1]).all()
    assert (drawn.sides[0][:31].sum(axis=1) == 60).all()
    assert (side[31:43, :, 0].sum(axis=1) == 11).all()
    assert (side[43:] == 1).all() and (drawn.sides[1][31:43] == 1).all()


@pytest.mark.parametrize(("cameras", "generators"), [(9, 40), (40, 9), (1, 1)])
def test_nine_clusters_give_a_figure_and_no_interval(cameras, generators):
    real, fake, camera, generator = two_sides(0, cameras, generators)
    drawn = resample(camera, generator, n=50, seed=0)
    found = drawn.interval(metrics.auc_draws(fake, real, drawn.sides[1], drawn.sides[0]))
    assert found.value == pytest.approx(metrics.auc(np.repeat([0, 1], [len(real), len(fake)]), np.append(real, fake)))
    assert np.isnan([found.low, found.high]).all()
    assert str(found) == f"{found.value:.3f}"
    labels, units = np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([camera, 1000 + generator])
    assert np.isnan(group_bootstrap(lambda i: metrics.auc(labels[i], np.append(real, fake)[i]), units, labels).low)
    assert np.isnan(share_interval(np.zeros(90), np.arange(90) % 9).high)


def test_the_truth_lies_inside_as_often_as_it_says_where_ten_or_more_sources_differ():
    """AUC of normal scores: Phi(1.5 / sqrt(2.5)). Drawing images instead of sources covers 0.55 here."""
    from scipy.stats import norm

    truth, inside, by_image = float(norm.cdf(1.5 / np.sqrt(2 * 1.25))), 0, 0
    for seed in range(120):
        real, fake, camera, generator = two_sides(seed, 12, 12)
        for units in ((camera, generator), (np.arange(len(real)), np.arange(len(fake)))):
            drawn = resample(*units, n=200, seed=seed)
            found = drawn.interval(metrics.auc_draws(fake, real, drawn.sides[1], drawn.sides[0]))
            hit = found.low <= truth <= found.high
            inside, by_image = inside + (hit and units[0] is camera), by_image + (hit and units[0] is not camera)
    assert inside / 120 >= 0.90
    assert by_image / 120 <= 0.75


def test_the_same_figure_from_weights_and_from_rows():
    real, fake, camera, generator = two_sides(4, 15, 14)
    labels, units = np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([camera, 1000 + generator])
    scores = np.append(real, fake)
    rows = group_bootstrap(
        lambda i: metrics.auc(labels[i], scores[i]), units, labels, n=1500
    )  # other draws: bounds move a little
    drawn = resample(camera, generator, n=1500, seed=1)
    weights = drawn.interval(metrics.auc_draws(fake, real, drawn.sides[1], drawn.sides[0]))
    assert rows.value == pytest.approx(weights.value)
    assert rows.low == pytest.approx(weights.low, abs=0.05) and rows.high == pytest.approx(weights.high, abs=0.02)


def test_a_perfect_figure_is_not_certain():
    """Ten generators all told apart: a mean of 0.69 would do so once in forty times."""
    drawn = resample(np.arange(10), np.arange(10), n=50, seed=0)
    real, fake = np.zeros(10), np.ones(10)
    found = drawn.interval(metrics.auc_draws(fake, real, drawn.sides[1], drawn.sides[0]))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 10))
    same = drawn.interval(np.zeros(len(drawn.sides[0])), unit=False)  # a difference of a thing with itself
    assert same == Interval(0.0, 0.0, 0.0)


def test_exact_interval_of_one_source():
    found = binomial_interval(1, 2)  # "worst source 0.50" that is one of two pictures
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (0.5, 0.013, 0.987)
    assert np.isnan(binomial_interval(0, 0).value)


def test_shares_over_sources():
    alone = share_interval(np.arange(200) < 7, np.arange(200))  # each image its own source: nearly the exact interval
    exact = binomtest(7, 200).proportion_ci(0.95, "exact")
    assert alone.low == pytest.approx(exact.low, abs=0.002) and alone.high == pytest.approx(exact.high, abs=0.002)
    units = np.repeat(np.arange(50), 10)
    together = share_interval(units < 2, units)  # the same share, all in two sources
    spread = share_interval(np.arange(500) % 25 == 0, units)
    assert together.value == spread.value == 0.04
    assert together.high > 0.12 > spread.high > 0.05
    none = share_interval(np.zeros(500), units)
    assert none.low == 0.0 and none.high == pytest.approx(1 - 0.025 ** (1 / 50))
