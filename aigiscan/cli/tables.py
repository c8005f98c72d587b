"""Labelled pictures as tables to fit on: what ``fit`` and ``evaluate`` share."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.detector.table import FitTable
    from aigiscan.encoders.base import Encoder
    from aigiscan.images.records import FileFacts, ImageRecord


def embed_labelled(
    path: str | Sequence[ImageRecord], encoder: Encoder, equalize: str, running: dict[str, Any], *, quiet: bool = False
) -> tuple[list[ImageRecord], list[FileFacts], FitTable]:
    """Every readable labelled picture of a folder or manifest (or given), embedded; others are told and left out.

    running: ``batch_size``, ``workers``, and ``twins`` where there are any. quiet: what was found and what cannot be
    read were told before.
    """
    from aigiscan.cli.companions import with_twins
    from aigiscan.detector.table import table_from_rows
    from aigiscan.images.equalize import Equalization
    from aigiscan.images.find import not_looked_at
    from aigiscan.images.labels import find_labelled
    from aigiscan.runner import run
    from aigiscan.text import printable

    skipped: Counter[str] = Counter()
    records = find_labelled(path, skipped=skipped) if isinstance(path, str) else list(path)
    if not quiet:
        if passed_by := not_looked_at(skipped):
            console.note(passed_by)
        console.note_labels(path if isinstance(path, str) else "the folders given", records)
    records = with_twins(records, running.get("twins", ""))
    equalization = Equalization.parse(equalize) if equalize else None
    rows = run(
        records, encoder, equalization=equalization, batch_size=running["batch_size"], workers=running["workers"]
    )
    kept = []
    for row in console.track(rows, total=len(records), description=f"embed with {encoder.name} {equalize}".strip()):
        if row.channels is not None:
            kept.append((row.record, row.facts, row.channels))
        elif not quiet:
            console.warn(f"left out {printable(row.record.path)!r}: {row.error}")
    table = table_from_rows(kept, encoder, equalization.spec if equalization else "")
    return [record for record, _, _ in kept], [facts for _, facts, _ in kept], table


def parse_params(given: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` options; values are read as YAML, numbers also as 1e-3 (which YAML 1.1 takes for a word)."""
    import yaml

    values = {}
    for item in given:
        key, separator, text = item.partition("=")
        if not separator:
            raise InputError(f"--param {item} is not KEY=VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--param {item} cannot be read: {' '.join(str(error).split())[:120]}") from error
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)
        values[key] = value
    return values


def text_features(classifier: Any, table: FitTable) -> np.ndarray | None:
    """Words as features (2, d), where the classifier uses them and the encoder has a text tower; else None."""
    if not hasattr(classifier, "prompts_real"):
        return None
    from aigiscan.classifiers.zero_shot import prompt_features
    from aigiscan.encoders import encoder_from_fingerprint
    from aigiscan.errors import EncoderError

    encoder = encoder_from_fingerprint(table.encoder["fingerprint"])
    try:
        return prompt_features(encoder.encode_text, classifier.prompts_real, classifier.prompts_fake)
    except EncoderError:
        if classifier.needs_text:
            raise
        console.note(f"{encoder.name} has no text tower: {type(classifier).__name__} uses its cache of images alone")
        return None
