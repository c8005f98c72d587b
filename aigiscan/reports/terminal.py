"""Verdicts on a terminal: one table, most suspicious first, and what it means in two lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aigiscan.detector.verdict import (
    VERDICT_AI,
    VERDICT_REAL,
    VERDICT_UNCERTAIN,
    VERDICT_UNJUDGED,
    VERDICT_UNREADABLE,
    VERDICTS,
    Verdict,
)
from aigiscan.text import common_folder, visible

if TYPE_CHECKING:
    from rich.table import Table

    from aigiscan.detector.calibration import Calibration

_STYLES = {
    VERDICT_AI: "bold red",
    VERDICT_REAL: "green",
    VERDICT_UNCERTAIN: "yellow",
    VERDICT_UNREADABLE: "magenta",
    VERDICT_UNJUDGED: "",
}
#: names get so much of the room that is left beside numbers, if they are long, and never less than so many cells
_NAME_SHARE = 0.5
_MIN_NAME = 16


def shorten(text: str, width: int) -> str:
    """The text in at most ``width`` terminal cells, its middle left out (the end of a name says more)."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    tail = max(1, (width - 1) * 2 // 3)
    end = len(text)
    while end > 0 and cell_len(text[end - 1 :]) <= tail:
        end -= 1
    return set_cell_size(text, width - 1 - cell_len(text[end:])).rstrip() + "…" + text[end:]


def verdict_table(rows: Sequence[Verdict], width: int) -> Table:
    """Rows in the order given, in a table of at most ``width`` cells; columns without content are left out."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    folder = common_folder([row.path for row in rows])
    names = [visible(row.path[len(folder) :]) for row in rows]
    table = Table(title=f"in {visible(folder)}" if folder else None, title_justify="left")
    table.add_column("picture", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    columns = [[Text(row.verdict, style=_STYLES[row.verdict]) for row in rows]]
    used = 7 + max(map(len, ("verdict", *(row.verdict for row in rows))))  # 7: frame and padding of two columns
    if any(row.p_ai is not None for row in rows):
        table.add_column("p_ai", justify="right", no_wrap=True)
        columns.append([Text("" if row.p_ai is None else f"{row.p_ai:.3f}") for row in rows])
        used += 3 + 5
    others = {
        "generator": [visible(row.generator) for row in rows],
        "note": [visible(row.error or row.provenance) for row in rows],
    }
    others = {title: cells for title, cells in others.items() if any(cells)}
    wants = [max(map(cell_len, (title, *cells))) for title, cells in others.items()]
    room = width - used - 3 * len(others)
    needed = min(max(map(cell_len, ("picture", *names))), max(_MIN_NAME, int(room * _NAME_SHARE)))
    sizes = _shares(wants, room - needed)
    for (title, cells), size in zip(others.items(), sizes, strict=True):
        table.add_column(title, width=size, overflow="fold")
        columns.append([Text(cell) for cell in cells])
    for name, *cells in zip(names, *columns, strict=True):
        table.add_row(Text(shorten(name, room - sum(sizes))), *cells)
    return table


def _shares(wants: Sequence[int], room: int) -> list[int]:
    """Widths of columns that want so much of the room: the modest get what they want, the others the rest evenly."""
    sizes = [0] * len(wants)
    left = len(wants)
    for i in sorted(range(len(wants)), key=wants.__getitem__):
        sizes[i] = max(1, min(wants[i], room // left))
        room -= sizes[i]
        left -= 1
    return sizes


def summary(counts: Counter[str], seconds: float) -> str:
    """How many of each verdict, and how fast."""
    total = sum(counts.values())
    parts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{total} images: {parts}; {total / max(seconds, 1e-9):.1f} images/s"


def meaning(calibration: Calibration, judged: int, fdr: float | None = None) -> str:
    """What the columns say, and how many false accusations the promise allows among so many pictures."""
    return promise(calibration.max_fpr, calibration.max_miss, judged, fdr, calibration.prior)


def promise(max_fpr: float, max_miss: float, judged: int, fdr: float | None = None, prior: float | None = None) -> str:
    """The same from the promised rates: shares of photographs, of AI-generated pictures, and of what is called ai."""
    if fdr is None:
        allowed = f"{max_fpr * judged:.0f}" if max_fpr * judged >= 1 else "less than 1"
        ai = (
            f"ai: rarer than {max_fpr:.3g} among photographs like those calibrated on, so that among {judged} of them "
            f"{allowed} would be accused falsely, on average"
        )
    else:
        ai = f"ai: on average at most {fdr:.3g} of all called so are photographs, if these are like those calibrated on"
    shares = "both kinds were equally frequent" if prior in (None, 0.5) else f"{prior:.3g} of all were"
    return (
        f"{ai}; real: rarer than {max_miss:.3g} among AI-generated pictures like those calibrated on; uncertain: "
        f"neither, or both. p_ai: probability of being AI-generated if {shares}"
    )
