"""Fitting a detector: one classifier per fold, its scores of the pictures it did not see, thresholds from these scores.

Every image is scored by a classifier that saw neither its generator nor its photo source (nor, where there is only one
of a kind, its group). These scores give the metrics in the card and the calibration of the verdicts (cross-conformal:
Vovk, "Cross-conformal predictors", 2015). What judges afterwards is the mean of these same classifiers
(:mod:`aigiscan.classifiers.ensemble`): a classifier fitted again on everything is of another family, and its scores
spread further than the threshold knows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aigiscan.detector.bases import sources_of
from aigiscan.detector.calibration import SMALL_SIDE, Calibration
from aigiscan.detector.card import Card, library_versions
from aigiscan.detector.detector import Detector
from aigiscan.detector.doubt import most_smooth
from aigiscan.detector.fold_choice import folds_of, folds_of_pairs
from aigiscan.detector.seen import SeenPictures
from aigiscan.detector.stacked import StackedView
from aigiscan.detector.table import FitTable, encoder_entry, sample_weights
from aigiscan.encoders.fingerprint import for_channels
from aigiscan.errors import FitError
from aigiscan.features.base import FeatureView
from aigiscan.features.views import EmbeddingView

#: fewer folds than this and a judge that is fitted again on everything: its excess is too large to be stated only
_LEAST_FOLDS = 5
#: false alarms on noise where 5 % was promised, ten folds, 300 columns, 100 pictures per class (benchmarks/RESULTS.md)
_EXCESS = {"knn": "4.7 ± 0.5", "mlp": "6.1 ± 0.6", "tip-adapter": "4.6 ± 0.6", "multiclass-svm": "6.0 ± 0.8"}
_MEAN = "conformal on scores of left-out pictures; the mean of the fold classifiers judges"
_REFIT = (
    "approximate: conformal on scores of left-out pictures, but a classifier fitted again on everything judges, whose "
    "scores spread further"
)


@dataclass(frozen=True)
class FitSettings:
    """What to fit and what to promise.

    classifier, params: a name of :data:`aigiscan.classifiers.CLASSIFIERS` and its parameters.
    weighting: ``source`` (reals and fakes equal, each source √(min(1, n/40))), ``class`` (reals and fakes equal) or
    ``none``. max_fpr: share of real photographs that may be flagged ``ai``; max_miss: share of fakes that may be called
    ``real``. folds: how many folds the held-out scores come from. small_side: pictures with a shorter side under so
    many pixels are held against small photographs; reduced: number of an equalisation that makes pictures about that
    small, under which all photographs take the place of the few that are small by themselves.
    """

    classifier: str = "logistic"
    params: Mapping[str, Any] = field(default_factory=dict)
    weighting: str = "source"
    max_fpr: float = 0.01
    max_miss: float = 0.05
    folds: int = 10
    seed: int = 0
    name: str = "detector"
    grade: str = ""
    description: str = ""
    limits: Sequence[str] = ()
    least_side: int = 0
    smoothest: float = 0.0
    small_side: int = SMALL_SIDE
    reduced: int | None = None


@dataclass(frozen=True)
class FitResult:
    """A fitted detector and the held-out scores that its card is written from.

    table: the m images that were scored, as ``scan`` will see them (first equalisation): all, but for those that a
    detector gone on from has seen. equalizations: k specs. held_out: (m, k), score of each image under each
    equalisation by a classifier that did not see its source. folds: (m,) fold numbers. known_sources: those that a
    detector gone on from was fitted on. in_distribution: (m,) under the first equalisation, by a classifier that saw
    other images of the same source; None where there are too few groups. named: (m,) what these call each image, for
    classifiers over several generators.
    """

    detector: Detector
    table: FitTable
    equalizations: tuple[str, ...]
    held_out: np.ndarray
    folds: np.ndarray
    settings: FitSettings
    known_sources: tuple[str, ...] = ()
    in_distribution: np.ndarray | None = None
    named: np.ndarray | None = None


@dataclass(frozen=True)
class _Problem:
    """What every fold is fitted on. matrices: features of all n images, one per equalisation. target (n,): labels, or
    names for multi-class classifiers. folds (n,): −1 for what ``previous`` has seen."""

    table: FitTable
    settings: FitSettings
    view: FeatureView
    matrices: list[np.ndarray]
    target: np.ndarray
    folds: np.ndarray
    unfitted: Any
    text_features: np.ndarray | None
    previous: Detector | None

    def fitted(self, rows: np.ndarray, fold: int = 0) -> Any:
        """A classifier on some rows under all equalisations, or the previous one (its member of a fold) gone on."""
        from aigiscan.classifiers.base import fit_classifier
        from aigiscan.classifiers.continued import fit_from

        k = len(self.matrices)
        labels, sources = self.table.label[rows], self.table.sources[rows]
        weights = np.tile(sample_weights(labels, sources, self.settings.weighting), k) / k
        matrix = np.concatenate([matrix[rows] for matrix in self.matrices])
        target = np.tile(self.target[rows], k)
        if self.previous is not None:
            return fit_from(self.previous.classifier, matrix, target, sample_weight=weights, member=fold)
        return fit_classifier(
            copy.deepcopy(self.unfitted),
            matrix,
            target,
            sample_weight=weights,
            groups=np.tile(self.table.groups[rows], k),
            text_features=self.text_features,
        )

    def out_of_fold(self, folds: np.ndarray) -> tuple[list[Any], np.ndarray]:
        """(one classifier per fold, scores (n, k) by the classifier that did not see the image; NaN in fold −1)."""
        from aigiscan.classifiers.folds import train_test

        classifiers, scores = [], np.full((len(self.table), len(self.matrices)), np.nan)
        for number, (train, test) in enumerate(train_test(folds, self.table.groups)):
            if len(np.unique(self.table.label[train])) < 2:
                raise FitError(
                    "leaving out a fold, and whatever shares a `group` with it, leaves nothing to fit on of one class: "
                    "give more sources, or groups that link fewer of them"
                )
            classifiers.append(self.fitted(train, number))
            for column, matrix in enumerate(self.matrices):
                scores[test, column] = classifiers[-1].decision_function(matrix[test])
        return classifiers, scores


def fit(
    tables: FitTable | Sequence[FitTable],
    settings: FitSettings | None = None,
    view: FeatureView | None = None,
    text_features: np.ndarray | None = None,
    previous: Detector | None = None,
) -> FitResult:
    """Fit a detector on labelled images.

    tables: one table, or the same images under k equalisations (same rows, same order): the classifier is fitted on all
    of them, which keeps it from leaning on one size or quality; pictures are scanned, and thresholds calibrated, under
    the first. text_features: (2, d) for classifiers that need them. previous: go on training this detector's classifier
    on these images instead of starting anew; images that it has seen take part in the fit, but in no figure and no
    threshold. Raises FitError if a class is missing, numbers are not finite, tables do not belong together, or
    ``previous`` has seen so many of the images that nothing can be left out.
    """
    settings = settings or FitSettings()
    view = view or EmbeddingView()
    given = [tables] if isinstance(tables, FitTable) else list(tables)
    check_tables(given)
    if isinstance(view, StackedView) and len(given) > 1:
        raise FitError("a stack is fitted under one equalisation, that of its bases")
    problem = _problem(given, settings, view, text_features, previous)
    members, scores = problem.out_of_fold(problem.folds)
    classifier, method = _judge(problem, members)
    scored = np.flatnonzero(problem.folds >= 0)
    table = problem.table.select(scored)
    calibration = calibrated(table, scores[scored], settings)
    card = _card(problem, classifier, {"method": method, **calibration.describe()}, [t.equalization for t in given])
    return FitResult(
        Detector(card, problem.view, classifier, calibration, _seen(problem)),
        table,
        tuple(t.equalization for t in given),
        scores[scored],
        problem.folds[scored],
        settings,
        sources_of(previous.card.training) if previous is not None else (),
        *_in_distribution(problem, scored),
    )


def check_rates(max_fpr: float, max_miss: float = 0.5) -> None:
    """FitError for a rate outside (0, 1), before anything is embedded."""
    for name, rate in (("max_fpr", max_fpr), ("max_miss", max_miss)):
        if not 0.0 < rate < 1.0:
            raise FitError(f"{name} must lie between 0 and 1, not {rate:g}")


def check_tables(tables: Sequence[FitTable]) -> None:
    """Raise FitError in one line if nothing can be fitted on the tables, or they do not belong together."""
    first = tables[0]
    for table in tables:
        for value, name in ((0, "real"), (1, "AI-generated")):
            if not (table.label == value).any():
                raise FitError(
                    f"there is no {name} image among the {len(table)} labelled ones: both classes are needed"
                )
        for name, array in table.channels.items():
            if not np.isfinite(array).all():
                raise FitError(f"channel {name} holds NaN or infinite numbers: embed the images again")
        if table.text["sha256"].tolist() != first.text["sha256"].tolist() or table.encoder != first.encoder:
            raise FitError("several equalisations need the same readable images and the same encoder in each")


def _problem(
    tables: list[FitTable],
    settings: FitSettings,
    view: FeatureView,
    text_features: np.ndarray | None,
    previous: Detector | None,
) -> _Problem:
    from aigiscan.classifiers import make_classifier

    table = tables[0]
    unfitted = make_classifier(settings.classifier, **dict(settings.params))
    if "random_state" in unfitted.get_params() and "random_state" not in settings.params:
        unfitted.set_params(random_state=settings.seed)
    folds = folds_of(table, settings.folds, settings.seed, view, previous)
    if unfitted.needs_groups:
        folds = folds_of_pairs(table, folds, settings.folds, settings.seed)
    if isinstance(view, StackedView):  # of one equalisation: its bases were fitted under that
        matrix, view = view.out_of_fold(table, folds)
        matrices = [matrix]
    else:
        matrices = [view.transform(t.channels) for t in tables]
    target = np.where(table.label == 1, table.names, "real") if unfitted.multiclass else table.label
    return _Problem(table, settings, view, matrices, target, folds, unfitted, text_features, previous)


def _judge(problem: _Problem, members: list[Any]) -> tuple[Any, str]:
    """What judges, and how its calibration is to be called."""
    from aigiscan.classifiers.ensemble import averaged

    judge = averaged(members)
    if judge is not None:
        return judge, _MEAN
    if len(members) < _LEAST_FOLDS:
        raise FitError(
            f"{problem.settings.classifier} is too large to keep the classifiers of {len(members)} folds, and fitted "
            f"again on everything it breaks the promise with so few: give pictures of at least {_LEAST_FOLDS} "
            "generators and photo sources"
        )
    excess = _EXCESS.get(problem.settings.classifier)
    measured = (
        f"; on noise {excess} % were flagged where 5 % was promised" if excess else "; by how much is not measured"
    )
    return problem.fitted(np.arange(len(problem.table))), f"{_REFIT}; {measured}"


def calibrated(table: FitTable, scores: np.ndarray, settings: FitSettings) -> Calibration:
    """One score per picture, of scores (n, k), under the first treatment, which ``scan`` applies."""
    real = table.label == 0
    return Calibration.from_scores(
        scores[real, 0],
        scores[~real, 0],
        settings.max_fpr,
        settings.max_miss,
        sides=None if table.sides is None else table.sides[real],
        small_side=settings.small_side,
        reduced=None if settings.reduced is None else scores[real, settings.reduced],
    )


def _card(problem: _Problem, classifier: Any, thresholds: Mapping[str, Any], specs: Sequence[str]) -> Card:
    from aigiscan.classifiers.ensemble import classifier_entry

    table, settings, previous = problem.table, problem.settings, problem.previous
    return Card(
        name=settings.name,
        grade=settings.grade,
        description=settings.description,
        limits=list(settings.limits),
        encoder=encoder_entry(table.encoder["name"], for_channels(table.encoder["fingerprint"], problem.view.channels)),
        equalization=table.equalization,
        least_side=settings.least_side,
        most_smooth=most_smooth(table, settings.smoothest),
        view=problem.view.params(),
        classifier=classifier_entry(settings.classifier, classifier),
        thresholds=dict(thresholds),
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


def _seen(problem: _Problem) -> SeenPictures:
    """These pictures, and those that the detector gone on from and the bases of a stack have seen."""
    seen = SeenPictures.of(fitted=problem.table.text["sha256"].tolist())
    if problem.previous is not None:
        seen |= problem.previous.seen
    return seen | problem.view.seen if isinstance(problem.view, StackedView) else seen


def _in_distribution(problem: _Problem, scored: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Scores (m,) by classifiers that saw other images of the same sources, and the generators that these name (m,)."""
    from aigiscan.classifiers.folds import group_folds, train_test

    folds = np.full(len(problem.table), -1, dtype=np.intp)
    try:
        folds[scored] = group_folds(problem.table.label[scored], problem.table.groups[scored])
    except FitError:  # too few groups for folds: the card then has no such figure
        return None, None
    classifiers, scores = problem.out_of_fold(folds)
    if not problem.unfitted.multiclass:
        return scores[scored, 0], None
    named = np.full(len(problem.table), "", dtype=object)
    for classifier, (_, test) in zip(classifiers, train_test(folds, problem.table.groups), strict=True):
        named[test] = classifier.predict_generator(problem.matrices[0][test])
    return scores[scored, 0], named[scored]
