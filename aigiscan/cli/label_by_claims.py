"""``aigiscan label-by-claims``: a manifest of labelled pictures from what the files themselves claim."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import typer

from aigiscan.cli import console, options
from aigiscan.cli.claims import provenance_reader
from aigiscan.errors import InputError

HEADER = ("path", "label", "generator", "source", "claims")


def label_by_claims(
    paths: list[str] = typer.Argument(..., metavar="PATH...", help="Folders, files or lists of pictures."),
    output: Path = typer.Option(..., "--output", "-o", help="CSV manifest to write."),
    deep: options.Deep = False,
    c2pa_trust: options.C2paTrust = [],  # noqa: B006 (Typer copies it)
    online: options.Online = False,
) -> None:
    """Label pictures by their own claims: 1 what says AI, 0 what names a camera; the rest is left out."""
    from aigiscan.files import write_csv
    from aigiscan.images.find import find_images
    from aigiscan.images.origin import read_origins
    from aigiscan.provenance.claims import CAMERA, GENERATOR, from_json, label_of
    from aigiscan.text import printable

    records = find_images(paths)
    if not records:
        raise InputError(f"no image found in {', '.join(paths)}: nothing to label")
    counts: Counter[str] = Counter()
    rows = []
    here = output.absolute().parent
    origins = read_origins(records, provenance_reader(c2pa_trust, online=online), deep=deep)
    for origin in console.track(origins, total=len(records), description="claims"):
        claims = from_json(origin.facts.claims)
        label = None if origin.error else label_of(claims)
        counts["unreadable" if origin.error else {0: "real", 1: "fake", None: "left out"}[label]] += 1
        if label is None:
            continue
        named = next((c.value.split(",")[0] for c in claims if c.kind == (GENERATOR if label else CAMERA)), "")
        # two drives have no path from one to the other
        path = os.path.abspath(origin.record.path)
        path = os.path.relpath(path, here) if path.startswith(str(here) + os.sep) else path
        rows.append((printable(path), label, named if label else "", named, origin.facts.provenance))
    if not rows:
        raise InputError(f"none of {len(records)} files claims anything that labels it; no manifest was written")
    write_csv(output, HEADER, rows)
    console.note(", ".join(f"{n} {what}" for what, n in counts.most_common()) + f"; wrote {output}")
    console.note("claims can be forged and stripped: look at the pictures, and never judge a detector on these alone")
