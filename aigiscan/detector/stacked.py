"""Stacking: the probabilities of several detectors as features of a meta-classifier (Saland's report, section 2.6)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.base import fit_classifier
from aigiscan.classifiers.ensemble import averaged, classifier_entry, classifier_from_saved
from aigiscan.classifiers.folds import train_test
from aigiscan.detector.seen import SeenPictures
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.errors import DetectorError
from aigiscan.features import view_from_saved
from aigiscan.features.base import FeatureView


@dataclass(frozen=True)
class Base:
    """What a stack keeps of one detector. kind: its classifier's registered name. sources: the generators and photo
    sources it was fitted on; seen: its pictures, not saved (the stack's own record has them). part: which of encoders
    kept apart (:class:`aigiscan.encoders.apart.ApartEncoder`) it takes its channels from; None where all bases share
    one."""

    name: str
    view: FeatureView
    kind: str
    classifier: Any
    sources: tuple[str, ...] = ()
    seen: SeenPictures = field(default_factory=SeenPictures)
    part: int | None = None

    @property
    def channels(self) -> dict[str, str]:
        """Channel of its view → channel of the stack."""
        return {name: name if self.part is None else f"{self.part}.{name}" for name in self.view.channels}

    def features(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its view (n, columns) of the stack's channels."""
        return self.view.transform({own: channels[name] for own, name in self.channels.items()})

    def probabilities(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Uncalibrated probability of fake (n,), in [0, 1]."""
        return np.asarray(self.classifier.predict_proba(self.features(channels))[:, 1], dtype=np.float64)

    def knows(self, table: FitTable) -> np.ndarray:
        """Mask (n,) of the rows whose picture, generator or photo source fitted it."""
        return self.seen.in_fit(table.text["sha256"]) | (
            np.isin(table.names.astype(str), self.sources) | np.isin(table.sources.astype(str), self.sources)
        )


class StackedView(FeatureView):
    """One column per base detector: its uncalibrated probability of fake, in [0, 1].

    The bases travel inside the stacked detector; their folders are not needed again.
    """

    kind = "stacked"

    def __init__(self, bases: Sequence[Base]) -> None:
        self.bases = tuple(bases)
        self.channels = tuple(sorted({channel for base in bases for channel in base.channels.values()}))
        self.search_generators = tuple(sorted({g for base in bases for g in base.view.search_generators}))

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [f"base:{base.name}" for base in self.bases]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        return np.column_stack([base.probabilities(channels) for base in self.bases]).astype(np.float32)

    def params(self) -> dict[str, Any]:  # noqa: D102
        bases = [
            {
                "name": base.name,
                "view": base.view.params(),
                "classifier": classifier_entry(base.kind, base.classifier),
                "sources": list(base.sources),
                **({} if base.part is None else {"part": base.part}),
            }
            for base in self.bases
        ]
        return {**super().params(), "bases": bases}

    def arrays(self) -> dict[str, np.ndarray]:  # noqa: D102
        found: dict[str, np.ndarray] = {}
        for i, base in enumerate(self.bases):
            found |= {f"{i}.view.{key}": value for key, value in base.view.arrays().items()}
            found |= {f"{i}.classifier.{key}": value for key, value in base.classifier.get_arrays().items()}
        return found

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> StackedView:
        """Inverse of :meth:`params` and :meth:`arrays`."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

        bases = []
        for i, saved in enumerate(params["bases"]):
            classifier = classifier_from_saved(saved["classifier"], part(f"{i}.classifier."))
            view = view_from_saved(saved["view"], part(f"{i}.view."))
            sources = tuple(saved["sources"])
            kind = saved["classifier"]["name"]
            bases.append(Base(saved["name"], view, kind, classifier, sources, part=saved.get("part")))
        return cls(bases)

    @property
    def seen(self) -> SeenPictures:
        """The pictures that any base was fitted or calibrated on."""
        seen = SeenPictures()
        for base in self.bases:
            seen |= base.seen
        return seen

    def out_of_fold(self, table: FitTable, folds: np.ndarray) -> tuple[np.ndarray, StackedView]:
        """(probabilities (n, bases) to fit the meta-classifier on, the view whose probabilities it is to judge).

        A base that knows pictures of the table (:meth:`Base.knows`) would pass off what it has learnt by heart as
        held out. Its kind of classifier is fitted again for every fold, on what it knows without that fold, and the
        mean of these takes its place, so that what is judged later is of the family that was calibrated on. A base that
        knows none of the pictures stays as it is. DetectorError where the rest of what a base knows cannot be fitted.
        """
        columns, bases = [], []
        for base in self.bases:
            column, known = base.probabilities(table.channels), base.knows(table)
            again = []
            for train, test in train_test(folds, table.groups) if known.any() else ():
                again.append(_fitted_again(base, table.select(train[known[train]])))
                column[test] = replace(base, classifier=again[-1]).probabilities(table.select(test).channels)
            judge = averaged(again) if again else base.classifier
            columns.append(column)
            bases.append(base if judge is None else replace(base, classifier=judge))
        return np.column_stack(columns), StackedView(bases)


def _fitted_again(base: Base, part: FitTable) -> Any:
    """The base's kind of classifier on these pictures alone."""
    if len(np.unique(part.label)) < 2:
        raise DetectorError(
            f"base detector {base.name} has seen pictures of this data, too few to fit it again without those it is to "
            "judge; stack on data that it has not seen, or on all the data it was fitted on"
        )
    target = np.where(part.label == 1, part.names, "real") if base.classifier.multiclass else part.label
    return fit_classifier(
        make_classifier(base.kind, **copy.deepcopy(base.classifier.get_params())),
        base.features(part.channels),
        target,
        sample_weight=sample_weights(part.label, part.sources, "source"),
        groups=part.groups,
        text_features=getattr(base.classifier, "text_", None),
    )
