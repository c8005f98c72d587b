"""A report as one page: rows that sort, filter, page and can be marked, with thumbnails and what made them."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from aigiscan import __version__
from aigiscan.detector.card import of_small
from aigiscan.detector.verdict import VERDICT_UNJUDGED, VERDICTS, Verdict
from aigiscan.errors import InputError
from aigiscan.files import reason, write_file
from aigiscan.images.thumbnails import Thumbnails, as_files, side_for
from aigiscan.pages import data_uri, render
from aigiscan.pages.listing import listing
from aigiscan.provenance.claims import from_json, says_ai, to_json
from aigiscan.reports.files import meta_of
from aigiscan.reports.terminal import promise
from aigiscan.text import printable

_COLUMNS = (
    "path", "verdict", "p_ai", "score", "p_value", "generator", "provenance", "width", "height", "format", "bytes",
    "sha256", "error",
)  # fmt: skip
#: more than so many pictures make a page that opens slowly; their thumbnails belong beside it
INLINE = 2000
_BINS = 56


@dataclass(frozen=True)
class ReportPage:
    """What goes on a page.

    rows: verdicts in any order. meta: what made the report, as ``NAME.meta.json`` holds it ({} if that is not known).
    thumbnails: folder for them beside the page; None puts them into it. explanations: folder that ``aigiscan explain
    -o`` wrote, whose pictures of patches are shown with the pictures they explain.
    """

    rows: Sequence[Verdict]
    meta: Mapping[str, Any]
    title: str = "Report"
    thumbnails: Path | None = None
    explanations: Path | None = None

    def write(self, target: Path) -> Path:
        """The page as a file. InputError if it cannot be written."""
        return write_file(target, self.html(target.absolute().parent))

    def html(self, folder: Path) -> str:
        """The page, for a file in ``folder``."""
        detector = self.meta.get("detector") or {}
        given = detector.get("promise") or {}
        counts = Counter(row.verdict for row in self.rows)
        judged = sum(n for verdict, n in counts.items() if verdict not in ("unreadable", VERDICT_UNJUDGED))
        runs = self.meta.get("runs") or [{}]
        settings = self.meta.get("settings") or {}
        sentence = "Claims of the files themselves; nothing was judged. They can be forged and stripped."
        if given:
            sentence = promise(given["max_fpr"], given["max_miss"], judged, settings.get("fdr"), settings.get("prior"))
        elif judged:
            sentence = "What made this report is not known: its .meta.json does not lie beside it."
        about = [
            ("detector", detector.get("name", "")),
            ("weights", str(detector.get("weights_sha256", ""))[:16]),
            ("grade", detector.get("grade", "")),
            ("judged", runs[-1].get("finished", "")),
            ("small pictures", given.get("small_note", "")),
        ]
        return render(
            "scan.html",
            title=self.title,
            promise=sentence,
            warnings=list(given.get("warnings", ())),
            limits=list(detector.get("limits", ())),
            counts=[
                (v, counts[v]) for v in (*VERDICTS, VERDICT_UNJUDGED) if counts[v] or (judged and v in VERDICTS[:3])
            ],
            about=[(name, str(value)) for name, value in about if value],
            histogram=histogram(self.rows, given),
            listing=self._listing(folder),
            version=runs[-1].get("aigiscan", __version__),
            date=runs[-1].get("finished", ""),
            command=" ".join(runs[-1].get("command", [])),
        )

    def _listing(self, folder: Path) -> dict[str, Any]:
        maps = _maps(self.explanations, folder)
        rows = (
            [
                *(_plain(getattr(row, column)) for column in _COLUMNS),
                _note(row),
                says_ai(from_json(row.claims)) if row.claims else _line_says_ai(row.provenance),
                address,
                maps.get(os.path.abspath(row.path), ""),
            ]
            for row, address in zip(self.rows, self._addresses(folder), strict=True)
        )
        judged = any(row.p_ai is not None for row in self.rows)
        columns = [*_COLUMNS, "note", "says_ai", "thumbnail", "map"]
        return listing(columns, rows, [row.path for row in self.rows], judged=judged)

    def _addresses(self, folder: Path) -> list[str]:
        made = Thumbnails(side_for(len(self.rows))).of(row.path for row in self.rows)
        if self.thumbnails is None:
            return [data_uri(data, "jpeg") if data else "" for data in made]
        place = _relative(self.thumbnails, folder)
        return [f"{place}/{name}" if name else "" for name in as_files(self.thumbnails, made)]


def read_report(path: Path) -> tuple[list[Verdict], Mapping[str, Any]]:
    """The rows of a CSV or JSON lines report and its meta file ({} without one).

    InputError if the file cannot be read or is no report.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read the report {path}: {why}") from None
    try:
        if text.lstrip().startswith("{"):
            raw = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            raw = list(csv.DictReader(text.splitlines(keepends=True)))
        rows = [_verdict(values) for values in raw]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is not a report of aigiscan scan: {type(error).__name__}: {error}") from None
    if not rows:
        raise InputError(f"{path} has no rows: nothing to show")
    return rows, meta_of(path)


