"""A file → its claims: what the report's ``provenance`` and the JSON lines' ``claims`` are made of."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from aigiscan.provenance import c2pa
from aigiscan.provenance.claims import C2PA, Claim
from aigiscan.provenance.conflicts import conflicts, thumbnail_conflict
from aigiscan.provenance.containers import read_metadata
from aigiscan.provenance.exif import Exif, read_exif, read_tiff
from aigiscan.provenance.generators import claims_of
from aigiscan.provenance.source import Metadata, Source

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Provenance:
    """What was read of one file. Metadata can be forged and stripped: no claim means nothing."""

    from_metadata: tuple[Claim, ...]
    exif: Exif

    def claims(self, image: Image.Image | None = None, size: tuple[int, int] = (0, 0)) -> list[Claim]:
        """Every claim, without repetitions.

        image: the decoded picture as stored (not rotated); with it hidden texts are read and the EXIF thumbnail is
        compared. size: (width, height) of the file where there is no image or it was decoded smaller.
        """
        found = list(self.from_metadata)
        if image is not None:
            found += _hidden(image)
        found += conflicts(found, self.exif, size if image is None or any(size) else image.size)
        if image is not None and self.exif.thumbnail:
            found += thumbnail_conflict(self.exif, image)
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class ProvenanceReader:
    """How claims are read.

    verifier: checks C2PA manifests; None only says that there is one. personal: also say serial numbers and the
    position where a picture was taken.
    """

    verifier: c2pa.Verifier | None = None
    personal: bool = False

    @classmethod
    def plain(cls) -> ProvenanceReader:
        """Offline and without trust list; manifests are verified where c2pa-python is installed."""
        return cls(c2pa.Verifier() if c2pa.available() else None)

    def options(self) -> dict[str, Any]:
        """Plain values from which :meth:`of` makes the same reader in another process."""
        verifier = self.verifier
        given = (
            None if verifier is None else {"trust": [str(path) for path in verifier.trust], "online": verifier.online}
        )
        return {"verifier": given, "personal": self.personal}

    @classmethod
    def of(cls, options: dict[str, Any]) -> ProvenanceReader:
        """The reader whose :meth:`options` these are."""
        given = options["verifier"]
        verifier = given and c2pa.Verifier(tuple(map(Path, given["trust"])), given["online"])
        return cls(verifier, options["personal"])

    def read(self, file: BinaryIO | bytes) -> Provenance:
        """The metadata of a file; pixels are passed over. Never raises for what a file holds; OSError of the file."""
        opened = io.BytesIO(file) if isinstance(file, bytes) else file
        metadata = read_metadata(opened)
        exif = _exif(opened, metadata)
        found: list[Claim] = []
        elsewhere = metadata.format in ("PDF", "ISOBMFF")  # containers whose manifests the library alone finds
        if self.verifier is not None and (metadata.c2pa or elsewhere or self.verifier.online):
            found = self.verifier.claims(opened, metadata.format)
            metadata = replace(metadata, c2pa=b"") if found else metadata
        if metadata.c2pa:
            found.append(Claim(C2PA, f"manifest present, not verified ({c2pa.EXTRA})", "C2PA manifest"))
        found += claims_of(metadata, exif, personal=self.personal)
        return Provenance(tuple(found), exif)


def _exif(file: BinaryIO, metadata: Metadata) -> Exif:
    if metadata.format == "TIFF":
        return read_tiff(Source(file), metadata)
    return next((found for found in map(read_exif, metadata.exif) if found.texts or found.numbers), Exif())


def _hidden(image: Image.Image) -> list[Claim]:
    """What texts in the lowest bits of the pixels say."""
    from aigiscan.provenance.stealth import hidden_text

    text = hidden_text(image)
    if not text:
        return []
    # NovelAI hides the same texts that it writes as chunks, as one JSON object; others the web UI's line.
    held = Metadata("PNG", texts=[("parameters", text), *_as_texts(text)])
    found = (claim for claim in claims_of(held, Exif()) if claim.ai)
    return [replace(claim, where=f"hidden in the pixels, {claim.where}") for claim in found]


def _as_texts(text: str) -> list[tuple[str, str]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    items = found.items() if isinstance(found, dict) else ()
    return [(str(key), value if isinstance(value, str) else json.dumps(value)) for key, value in items]
