"""The options for what is encoded beside the pictures: captions, objects, twins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.encoders.base import Encoder
    from aigiscan.images.records import ImageRecord

Captions = Annotated[
    str,
    typer.Option(
        "--captions",
        help="given (a manifest's column, or .txt files beside the pictures), or a captioner for those without: "
        "open_clip:coca_ViT-L-14/TAG, hf:Salesforce/blip2-opt-2.7b, hf:FOLDER.",
    ),
]
Prompt = Annotated[
    str,
    typer.Option("--prompt", help="What an hf: captioner is asked or goes on from."),
]
Objects = Annotated[
    str,
    typer.Option("--objects", help="given (.json files beside the pictures), or hf:IDEA-Research/grounding-dino-tiny."),
]
Twins = Annotated[
    str,
    typer.Option(
        "--twins",
        help="Pictures of the same stems that a generator made from the captions; or given: a manifest's column twin.",
    ),
]


def accompany(encoder: Encoder, captions: str, objects: str, twins: str, prompt: str) -> Encoder:
    """The encoder, together with what is encoded beside the pictures."""
    if prompt and not captions:
        raise InputError("--prompt is for a captioner: give --captions hf:NAME")
    if not (captions or objects or twins):
        return encoder
    from aigiscan.encoders.companions import CompanionEncoder

    return CompanionEncoder(encoder, captions, objects, twins=bool(twins), prompt=prompt)


def with_twins(records: list[ImageRecord], twins: str) -> list[ImageRecord]:
    """The records with their twins from a folder; as they are where no folder is named."""
    from aigiscan.encoders.describe import GIVEN
    from aigiscan.images import beside

    return records if twins in ("", GIVEN) else list(beside.with_twins(records, twins))


def check_channels(encoder: Encoder, channels: Iterable[str], features: str) -> None:
    """InputError if the encoder does not give what a feature view needs."""
    from aigiscan.encoders.fingerprint import options_for

    missing = set(channels) - encoder.channels().keys()
    if missing:
        options = options_for(missing)
        raise InputError(f"--features {features} needs {' '.join(options) or ', '.join(sorted(missing))}")
