"""What is said of one image, and of one file that could not be judged."""

from __future__ import annotations

from dataclasses import dataclass, fields

VERDICT_AI = "ai"
VERDICT_REAL = "real"
VERDICT_UNCERTAIN = "uncertain"
VERDICT_UNREADABLE = "unreadable"
#: of a scan that reads claims alone
VERDICT_UNJUDGED = "unjudged"
VERDICTS = (VERDICT_AI, VERDICT_REAL, VERDICT_UNCERTAIN, VERDICT_UNREADABLE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of a report; the fields are the report's columns, in order.

    path: as found. verdict: ``ai``, ``real``, ``uncertain`` or ``unreadable``.
    p_ai: calibrated probability of being AI-generated, 0–1, if both kinds were equally frequent, or under the prior
    asked for. score: the classifier's raw score, higher = more likely AI-generated. p_value: (1 + the number of
    calibration photographs that score at least as high) / (1 + their number), small = unlike a photograph; small
    pictures are held against the small photographs, and detectors written with a caution by source state the larger of
    that and the caution's share. All three are None if unreadable. generator: attributed by a multi-class detector,
    else empty. provenance: what the file itself claims. width, height: pixels as stored. bytes: file size. error: why
    it is unreadable, or stays uncertain whatever its score; else empty. likelihood_ratio: how many times as likely the
    score is for an AI-generated picture as for a photograph; a column of the report only where a prior was asked for.
    claims: ``provenance`` in full, as :func:`aigiscan.provenance.claims.to_json` writes it; in JSON lines alone. note:
    what a reader of the score must know ("no object: the global distance alone"); a column only with detectors that
    have such notes.
    """

    path: str
    verdict: str
    p_ai: float | None = None
    score: float | None = None
    p_value: float | None = None
    generator: str = ""
    provenance: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    bytes: int = 0
    sha256: str = ""
    error: str = ""
    likelihood_ratio: float | None = None
    claims: str = ""
    note: str = ""


_EVIDENCE, _CLAIMS, _NOTE = "likelihood_ratio", "claims", "note"
REPORT_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Verdict) if f.name not in (_EVIDENCE, _CLAIMS, _NOTE))


def report_columns(*, prior: bool, notes: bool) -> tuple[str, ...]:
    """The columns of a report. prior: of a scan under a prior. notes: by a detector whose view has notes."""
    return (*REPORT_COLUMNS, *([_EVIDENCE] if prior else []), *([_NOTE] if notes else []))
