"""``aigiscan scan --provenance-only``: a row of claims per file, without any model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aigiscan.detector.verdict import Verdict
    from aigiscan.images.records import ImageRecord
    from aigiscan.provenance import ProvenanceReader

_BATCH = 64


def claim_batches(
    records: Sequence[ImageRecord], reader: ProvenanceReader, *, deep: bool, hashed: bool
) -> Iterator[list[Verdict]]:
    """Rows with the verdict ``unjudged``, or ``unreadable`` with a reason; in the order of the records."""
    from aigiscan.detector.verdict import VERDICT_UNJUDGED, VERDICT_UNREADABLE, Verdict
    from aigiscan.images.origin import read_origins

    origins = read_origins(records, reader, deep=deep, hashed=hashed)
    while batch := list(islice(origins, _BATCH)):
        yield [
            Verdict(
                one.record.path,
                VERDICT_UNREADABLE if one.error else VERDICT_UNJUDGED,
                provenance=one.facts.provenance,
                width=one.facts.width,
                height=one.facts.height,
                format=one.facts.format,
                bytes=one.facts.bytes,
                sha256=one.facts.sha256,
                error=one.error,
                claims=one.facts.claims,
            )
            for one in batch
        ]


def any_says_ai(records: Sequence[ImageRecord], reader: ProvenanceReader, *, deep: bool) -> bool:
    """Whether any of these files says that AI made the picture or a part of it."""
    from aigiscan.images.origin import read_origins
    from aigiscan.provenance.claims import from_json, says_ai

    return any(says_ai(from_json(one.facts.claims)) for one in read_origins(records, reader, deep=deep))
