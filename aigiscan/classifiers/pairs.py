"""Learning from pairs: a photograph and a fake of the same content (Saland's report, sections 2.1 and 2.5).

``group`` says what belongs together: a photograph and what was generated from its caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from aigiscan.classifiers.base import LinearProbe, Scaler, UnfitDataError

Index = NDArray[np.intp]


def pair_rows(labels: ArrayLike, groups: Sequence[str] | NDArray) -> tuple[Index, Index]:
    """(rows of photographs, rows of fakes), one entry for each real × fake pair within a group; both may be empty.

    Images without a group, and groups with one label only, are in no pair. Pairs come in the order of group names.
    """
    y, keys = np.asarray(labels).astype(bool), np.asarray(groups).astype(str)
    real_rows: list[Index] = []
    fake_rows: list[Index] = []
    shared = np.intersect1d(keys[y], keys[~y])
    for key in shared[shared != ""]:
        member = keys == key
        real, fake = np.flatnonzero(member & ~y), np.flatnonzero(member & y)
        real_rows.append(np.repeat(real, len(fake)))
        fake_rows.append(np.tile(fake, len(real)))
    empty = [np.empty(0, dtype=np.intp)]
    return np.concatenate(real_rows or empty), np.concatenate(fake_rows or empty)


def paired_images(labels: ArrayLike, groups: Sequence[str] | NDArray) -> NDArray[np.bool_]:
    """Mask (n,) of the images that are in a pair: pair training of any classifier fits on these alone."""
    real, fake = pair_rows(labels, groups)
    mask = np.zeros(len(np.asarray(labels)), dtype=bool)
    mask[real] = mask[fake] = True
    return mask


@dataclass(eq=False, repr=False)
class PairClassifier(LinearProbe):
    """Conditional logistic regression: ½‖w‖² + C Σ_pairs log(1 + exp(−w · (x_fake − x_real))).

    What both images of a pair share – their content – cancels, so that w learns from the difference alone. The bias
    and the scale of the score come from a logistic regression on w · x over all images in pairs. A group with several
    photographs or fakes weighs as one. C, standardize: as in ``logistic``.
    """

    needs_groups = True

    C: float = 0.01
    standardize: bool = True
    max_iter: int = 1000

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: Sequence[str] | NDArray | None = None,
    ) -> PairClassifier:
        """Fit on the pairs that ``groups`` (n,) make; FitError if there are fewer than two."""
        matrix, target, weight = self._check_fit(X, y, sample_weight)
        if groups is None or len(groups) != len(target):
            raise UnfitDataError("pair mode needs a `group` for every image, shared by a photograph and its fakes")
        keys = np.where(weight > 0, np.asarray(groups).astype(str), "")
        real, fake = pair_rows(target, keys)
        if len(np.unique(keys[real])) < 2:
            raise UnfitDataError("fewer than two groups hold both a photograph and a fake; pair them by `group`")
        _, inverse, counts = np.unique(keys[real], return_inverse=True, return_counts=True)
        pair_weight = np.sqrt(weight[real] * weight[fake]) / counts[inverse]
        used = np.unique(np.concatenate([real, fake]))
        scaler = Scaler.fit(matrix[used], weight[used]) if self.standardize else Scaler.none(matrix.shape[1])
        difference = (matrix[fake] - matrix[real]) / scaler.scale
        # Each difference stands in both directions at half the weight: the same loss, and two classes for the solver.
        model = LogisticRegression(C=self.C, fit_intercept=False, max_iter=self.max_iter)
        model.fit(
            np.concatenate([difference, -difference]),
            np.repeat([1, 0], len(difference)),
            sample_weight=np.tile(pair_weight / 2.0, 2),
        )
        score = scaler.transform(matrix[used]) @ model.coef_[0]
        spread = score.std() or 1.0
        scale = LogisticRegression(C=1e4).fit(score[:, None] / spread, target[used], sample_weight=weight[used])
        # Never below 0: that would turn the direction round that the pairs have shown.
        slope = max(float(scale.coef_[0, 0]) / spread, 1e-12)
        self._set_linear(model.coef_[0] * slope, float(scale.intercept_[0]), scaler)
        return self
