"""``aigiscan label-by-claims``: a manifest of labelled pictures from what the files themselves claim."""

from __future__ import annotations

from pathlib import Path

import typer

from aigiscan.cli import console, options
from aigiscan.cli.claims import provenance_reader
from aigiscan.errors import InputError


def label_by_claims(
    paths: list[str] = typer.Argument(..., metavar="PATH...", help="Folders, files or lists of pictures."),
    output: Path = typer.Option(..., "--output", "-o", help="CSV manifest to write."),
    deep: options.Deep = False,
    c2pa_trust: options.C2paTrust = [],  # noqa: B006 (Typer copies it)
    online: options.Online = False,
) -> None:
    """Label pictures by their own claims: 1 what says AI, 0 what names a camera; the rest is left out."""
    from aigiscan.images.find import find_images
    from aigiscan.images.origin import label_by_claims as label
    from aigiscan.images.origin import read_origins

    records = find_images(paths)
    if not records:
        raise InputError(f"no image found in {', '.join(paths)}: nothing to label")
    origins = read_origins(records, provenance_reader(c2pa_trust, online=online), deep=deep)
    counts = label(console.track(origins, total=len(records), description="claims"), output)
    console.note(", ".join(f"{n} {what}" for what, n in counts.most_common()) + f"; wrote {output}")
    console.note("claims can be forged and stripped: look at the pictures, and never judge a detector on these alone")
