"""Stacking: the probabilities of several detectors as features of a meta-classifier (Saland's report, section 2.6)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.base import fit_classifier
from aigiscan.detector.table import FitTable, sample_weights
from aigiscan.encoders import compare_fingerprints
from aigiscan.errors import DetectorError
from aigiscan.features.views import FeatureView, view_from_saved

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector


class StackedView(FeatureView):
    """One column per base detector: its uncalibrated probability of fake, in [0, 1].

    The bases travel inside the stacked detector; their folders are not needed again.
    """

    kind = "stacked"

    def __init__(
        self,
        names: Sequence[str],
        views: Sequence[FeatureView],
        classifiers: Sequence[Any],
        sources: Sequence[Sequence[str]],
    ) -> None:
        self.names, self.views, self.classifiers = list(names), list(views), list(classifiers)
        self.sources = [list(names) for names in sources]
        self.channels = tuple(sorted({channel for view in views for channel in view.channels}))  # type: ignore[misc]
        self.search_generators = tuple(sorted({g for view in views for g in view.search_generators}))

    def columns(self, encoder_columns: Sequence[str]) -> list[str]:  # noqa: D102
        return [f"base:{name}" for name in self.names]

    def transform(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:  # noqa: D102
        columns = [
            classifier.predict_proba(view.transform(channels))[:, 1]
            for view, classifier in zip(self.views, self.classifiers, strict=True)
        ]
        return np.column_stack(columns).astype(np.float32)

    def params(self) -> dict[str, Any]:  # noqa: D102
        bases = [
            {
                "name": name,
                "view": view.params(),
                "classifier": {"name": kind, "params": classifier.get_params()},
                "sources": sources,
            }
            for name, view, classifier, kind, sources in zip(
                self.names, self.views, self.classifiers, self._kinds(), self.sources, strict=True
            )
        ]
        return {**super().params(), "bases": bases}

    def arrays(self) -> dict[str, np.ndarray]:  # noqa: D102
        found: dict[str, np.ndarray] = {}
        for i, (view, classifier) in enumerate(zip(self.views, self.classifiers, strict=True)):
            found |= {f"{i}.view.{key}": value for key, value in view.arrays().items()}
            found |= {f"{i}.classifier.{key}": value for key, value in classifier.get_arrays().items()}
        return found

    def _kinds(self) -> list[str]:
        from aigiscan.classifiers import CLASSIFIERS

        names = {target.rpartition(":")[2]: name for name, target in CLASSIFIERS.items()}
        return [names[type(classifier).__name__] for classifier in self.classifiers]

    @classmethod
    def from_saved(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> StackedView:
        """Inverse of :meth:`params` and :meth:`arrays`."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

        views, classifiers = [], []
        for i, base in enumerate(params["bases"]):
            views.append(view_from_saved(base["view"], part(f"{i}.view.")))
            made = make_classifier(base["classifier"]["name"], **base["classifier"]["params"])
            classifiers.append(made.set_arrays(part(f"{i}.classifier.")))
        bases = params["bases"]
        return cls([b["name"] for b in bases], views, classifiers, [b["sources"] for b in bases])

    def out_of_fold(self, table: FitTable, folds: np.ndarray) -> np.ndarray:
        """Probabilities (n, bases) to fit the meta-classifier on.

        A base has seen the pictures of the generators and photo sources named in its card: these get the probability of
        the same base fitted again on its own sources without their fold. Other pictures get the saved base's.
        """
        found = self.transform(table.channels).astype(np.float64)
        for column, (view, classifier, sources) in enumerate(
            zip(self.views, self.classifiers, self.sources, strict=True)
        ):
            matrix, seen = view.transform(table.channels), np.isin(table.sources.astype(str), list(sources))
            target = np.where(table.label == 1, table.sources, "real") if classifier.multiclass else table.label
            for fold in np.unique(folds):
                train, test = seen & (folds != fold), seen & (folds == fold)
                if not test.any() or len(np.unique(table.label[train])) < 2:
                    continue
                weights = sample_weights(table.label[train], table.sources[train], "source")
                again = fit_classifier(
                    copy.deepcopy(classifier), matrix[train], target[train], sample_weight=weights,
                    groups=table.groups[train], text_features=getattr(classifier, "text_", None),
                )  # fmt: skip
                found[test, column] = again.predict_proba(matrix[test])[:, 1]
        return found


def stacked_view(bases: Sequence[Detector], table: FitTable) -> StackedView:
    """The bases as a feature view. Raises DetectorError unless all share the table's encoder and equalisation."""
    for base in bases:
        mine, theirs = base.card.encoder["fingerprint"], table.encoder["fingerprint"]
        differences = compare_fingerprints(mine, theirs)
        if differences or base.card.equalization != table.equalization:
            why = "; ".join(differences) or f"equalisation {base.card.equalization!r} v. {table.equalization!r}"
            raise DetectorError(
                f"base detector {base.card.name} was fitted on other features ({why}); "
                "stack detectors of one encoder and equalisation, or fit on the encoders together (a+b)"
            )
        if isinstance(base.view, StackedView):
            raise DetectorError(f"base detector {base.card.name} is a stack itself; give its bases instead")
    sources = [{**b.card.training.get("generators", {}), **b.card.training.get("photo_sources", {})} for b in bases]
    return StackedView(
        [base.card.name for base in bases],
        [base.view for base in bases],
        [base.classifier for base in bases],
        [sorted(names) for names in sources],
    )
