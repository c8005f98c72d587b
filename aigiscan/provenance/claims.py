"""One thing that a file says of its own origin, and the one line that a report shows of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

GENERATOR = "generator"
SOFTWARE = "software"
CAMERA = "camera"
SOURCE_TYPE = "source_type"
C2PA = "c2pa"
EDIT = "edit"
CONFLICT = "conflict"
KINDS = (GENERATOR, SOFTWARE, CAMERA, SOURCE_TYPE, C2PA, EDIT, CONFLICT)

_LONGEST_VALUE = 120
_LONGEST_LINE = 240

_WORDS = {
    GENERATOR: "claims generator",
    SOFTWARE: "claims software",
    CAMERA: "claims camera",
    SOURCE_TYPE: "claims source",
    C2PA: "C2PA",
    EDIT: "claims edit",
    CONFLICT: "conflict",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement found in a file.

    kind: one of :data:`KINDS`. value: what is said, one printable line. where: the field it stands in, e.g.
    ``EXIF Software``. verified: True or False where cryptography decided it, None where nothing can be checked (almost
    always: metadata can be written by anybody). ai: whether it says that AI made the picture or a part of it.
    detail: more of it as a JSON object, "" for nothing more.
    """

    kind: str
    value: str
    where: str
    verified: bool | None = None
    ai: bool = False
    detail: str = ""


def clean(value: object, longest: int = _LONGEST_VALUE) -> str:
    """Text of a metadata field on one printable line; ``""`` for what is no text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    text = " ".join(value[: 8 * longest].replace("\0", " ").split())
    text = "".join(c for c in text if c.isprintable()).strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def one_line(claims: Iterable[Claim]) -> str:
    """The report's ``provenance``: claims joined by ``"; "``, what says AI and what was verified first."""
    ordered = sorted(claims, key=lambda c: (not c.ai, c.verified is None, KINDS.index(c.kind)))
    line = "; ".join(dict.fromkeys(f"{_WORDS[c.kind]}: {c.value} ({c.where})" for c in ordered))
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def says_ai(claims: Iterable[Claim]) -> bool:
    """Whether any claim says that AI made the picture or a part of it."""
    return any(claim.ai for claim in claims)


def as_objects(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Claims as JSON objects with the fields' names: the ``claims`` of JSON lines."""
    return [asdict(c) | {"detail": json.loads(c.detail) if c.detail else None} for c in claims]


def to_json(claims: Sequence[Claim]) -> str:
    """Compact JSON list, ``""`` for none: how a store keeps claims."""
    return json.dumps([asdict(c) for c in claims], ensure_ascii=False, separators=(",", ":")) if claims else ""


def from_json(text: str) -> list[Claim]:
    """The claims of :func:`to_json`."""
    return [Claim(**entry) for entry in json.loads(text)] if text else []


def label_of(claims: Sequence[Claim]) -> int | None:
    """1 where a file says AI, 0 where it names a camera and no AI, None where it says neither or contradicts itself."""
    if any(claim.kind == CONFLICT or claim.verified is False for claim in claims):
        return None
    if says_ai(claims):
        return 1
    return 0 if any(claim.kind == CAMERA for claim in claims) else None