def _verdict(values: Mapping[str, Any]) -> Verdict:
    numbers = {
        name: float(values[name]) if values.get(name) not in (None, "") else None
        for name in ("p_ai", "score", "p_value")
    }
    sizes = {name: int(values.get(name) or 0) for name in ("width", "height", "bytes")}
    texts = {
        name: str(values.get(name) or "")
        for name in ("path", "verdict", "generator", "provenance", "format", "sha256", "error")
    }
    if not texts["path"] or texts["verdict"] not in (*VERDICTS, VERDICT_UNJUDGED):
        raise ValueError(f"verdict {texts['verdict']!r} of {texts['path']!r}")
    claims = [
        {**claim, "detail": json.dumps(claim["detail"]) if claim.get("detail") else ""}
        for claim in values.get("claims") or ()
    ]
    known: dict[str, Any] = {**texts, **numbers, **sizes}
    return Verdict(**known, claims=to_json(from_json(json.dumps(claims))) if claims else "")


def histogram(rows: Iterable[Verdict], given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Bars of the scores and marks of the thresholds, in the picture's own units (560 × 150); None without scores."""
    scores = np.array([row.score for row in rows if row.score is not None], dtype=np.float64)
    if not len(scores):
        return None
    marks = [(given.get(f"threshold_{verdict}"), verdict) for verdict in ("ai", "real")]
    known = [(float(at), verdict) for at, verdict in marks if at is not None and np.isfinite(float(at))]
    low, high = min([scores.min(), *(at for at, _ in known)]), max([scores.max(), *(at for at, _ in known)])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(scores, bins=_BINS, range=(low, high))
    step, most = 560 / _BINS, counts.max()
    bars = [
        {
            "x": round(i * step, 1), "width": round(step - 1, 1), "height": round(120 * n / most, 1),
            "y": round(126 - 120 * n / most, 1), "words": f"{n} from {edges[i]:.3g} to {edges[i + 1]:.3g}",
        }
        for i, n in enumerate(counts.tolist()) if n
    ]  # fmt: skip
    lines = [
        {"x": round(560 * (at - low) / (high - low), 1), "verdict": v, "words": f"threshold of {v}: {at:.4g}"}
        for at, v in known
    ]
    words = ", ".join(
        f"ai above {at:.3g}{of_small(given)}" if verdict == "ai" else f"real below {at:.3g}" for at, verdict in known
    )
    return {
        "bars": bars, "marks": lines, "low": f"{low:.3g}", "high": f"{high:.3g}", "number": len(scores),
        "words": f"Dashed: the thresholds ({words})." if known else "",
    }  # fmt: skip


def _note(row: Verdict) -> str:
    return " · ".join(filter(None, (row.generator, row.provenance)))


def _line_says_ai(provenance: str) -> bool:
    """Of a CSV report, which has no claims in full."""
    return any(words in provenance for words in ("claims generator", "claims edit", "made by AI", "AI-made"))


def _plain(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _relative(path: Path, folder: Path) -> str:
    try:
        return quote(Path(os.path.relpath(path.absolute(), folder)).as_posix())
    except ValueError:  # another drive
        return path.absolute().as_uri()


def _maps(explanations: Path | None, folder: Path) -> dict[str, str]:
    """Absolute path of an explained picture → address of its explanation's drawing."""
    if explanations is None:
        return {}
    found = {}
    for entry in sorted(explanations.glob("*.json")):
        drawn = entry.with_suffix(".png")
        try:
            about = json.loads(entry.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(about, dict) and isinstance(about.get("path"), str) and drawn.is_file():
            found[os.path.abspath(about["path"])] = _relative(drawn, folder)
    if not found:
        raise InputError(
            f"{explanations} holds no explanations; make them with: aigiscan explain DETECTOR PICTURES -o FOLDER"
        )
    return found
