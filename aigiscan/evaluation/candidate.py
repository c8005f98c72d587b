"""What is compared: a matrix of features with its labels, and how to fit a classifier on some of its rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigiscan.classifiers.base import REAL_NAME, fit_classifier
from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.errors import FitError
from aigiscan.features.base import FeatureView

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Candidate:
    """n images as a matrix, and a classifier to fit on them.

    name: for tables and files. X (n, features). labels (n,). names (n,): generator of a fake, source of a photograph.
    sources (n,): the unit of folds and weights, which may hold several generators. groups (n,), splits (n,). families:
    generator → family. make() gives an unfitted classifier.
    text_features: (2, d), for classifiers that use words. exclude: generators that chose the features. small: (n,),
    pictures with a short side; None where sizes are unknown.
    """

    name: str
    X: NDArray
    labels: NDArray
    names: NDArray
    sources: NDArray
    groups: NDArray
    splits: NDArray
    families: Mapping[str, str]
    make: Callable[[], Any]
    text_features: NDArray | None = None
    exclude: tuple[str, ...] = ()
    sides: NDArray | None = None
    paths: NDArray = field(default_factory=lambda: np.empty(0, dtype=object))

    @classmethod
    def of(
        cls,
        name: str,
        table: FitTable,
        view: FeatureView,
        make: Callable[[], Any],
        text_features: NDArray | None = None,
    ) -> Candidate:
        """From labelled images and a feature view."""
        fakes = table.label == 1
        families = dict(zip(table.names[fakes].tolist(), table.text["family"][fakes].tolist(), strict=True))
        return cls(
            name=name,
            X=view.transform(table.channels),
            labels=np.asarray(table.label),
            names=table.names.astype(str),
            sources=table.sources.astype(str),
            groups=table.groups.astype(str),
            splits=table.text["split"].astype(str),
            families=families,
            make=make,
            text_features=text_features,
            exclude=tuple(view.search_generators),
            sides=table.sides,
            paths=table.text["path"],
        )

    def select(self, rows: NDArray) -> Candidate:
        """The rows of an index or boolean mask."""
        chosen = {name: getattr(self, name)[rows] for name in ("X", "labels", "names", "sources", "groups", "splits")}
        sides = None if self.sides is None else self.sides[rows]
        return replace(self, **chosen, sides=sides, paths=self.paths[rows] if len(self.paths) else self.paths)

    def without(self, generators: Collection[str]) -> Candidate:
        """The same without the fakes of some generators: what chose the features takes no part in measuring them."""
        kept = ~((self.labels == 1) & np.isin(self.names, list(generators)))
        return self if kept.all() else self.select(kept)

    @property
    def target(self) -> NDArray:
        """What the classifier learns: labels, or generator names with ``real`` for multi-class ones."""
        return np.where(self.labels == 1, self.names, REAL_NAME) if self.make().multiclass else self.labels

    def fit(self, rows: Index, weighting: str = "class") -> Any:
        """A classifier fitted on these rows. weighting: see :func:`aigiscan.detector.table.sample_weights`."""
        weights = sample_weights(self.labels[rows], self.sources[rows], weighting)
        return fit_classifier(
            self.make(),
            self.X[rows],
            self.target[rows],
            sample_weight=weights,
            groups=self.groups[rows],
            text_features=self.text_features,
        )

    def tuned_on(self, rows: Index, seed: int = 0) -> Callable[[Index], Any]:
        """``fit`` with solver, C and max_iter that do best on a quarter of these rows' groups (Gaintseva et al., A.3).

        The classifier must be ``logistic``. FitError where the groups do not make two sides with both classes.
        """
        from sklearn.exceptions import ConvergenceWarning

        from aigiscan.classifiers.folds import group_folds
        from aigiscan.classifiers.grid import fit_grid

        labels = self.labels[rows]
        chosen, _ = fit_grid(
            self.X[rows],
            labels,
            group_folds(labels, self.groups[rows], 4, seed) == 0,
            sample_weight=sample_weights(labels, self.sources[rows], "class"),
            fit_intercept=self.make().fit_intercept,
            standardize=self.make().standardize,
            random_state=seed,
            n_jobs=-1,
        )
        settings = {name: getattr(chosen, name) for name in ("solver", "C", "max_iter")}
        tuned = replace(self, make=lambda: self.make().set_params(**settings))

        def fit(rows: Index) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop is one of the grid's settings
                return tuned.fit(rows)

        return fit

    def held_out_scores(self, n_folds: int = 10, seed: int = 0) -> tuple[NDArray[np.float64], Index]:
        """(scores (n,), folds (n,)): every image scored by a fit that saw neither its source nor its group."""
        folds = source_folds(self.labels, self.sources, self.groups, n_folds, seed)
        scores = np.full(len(self.labels), np.nan)
        for train, test in train_test(folds, self.groups):
            if len(np.unique(self.labels[train])) < 2:
                raise FitError(
                    "a fold leaves one class to fit on; give more sources, or groups that link fewer of them"
                )
            scores[test] = self.fit(train, "source").decision_function(self.X[test])
        return scores, folds
