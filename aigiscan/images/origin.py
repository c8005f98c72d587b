"""Files → facts and claims without decoding: what ``scan --provenance-only`` and ``label-by-claims`` run on."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from aigiscan.errors import InputError
from aigiscan.files import file_sha256, reason, write_csv
from aigiscan.images.decode import decode, quiet_pillow
from aigiscan.images.records import DecodedImage, FileFacts, ImageRecord
from aigiscan.provenance import ProvenanceReader, one_line
from aigiscan.provenance.claims import CAMERA, GENERATOR, from_json, label_of, to_json
from aigiscan.text import printable

#: columns of the manifest that claims make
CLAIMED = ("path", "label", "generator", "source", "claims")


def read_origins(
    records: Iterable[ImageRecord], reader: ProvenanceReader, *, deep: bool = False, hashed: bool = False
) -> Iterator[DecodedImage]:
    """Facts and claims of every file, in order; ``pixels`` stays None, ``error`` says why a file cannot be read.

    deep: decode the pixels as well, for what is hidden in them and for the EXIF thumbnail; files that cannot be decoded
    are then errors too. hashed: read whole files for their sha256.
    """
    for record in records:
        if deep and not record.error:
            yield replace(decode(record, reader=reader), pixels=None)
        else:
            yield _read(record, reader, hashed)


def label_by_claims(origins: Iterable[DecodedImage], output: Path) -> Counter[str]:
    """Write a manifest of the files whose claims label them: 1 what says AI, 0 what names a camera; how many are what.

    Paths below the manifest's folder are written relative to it. InputError, and no manifest, if no file is labelled.
    """
    counts: Counter[str] = Counter()
    rows = []
    here = output.absolute().parent
    for origin in origins:
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
        raise InputError(f"none of {counts.total()} files claims anything that labels it; no manifest was written")
    write_csv(output, CLAIMED, rows)
    return counts


def _read(record: ImageRecord, reader: ProvenanceReader, hashed: bool) -> DecodedImage:
    if record.error:
        return DecodedImage(record, FileFacts(), error=record.error)
    try:
        status = Path(record.path).stat()
        if not stat.S_ISREG(status.st_mode):
            return DecodedImage(record, FileFacts(), error="not a regular file")
        with open(record.path, "rb") as file:
            found = reader.read(file)
            width, height, form = _header(file)
        digest = file_sha256(record.path) if hashed else ""
    except OSError as error:
        return DecodedImage(record, FileFacts(), error=reason(error))
    except ValueError:  # a NUL in the path, which a list may hold
        return DecodedImage(record, FileFacts(), error="not a possible file name")
    claims = found.claims(size=(width, height))
    facts = FileFacts(
        width, height, form, status.st_size, digest, status.st_mtime_ns, one_line(claims), to_json(claims)
    )  # fmt: skip
    return DecodedImage(record, facts, error="" if status.st_size else "empty file")


def _header(file: BinaryIO) -> tuple[int, int, str]:
    """Width, height and format as the header says, (0, 0, "") for what Pillow does not know."""
    file.seek(0)
    try:
        quiet_pillow()
        with Image.open(file) as image:
            return image.width, image.height, image.format or ""
    # Pillow's readers raise whatever odd bytes lead them into; the claims are there all the same.
    except Exception:
        return 0, 0, ""
