"""Hyperparameters of logistic regression tuned on validation groups (Gaintseva et al., appendix A.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.detector.fit import check_tables
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.features.base import FeatureView

if TYPE_CHECKING:
    from aigiscan.classifiers.grid import GridPoint


def tune_on_paper_grid(
    table: FitTable, view: FeatureView, params: Mapping[str, Any], *, weighting: str = "source", seed: int = 0
) -> tuple[dict[str, Any], list[GridPoint]]:
    """``solver``, ``C`` and ``max_iter`` that do best on a quarter of the generators and photo sources, and all points.

    The detector is then fitted on training and validation rows together, as in the paper. The held-out figures of its
    card are taken with these settings, which saw a quarter of the sources: with 96 settings that is a small favour.
    """
    from aigiscan.classifiers.grid import fit_grid

    check_tables([table])
    folds = source_folds(table.label, table.sources, table.groups, n_folds=4, seed=seed)
    # rows that share a group with the validation sources are in neither side
    train, held = next(train_test(folds, table.groups))
    rows = np.sort(np.concatenate([train, held]))
    part = table.select(rows)
    fitted, points = fit_grid(
        view.transform(part.channels),
        part.label,
        np.isin(rows, held),
        sample_weight=sample_weights(part.label, part.sources, weighting),
        fit_intercept=bool(params.get("fit_intercept", True)),
        standardize=bool(params.get("standardize", False)),
        random_state=seed,
        n_jobs=-1,
    )
    return {
        "solver": fitted.solver,
        "C": fitted.C,
        "max_iter": fitted.max_iter,
        "standardize": fitted.standardize,
    }, points
