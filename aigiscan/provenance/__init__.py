"""What a file says of its own origin: claims, kept apart from score and verdict. docs/provenance.md has the table."""

from aigiscan.provenance.claims import Claim, one_line, says_ai
from aigiscan.provenance.read import Provenance, ProvenanceReader

__all__ = ["Claim", "Provenance", "ProvenanceReader", "one_line", "says_ai"]
