"""Fitting a detector: held-out scores first, thresholds from them, then one classifier on everything.

Every image is scored by a classifier that saw neither its generator nor its photo source (nor, where there is only one
of a kind, its group). These scores give the metrics in the card and the calibration of the verdicts (cross-conformal:
Vovk, "Cross-conformal predictors", 2015): the thresholds come from photo sources left out of the fit, and nearly all
of these sources must keep the promise each for itself (:mod:`aigiscan.detector.guard`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aigiscan.detector.calibration import Calibration
from aigiscan.detector.card import Card, library_versions
from aigiscan.detector.detector import Detector
from aigiscan.detector.seen import SeenPictures
from aigiscan.detector.stacked import StackedView
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.errors import FitError
from aigiscan.features.base import FeatureView
from aigiscan.features.views import EmbeddingView


@dataclass(frozen=True)
class FitSettings:
    """What to fit and what to promise.

    classifier, params: a name of :data:`aigiscan.classifiers.CLASSIFIERS` and its parameters.
    weighting: ``source`` (reals and fakes equal, each source √(min(1, n/40))), ``class`` (reals and fakes equal) or
    ``none``. max_fpr: share of real photographs that may be flagged ``ai``; max_miss: share of fakes that may be called
    ``real``. folds: how many folds the held-out scores come from.
    """

    classifier: str = "logistic"
    params: Mapping[str, Any] = field(default_factory=dict)
    weighting: str = "source"
    max_fpr: float = 0.01
    max_miss: float = 0.01
    folds: int = 10
    seed: int = 0
    name: str = "detector"
    grade: str = ""
    description: str = ""
    limits: Sequence[str] = ()


@dataclass(frozen=True)
class FitResult:
    """A fitted detector and the held-out scores that its card is written from.

    table: the images as ``scan`` will see them (first equalisation). equalizations: k specs. held_out: (n, k), score of
    each image under each equalisation by a classifier that did not see its source. folds: (n,) fold numbers.
    in_distribution: (n,) under the first equalisation, by a classifier that saw other images of the same source; None
    where there are too few groups.
    """

    detector: Detector
    table: FitTable
    equalizations: tuple[str, ...]
    held_out: np.ndarray
    folds: np.ndarray
    in_distribution: np.ndarray | None = None


def check_table(table: FitTable) -> None:
    """Raise FitError in one line if nothing can be fitted on the table."""
    for value, name in ((0, "real"), (1, "AI-generated")):
        if not (table.label == value).any():
            raise FitError(f"there is no {name} image among the {len(table)} labelled ones: both classes are needed")
    for name, array in table.channels.items():
        if not np.isfinite(array).all():
            raise FitError(f"channel {name} holds NaN or infinite numbers: embed the images again")


def fit(
    tables: FitTable | Sequence[FitTable],
    settings: FitSettings | None = None,
    view: FeatureView | None = None,
    text_features: np.ndarray | None = None,
    previous: Detector | None = None,
) -> FitResult:
    """Fit a detector on labelled images.

    tables: one table, or the same images under k equalisations (same rows, same order): the classifier is fitted and
    calibrated on all of them, which keeps it from leaning on one size or quality, and pictures are scanned under the
    first. text_features: (2, d) for classifiers that need them. previous: go on training this detector's classifier on
    these images instead of starting anew. Raises FitError if a class is missing, numbers are not
    finite, or tables do not belong together.
    """
    from aigiscan.classifiers import make_classifier
    from aigiscan.classifiers.base import fit_classifier
    from aigiscan.classifiers.continued import fit_from
    from aigiscan.classifiers.folds import source_folds, train_test

    settings = settings or FitSettings()
    view = view or EmbeddingView()
    given = [tables] if isinstance(tables, FitTable) else list(tables)
    table, k = given[0], len(given)
    for other in given:
        check_table(other)
        if other.text["sha256"].tolist() != table.text["sha256"].tolist() or other.encoder != table.encoder:
            raise FitError("several equalisations need the same readable images and the same encoder in each")
    folds = source_folds(table.label, table.sources, table.groups, n_folds=settings.folds, seed=settings.seed)
    if isinstance(view, StackedView):
        matrices = [view.out_of_fold(t, folds) for t in given]
    else:
        matrices = [view.transform(t.channels) for t in given]
    unfitted = make_classifier(settings.classifier, **dict(settings.params))
    if "random_state" in unfitted.get_params() and "random_state" not in settings.params:
        unfitted.set_params(random_state=settings.seed)
    target = np.where(table.label == 1, table.names, "real") if unfitted.multiclass else table.label

    def fitted_on(rows: np.ndarray) -> Any:
        weights = np.tile(sample_weights(table.label[rows], table.sources[rows], settings.weighting), k) / k
        matrix = np.concatenate([matrix[rows] for matrix in matrices])
        if previous is not None:
            return fit_from(previous.classifier, matrix, np.tile(target[rows], k), sample_weight=weights)
        return fit_classifier(
            copy.deepcopy(unfitted),
            matrix,
            np.tile(target[rows], k),
            sample_weight=weights,
            groups=np.tile(table.groups[rows], k),
            text_features=text_features,
        )

    held_out = np.full((len(table), k), np.nan)
    for train, test in train_test(folds, table.groups):
        classifier = fitted_on(train)
        for column, matrix in enumerate(matrices):
            held_out[test, column] = classifier.decision_function(matrix[test])
    real, fake = held_out[table.label == 0], held_out[table.label == 1]
    calibration = Calibration.from_scores(
        real.ravel(),
        fake.ravel(),
        settings.max_fpr,
        settings.max_miss,
        guard_sources=np.repeat(table.sources[table.label == 0].astype(str), k),
        copies=k,
    )
    classifier = fitted_on(np.arange(len(table)))
    specs = tuple(t.equalization for t in given)
    card = Card(
        name=settings.name,
        grade=settings.grade,
        description=settings.description,
        limits=list(settings.limits),
        encoder=copy.deepcopy(dict(table.encoder)),
        equalization=table.equalization,
        view=view.params(),
        classifier={"name": settings.classifier, "params": _plain(classifier.get_params())},
        thresholds=_plain(calibration.describe()),
        training={
            **table.summary(),
            "equalizations": list(specs),
            "weighting": settings.weighting,
            # what it saw before counts: its pictures are not held out by the figures below
            **({"continued_from": previous.card.training} if previous is not None else {}),
        },
        seed=settings.seed,
        versions=library_versions(),
    )
    return FitResult(
        Detector(card, view, classifier, calibration, _seen(table, view, previous)),
        table,
        specs,
        held_out,
        folds,
        _in_distribution(table, fitted_on, matrices[0]),
    )


def _seen(table: FitTable, view: FeatureView, previous: Detector | None) -> SeenPictures:
    """These pictures, and those that the detector gone on from and the bases of a stack have seen."""
    seen = SeenPictures.of(fitted=table.text["sha256"].tolist())
    if previous is not None:
        seen |= previous.seen
    return seen | view.seen if isinstance(view, StackedView) else seen


def _in_distribution(table: FitTable, fitted_on: Callable[[np.ndarray], Any], matrix: np.ndarray) -> np.ndarray | None:
    from aigiscan.classifiers.folds import group_folds, train_test

    try:
        folds = group_folds(table.label, table.groups)
    except FitError:  # too few groups for folds: the card then has no such figure
        return None
    scores = np.full(len(table), np.nan)
    for train, test in train_test(folds):
        scores[test] = fitted_on(train).decision_function(matrix[test])
    return scores


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as YAML can hold them."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in params.items()}
