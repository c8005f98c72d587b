"""What commands that read claims of origin share: the reader made from their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aigiscan.cli import console

if TYPE_CHECKING:
    from aigiscan.provenance import ProvenanceReader


def provenance_reader(
    trust: Sequence[Path] = (), *, online: bool = False, personal: bool = False, say: bool = True
) -> ProvenanceReader:
    """The reader for ``--c2pa-trust``, ``--online`` and ``--personal``; say: whether manifests cannot be verified.

    MissingDependencyError where an option asks for verification and c2pa-python is missing.
    """
    from aigiscan.provenance import ProvenanceReader, c2pa

    if trust or online or c2pa.available():
        return ProvenanceReader(c2pa.Verifier(tuple(trust), online).check(), personal)
    if say:
        console.note(f"C2PA manifests are found, not verified: {c2pa.EXTRA}")
    return ProvenanceReader(None, personal)
