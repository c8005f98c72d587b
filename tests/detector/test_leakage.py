"""What a scoring fit, a threshold, a curve or an interval may not have seen: each is given something to leak.

``benchmarks/mutations.py`` breaks the code in these places, one at a time, and looks whether a test here goes red.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from noise_tables import RATE, SETTINGS, noise, promise_holds

from aigiscan.classifiers import make_classifier
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.fit import fit
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.errors import FitError
from aigiscan.evaluation import card_metrics, heldout
from aigiscan.evaluation.candidate import Candidate
from aigiscan.evaluation.robustness import robustness
from aigiscan.evaluation.transfer import split_by_source, transfer_matrix
from aigiscan.features.views import EmbeddingView
from aigiscan.metrics import auc


def prompts(seed: int = 0) -> FitTable:
    """Every picture has a twin in the next source of its class: what is in it gives away its group, and nothing else.

    All sources are linked, so that folds leave out sources, and twins are left to the groups.
    """
    table = noise(seed)
    rng, place = np.random.default_rng(seed), np.arange(len(table))
    source, j = place // 10 % 6, place % 10
    pair = np.where(j < 5, source * 5 + j, (source - 1) % 6 * 5 + j - 5)
    table.text["group"][:] = [f"{label} {p}" for label, p in zip(table.label, pair, strict=True)]
    content = rng.normal(size=(2, 30, 30)) * 5
    table.channels["embedding"][:] += content[table.label, pair].astype(np.float32)
    return table


def test_no_scoring_fit_of_a_detector_saw_the_group() -> None:
    by_heart = replace(SETTINGS, classifier="knn", params={"k": 1})
    found = [fit(prompts(seed), by_heart) for seed in range(4)]
    assert np.mean([auc(r.table.label, r.held_out[:, 0]) for r in found]) < 0.7


def test_no_scoring_fit_of_an_evaluation_saw_the_group() -> None:
    aucs = []
    for seed in range(4):
        candidate = Candidate.of("c", prompts(seed), EmbeddingView(), partial(make_classifier, "knn", k=1))
        aucs.append(auc(candidate.labels, candidate.held_out_scores(6)[0]))
    assert np.mean(aucs) < 0.7


def test_groups_that_leave_nothing_to_fit_on_are_one_line() -> None:
    table = noise(0)
    table.text["group"][:] = [f"{i % 10}" for i in range(len(table))]
    with pytest.raises(FitError, match="leaves nothing to fit on"):
        fit(table, SETTINGS)


def test_sources_weigh_in_held_out_scores_as_in_a_detector() -> None:
    given: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    class Spy:
        multiclass = False

        def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> Any:
            given.append((X, y, sample_weight))
            return self

        def decision_function(self, X: np.ndarray) -> np.ndarray:
            return X[:, 0]

    table = noise(0)
    few = table.select(np.flatnonzero(~((table.text["source"] == "cam0") & (np.arange(len(table)) % 10 > 2))))
    candidate = Candidate.of("c", few, EmbeddingView(), Spy)
    candidate.held_out_scores(3)
    place = {tuple(x): i for i, x in enumerate(few.channels["embedding"].tolist())}
    for X, y, weights in given:
        rows = np.array([place[tuple(x)] for x in X.tolist()])
        assert weights == pytest.approx(sample_weights(y, few.sources[rows], "source"))
    assert max(weights.std() for _, _, weights in given) > 0.05


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[float], set[float]]]:
    """(scores that a curve was fitted on, scores that it was then asked for), one for each curve."""
    seen: list[tuple[set[float], set[float]]] = []

    class Watched:
        def __init__(self, real: np.ndarray, fake: np.ndarray) -> None:
            self.of = {*real.tolist(), *fake.tolist()}
            self.inner = Calibration.from_scores(real, fake)

        @classmethod
        def from_scores(cls, real: np.ndarray, fake: np.ndarray) -> Watched:
            return cls(real, fake)

        def p_ai(self, scores: np.ndarray) -> np.ndarray:
            seen.append((self.of, set(scores.tolist())))
            return self.inner.p_ai(scores)

    for module in (card_metrics, heldout):
        monkeypatch.setattr(module, "Calibration", Watched)
    return seen


def test_the_cards_calibration_error_is_of_curves_that_did_not_see_the_fold(curves: list) -> None:
    result = fit(noise(3), SETTINGS)
    card_metrics.complete_card(result)
    assert len(curves) >= 6
    assert not any(of & asked for of, asked in curves)


def test_no_picture_calibrates_its_own_p_ai(curves: list) -> None:
    table = noise(4)
    heldout.cross_calibrated(np.random.default_rng(0).normal(size=len(table)), table.label, table.names)
    assert len(curves) == 6
    assert not any(of & asked for of, asked in curves)


def test_thresholds_of_a_transfer_come_from_pictures_left_out() -> None:
    alarms = []
    for seed in range(6):
        t = noise(seed, 2, 60)
        candidate = Candidate.of("c", t, EmbeddingView(), partial(make_classifier, "logistic", C=1.0))
        test = split_by_source(t.label, t.names, t.groups, seed=seed)
        matrix = transfer_matrix(
            candidate.X, t.label, t.names, {}, t.groups, test, candidate.fit, max_fpr=RATE, draws=10, seed=seed
        )
        alarms += [np.mean([cell.calibrated_false_alarms for cell in matrix.cells])]
    promise_holds(alarms, calibrated=60, rate=RATE)


def test_the_interval_of_robustness_is_over_groups() -> None:
    rng = np.random.default_rng(1)
    labels, groups = np.repeat([0, 1], 300), np.arange(600) // 15
    scores = {"none": rng.normal(size=40)[groups] + 0.05 * rng.normal(size=600) + labels}
    by_group = robustness(scores, labels, groups, 0.5, draws=200)[0].auc
    by_image = robustness(scores, labels, np.arange(600), 0.5, draws=200)[0].auc
    assert by_group.high - by_group.low > 2 * (by_image.high - by_image.low)


def test_the_grid_is_tuned_on_groups_that_its_fits_did_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    from aigiscan.classifiers import grid
    from aigiscan.detector.tune import tune_on_paper_grid

    given: list[tuple[np.ndarray, np.ndarray]] = []
    whole = grid.fit_grid

    def watched(X: np.ndarray, y: np.ndarray, validation: np.ndarray, **options: Any) -> Any:
        given.append((X, validation))
        return whole(X, y, validation, **{**options, "solvers": ["lbfgs"], "Cs": [0.1], "max_iters": [50]})

    monkeypatch.setattr(grid, "fit_grid", watched)
    table = prompts(1)
    tune_on_paper_grid(table, EmbeddingView(), {})
    group = {tuple(x): g for x, g in zip(table.channels["embedding"].tolist(), table.text["group"], strict=True)}
    ((X, validation),) = given
    sides = [{group[tuple(x)] for x in X[mask].tolist()} for mask in (validation, ~validation)]
    assert all(sides) and not sides[0] & sides[1]
