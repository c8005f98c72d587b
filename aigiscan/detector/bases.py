"""Detectors → the encoder and the feature view of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aigiscan.detector.detector import Detector
from aigiscan.detector.stacked import Base, StackedView
from aigiscan.encoders.apart import ApartEncoder
from aigiscan.encoders.base import Encoder
from aigiscan.encoders.fingerprint import COMPANIONS, compare_fingerprints, encoder_for, for_channels
from aigiscan.errors import DetectorError


def share_features(bases: Sequence[Detector]) -> bool:
    """Whether all bases take the same encoder after the same equalisation."""
    first = bases[0].card
    return all(
        base.card.equalization == first.equalization
        and not compare_fingerprints(base.card.encoder["fingerprint"], first.encoder["fingerprint"])
        for base in bases
    )


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
                "a store has those of one encoder: give the pictures, or detectors of this one"
            )
    return StackedView([_base(base) for base in bases])


def stacked_apart(bases: Sequence[Detector], device: str = "auto") -> tuple[Encoder, StackedView]:
    """(encoder, view) of bases on different encoders or equalisations.

    A picture is decoded once, and every distinct encoder and equalisation is run once on it, whatever the number of
    bases that take it. DetectorError for a base that is a stack itself, or looks at more than the picture.
    """
    made: list[tuple[dict[str, Any], str, set[str]]] = []
    numbers = []
    for base in bases:
        if COMPANIONS.keys() & base.card.encoder["fingerprint"].keys():
            raise DetectorError(f"base detector {base.card.name} takes captions, objects or twins; stack others")
        fingerprint, spec = base.make_encoder(device=device).fingerprint(), base.card.equalization
        known = (
            i for i, (other, of, _) in enumerate(made) if of == spec and not compare_fingerprints(other, fingerprint)
        )
        number = next(known, len(made))
        if number == len(made):
            made.append((fingerprint, spec, set()))
        made[number][2].update(base.view.channels)
        numbers.append(number)
    encoders = [encoder_for(fingerprint, channels, device=device) for fingerprint, _, channels in made]
    view = StackedView([_base(base, number) for base, number in zip(bases, numbers, strict=True)])
    return ApartEncoder(encoders, [spec for _, spec, _ in made]), view


def _base(detector: Detector, part: int | None = None) -> Base:
    card = detector.card
    if isinstance(detector.view, StackedView):
        raise DetectorError(f"base detector {card.name} is a stack itself; give its bases instead")
    kind, sources = card.classifier["name"], sources_of(card.training)
    return Base(card.name, detector.view, kind, detector.classifier, sources, detector.seen, part)


def sources_of(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Generators and photo sources of a card's ``training``, also of the training it was continued from; sorted."""
    names: set[str] = set()
    while training:
        names |= {*training.get("generators", {}), *training.get("photo_sources", {})}
        training = training.get("continued_from", {})
    return tuple(sorted(names))
