"""The parts of an evaluation → one HTML page that needs no other file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aigiscan import __version__
from aigiscan.evaluation.report import Part, Picture, Pictures, Section, Table
from aigiscan.images.thumbnails import Thumbnails
from aigiscan.pages import data_uri, file_uri, render
from aigiscan.text import visible

#: longer tables are cut in the page; the CSV beside it has all rows
_PAGE_ROWS = 100
#: longer tables are folded until a reader opens them
_OPEN_ROWS = 16


def draw(title: str, parts: Sequence[Part], folder: Path) -> str:
    """The page; pictures are read from ``folder`` and go into it. Sections come in the order of their ``place``."""
    shown = [_shown(part, number, folder) for number, part in enumerate(_in_order(parts))]
    return render(
        "evaluation.html",
        title=title,
        parts=shown,
        sections=[part for part in shown if part["kind"] == "Section"],
        longest=_PAGE_ROWS,
        fold=_OPEN_ROWS,
        version=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="minutes"),
        command=visible(" ".join(["aigiscan", *sys.argv[1:]])),
    )


def _in_order(parts: Sequence[Part]) -> list[Part]:
    groups: list[tuple[int, list[Part]]] = [(-1, [])]
    for part in parts:
        if isinstance(part, Section):
            groups.append((part.place, []))
        groups[-1][1].append(part)
    return [part for _, group in sorted(groups, key=lambda group: group[0]) for part in group]


def _shown(part: Part, number: int, folder: Path) -> dict[str, Any]:
    made = {**asdict(part), "kind": type(part).__name__, "id": f"part-{number}"}
    if isinstance(part, Table):
        columns = zip(*part.rows, strict=True)
        made["text"] = [not all(_is_number(cell) for cell in column) for column in columns]
    elif isinstance(part, Picture):
        made["address"] = file_uri(folder / part.file)
    elif isinstance(part, Pictures):
        thumbnails = Thumbnails(160).of(path for path, _ in part.files)
        made["pictures"] = [
            {"title": words, "address": data_uri(data, "jpeg")}
            for (_, words), data in zip(part.files, thumbnails, strict=True)
            if data
        ]
    return made


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "0123456789-+.−" or cell in ("nan", "inf")
