"""Scores of many candidates at once, each with the interval that its remaining error allows.

Margins are ``w·x``, higher = more likely fake. A candidate whose weights are known up to an error has test margins
known up to ``±error``; all scores here grow when a fake's margin grows or a real's shrinks, so the ends of the interval
are the scores of the margins shifted to the right and to the wrong side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

#: Scores nearer than this are equal: the tie goes to the smaller log loss.
SCORE_TIE = 1e-12
#: Log losses nearer than this are equal: the tie goes to the lower column. Copies of a column differ by rounding.
LOSS_TIE = 1e-8

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def accuracy(margins: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Balanced accuracy at 0, (k,): the share of fakes above and the share of photographs not above, averaged.

    On equal sets, as the papers have them, it is the accuracy; "always real" has 0.5 on any. margins: (k, n_test).
    """
    return _balanced(margins > 0, margins <= 0, fake)


def _balanced(says_fake: np.ndarray, says_real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    # as one fraction of whole numbers: equal counts give equal scores, whatever the order of the columns
    fakes = int(np.count_nonzero(fake))
    reals = len(fake) - fakes
    right = np.count_nonzero(says_fake & fake, axis=1) * reals + np.count_nonzero(says_real & ~fake, axis=1) * fakes
    return right / (2 * fakes * reals)


def auc(margins: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, (k,): share of (fake, real) pairs in the right order, ties count half."""
    order = np.argsort(margins, axis=1, kind="stable")
    ordered = np.take_along_axis(margins, order, axis=1)
    is_fake = fake[order]
    reals_before = np.cumsum(~is_fake, axis=1)
    pairs = np.asarray(np.sum(np.where(is_fake, reals_before, 0), axis=1), dtype=np.float64)
    tied = np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1))
    for row in tied:  # a fake sorted after a real of the same margin counted 1 instead of ½, and the reverse 0
        pairs[row] = _pairs_with_ties(ordered[row], is_fake[row])
    fakes = int(np.count_nonzero(fake))
    return pairs / (fakes * (len(fake) - fakes))


def _pairs_with_ties(ordered: np.ndarray, is_fake: np.ndarray) -> float:
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])
    fakes = np.add.reduceat(is_fake.astype(np.float64), starts)
    reals = np.add.reduceat((~is_fake).astype(np.float64), starts)
    return float(np.sum(fakes * (np.cumsum(reals) - reals / 2)))


def average_precision(margins: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Average precision, (k,): Σ (R_i − R_{i−1}) P_i over distinct thresholds, as scikit-learn defines it."""
    order = np.argsort(-margins, axis=1, kind="stable")
    ordered = np.take_along_axis(margins, order, axis=1)
    is_fake = fake[order]
    hits = np.cumsum(is_fake, axis=1)
    precision = hits / np.arange(1, margins.shape[1] + 1)
    value = np.sum(np.where(is_fake, precision, 0.0), axis=1)
    for row in np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)):
        ends = np.append(np.flatnonzero(np.diff(ordered[row])), margins.shape[1] - 1)
        value[row] = float(np.sum(np.diff(hits[row, ends], prepend=0) * precision[row, ends]))
    return value / np.count_nonzero(fake)


SCORES: dict[str, Score] = {"accuracy": accuracy, "auc": auc, "ap": average_precision}


def by_chance(name: str, fake: np.ndarray, tries: int = 1) -> float:
    """What the best of ``tries`` scores is likely to reach where the features know nothing of the labels.

    The level of one such score, and the expected maximum of that many normal draws (Blom 1958) of its standard
    deviations more. Of average precision the level alone: the share of fakes.
    """
    fakes = int(np.count_nonzero(fake))
    reals = len(fake) - fakes
    if name == "ap":
        return fakes / len(fake)
    variance = (1 / fakes + 1 / reals) / 16 if name == "accuracy" else (len(fake) + 1) / (12 * fakes * reals)
    return min(1.0, 0.5 + float(ndtri((tries - 0.375) / (tries + 0.25)) * np.sqrt(variance)))


def log_loss(margins: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Mean logistic loss per row, (k,)."""
    return mean_loss(np.where(fake, -margins, margins))


def mean_loss(wrong: np.ndarray) -> np.ndarray:
    """Mean of log(1 + e^m) over rows of margins that are positive where they are wrong, (k, n) → (k,).

    To an absolute error of a rounding; several times faster than numpy's logaddexp.
    """
    loss = np.exp(-np.abs(wrong))
    loss += 1.0
    np.log(loss, out=loss)
    loss += np.maximum(wrong, 0.0)
    return loss.mean(axis=1, dtype=np.float64)


def score_interval(
    name: str, margins: np.ndarray, error: np.ndarray, fake: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, lowest, highest), each (k,), for margins (k, n_test) known up to ``error`` (k, n_test)."""
    if name == "accuracy":  # without sorting: this runs for every candidate of every step
        above, below = margins > error, margins < -error
        return accuracy(margins, fake), _balanced(above, below, fake), _balanced(~below, ~above, fake)
    score = SCORES[name]
    value, low, high = score(margins, fake), np.zeros(len(margins)), np.ones(len(margins))
    known = np.isfinite(error).all(axis=1)
    toward = np.where(fake, error[known], -error[known])
    low[known], high[known] = score(margins[known] - toward, fake), score(margins[known] + toward, fake)
    return value, low, high
