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
