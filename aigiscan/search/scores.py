"""Scores of many candidates at once, each with the interval that its remaining error allows.

Margins are ``w·x``, higher = more likely fake. A candidate whose weights are known up to an error has test margins
known up to ``±error``; all scores here grow when a fake's margin grows or a real's shrinks, so the ends of the interval
are the scores of the margins shifted to the right and to the wrong side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from aigiscan.metrics import auc_rows, average_precision_rows

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


SCORES: dict[str, Score] = {"accuracy": accuracy, "auc": auc_rows, "ap": average_precision_rows}


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
    return mean_loss_and_sigmoid(np.where(fake, -margins, margins))[0]


def mean_loss_and_sigmoid(wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean of log(1 + e^m) (k,), 1 / (1 + e^−m) (k, n)) of margins m (k, n) that are positive where they are wrong.

    Both to a rounding, and from one exponential per margin. log a + log b = log ab saves most logarithms: of 1,000
    factors that are 2 at most the product is still a number.
    """
    small = np.exp(-np.abs(wrong))
    sigmoid = np.where(wrong >= 0, 1.0, small)
    factors = np.add(small, 1.0, out=small)
    sigmoid /= factors
    loss = np.maximum(wrong, 0.0).sum(axis=1)
    for start in range(0, wrong.shape[1], 1000):
        loss += np.log(np.multiply.reduce(factors[:, start : start + 1000], axis=1))
    return loss / wrong.shape[1], sigmoid


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
