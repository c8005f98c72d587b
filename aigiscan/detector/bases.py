"""Detectors → the feature view of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aigiscan.detector.detector import Detector
from aigiscan.detector.stacked import Base, StackedView
from aigiscan.encoders.fingerprint import compare_fingerprints, for_channels
from aigiscan.errors import DetectorError


def stacked_view(bases: Sequence[Detector], encoder: Mapping[str, Any], equalization: str) -> StackedView:
    """The bases as a feature view for tables of this encoder (:attr:`FitTable.encoder`) and equalisation.

    DetectorError unless all bases share both, or if one is a stack itself.
    """
    for base in bases:
        same = for_channels(encoder["fingerprint"], base.view.channels)
        differences = compare_fingerprints(base.card.encoder["fingerprint"], same)
        if differences or base.card.equalization != equalization:
            why = "; ".join(differences) or f"equalisation {base.card.equalization!r} v. {equalization!r}"
            raise DetectorError(
                f"base detector {base.card.name} was fitted on other features ({why}); "
                "stack detectors of one encoder and equalisation, or fit on the encoders together (a+b)"
            )
        if isinstance(base.view, StackedView):
            raise DetectorError(f"base detector {base.card.name} is a stack itself; give its bases instead")
    return StackedView(
        [
            Base(b.card.name, b.view, b.card.classifier["name"], b.classifier, sources_of(b.card.training), b.seen)
            for b in bases
        ]
    )


def sources_of(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Generators and photo sources of a card's ``training``, also of the training it was continued from; sorted."""
    names: set[str] = set()
    while training:
        names |= {*training.get("generators", {}), *training.get("photo_sources", {})}
        training = training.get("continued_from", {})
    return tuple(sorted(names))
