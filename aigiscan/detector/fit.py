"""Fitting a detector: held-out scores first, thresholds from them, then one classifier on everything.

Every image is scored once by a classifier that saw neither its generator nor its photo source (nor, where there is only
one of a kind, its group). These scores give the metrics in the card and the calibration of the verdicts
(cross-conformal: Vovk, "Cross-conformal predictors", 2015): the thresholds come from photo sources left out of the fit.
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
from aigiscan.detector.table import FitTable
from aigiscan.errors import FitError
from aigiscan.features.views import EmbeddingView, FeatureView

#: a source with this many pictures counts fully; smaller ones by the root of their share (shared data README)
_FULL_SOURCE = 40


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
    """A fitted detector and the held-out scores that its card was written from.

    held_out: (n,) score of each image by a classifier that did not see its source. folds: (n,) fold number.
    """

    detector: Detector
    table: FitTable
    held_out: np.ndarray
    folds: np.ndarray


def sample_weights(label: np.ndarray, sources: np.ndarray, weighting: str) -> np.ndarray:
    """Weight of each image (n,), mean 1.

    ``source``: a source of n pictures weighs √(min(1, n/40)) in all, then both classes weigh the same, so that many
    small sources are heard beside a few large ones.
    """
    weights = np.ones(len(label), dtype=np.float64)
    if weighting == "source":
        for value in np.unique(label):
            for source in set(sources[label == value].tolist()):
                member = (label == value) & (sources == source)
                weights[member] = np.sqrt(min(1.0, member.sum() / _FULL_SOURCE)) / member.sum()
    elif weighting not in ("class", "none"):
        raise FitError(f"unknown weighting {weighting!r}: use source, class or none")
    if weighting != "none":
        for value in np.unique(label):
            weights[label == value] *= 0.5 / weights[label == value].sum()
    return weights * (len(label) / weights.sum())


def check_table(table: FitTable) -> None:
    """Raise FitError in one line if nothing can be fitted on the table."""
    for value, name in ((0, "real"), (1, "AI-generated")):
        if not (table.label == value).any():
            raise FitError(f"there is no {name} image among the {len(table)} labelled ones: both classes are needed")
    for name, array in table.channels.items():
        if not np.isfinite(array).all():
            raise FitError(f"channel {name} holds NaN or infinite numbers: embed the images again")


def held_out_scores(
    make: Callable[[], Any],
    matrix: np.ndarray,
    target: np.ndarray,
    table: FitTable,
    settings: FitSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n,) of every image by a classifier fitted without its source, and its fold (n,)."""
    from aigiscan.evaluation.folds import source_folds

    folds = source_folds(table.label, table.sources, table.groups, n_folds=settings.folds, seed=settings.seed)
    scores = np.full(len(table), np.nan)
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        if len(np.unique(table.label[inside])) < 2:
            raise FitError(
                "too few generators, photo sources or groups to leave any out: add images or a `group` column"
            )
        weights = sample_weights(table.label[inside], table.sources[inside], settings.weighting)
        fitted = make().fit(matrix[inside], target[inside], sample_weight=weights)
        scores[outside] = fitted.decision_function(matrix[outside])
    return scores, folds


def fit(
    tables: FitTable | Sequence[FitTable],
    settings: FitSettings | None = None,
    view: FeatureView | None = None,
) -> FitResult:
    """Fit a detector on labelled images.

    tables: one table, or the same images under several equalisations (same rows, same order): the classifier then sees
    all of them, and an image's score is the mean over them. Raises FitError if a class is missing, numbers are not
    finite, or tables do not belong together.
    """
    from aigiscan.classifiers import make_classifier

    settings = settings or FitSettings()
    view = view or EmbeddingView()
    given = [tables] if isinstance(tables, FitTable) else list(tables)
    table = given[0]
    for other in given:
        check_table(other)
        if other.text["sha256"].tolist() != table.text["sha256"].tolist() or other.encoder != table.encoder:
            raise FitError("several equalisations need the same readable images and the same encoder in each")

    matrices = [view.transform(t.channels) for t in given]
    several = len(given)

    def make() -> Any:
        return make_classifier(settings.classifier, **settings.params)

    probe = make()
    target = table.label
    if getattr(probe, "multiclass", False):
        target = np.where(table.label == 1, table.sources, "real")

    def stacked(estimator: Any) -> Any:
        return _Stacked(estimator, several)

    wide = np.concatenate([m[:, None] for m in matrices], axis=1)  # [n, equalisations, f]
    scores, folds = held_out_scores(lambda: stacked(make()), wide, target, table, settings)
    calibration = Calibration.from_scores(
        scores[table.label == 0], scores[table.label == 1], max_fpr=settings.max_fpr, max_miss=settings.max_miss
    )
    weights = sample_weights(table.label, table.sources, settings.weighting)
    classifier = stacked(probe).fit(wide, target, sample_weight=weights).estimator
    detector = Detector(
        Card(
            name=settings.name,
            grade=settings.grade,
            description=settings.description,
            limits=list(settings.limits),
            encoder=copy.deepcopy(dict(table.encoder)),
            equalizations=[t.equalization for t in given if t.equalization],
            view=view.params(),
            classifier={"name": settings.classifier, "params": _plain(classifier.get_params())},
            thresholds=calibration.describe(),
            training={**table.summary(), "weighting": settings.weighting},
            seed=settings.seed,
            versions=library_versions(),
        ),
        view,
        classifier,
        calibration,
    )
    return FitResult(detector, table, scores, folds)


class _Stacked:
    """The same images under several equalisations: fitted on all of them, scored by the mean."""

    def __init__(self, estimator: Any, several: int) -> None:
        self.estimator = estimator
        self.several = several

    def fit(self, wide: np.ndarray, target: np.ndarray, sample_weight: np.ndarray) -> _Stacked:
        n, several, features = wide.shape
        self.estimator.fit(
            wide.reshape(n * several, features),
            np.repeat(target, several),
            sample_weight=np.repeat(sample_weight, several) / several,
        )
        return self

    def decision_function(self, wide: np.ndarray) -> np.ndarray:
        n, several, features = wide.shape
        scores = self.estimator.decision_function(wide.reshape(n * several, features))
        return np.asarray(scores).reshape(n, several).mean(axis=1)


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as YAML can hold them."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in params.items()}
