"""An evaluation on disk: every table as CSV, every part as JSON, plots as PNG, and one plain HTML page with it all."""

from __future__ import annotations

import html
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.evaluation.intervals import Interval
from aigiscan.files import make_folder, write_csv, write_file, write_json
from aigiscan.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """body{font:15px/1.45 sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.8rem 0}th,td{padding:.15rem .6rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #888}img{max-width:100%}
.scroll{overflow-x:auto}p.note{color:#555}"""

#: longer tables are cut in the page; the CSV beside it has all rows
_PAGE_ROWS = 100


class EvaluationReport:
    """Collects the parts of one evaluation in a folder; :meth:`write` makes the page."""

    def __init__(self, out: str | Path, title: str) -> None:
        self.out = Path(out)
        self.title = title
        self._body: list[str] = []
        make_folder(self.out)

    def section(self, title: str, *paragraphs: str) -> None:
        """A heading and what must be known to read what follows."""
        self._body.append(f"<h2>{html.escape(title)}</h2>")
        for text in paragraphs:
            self.paragraph(text)

    def paragraph(self, text: str) -> None:
        """One paragraph of explanation."""
        self._body.append(f'<p class="note">{html.escape(text)}</p>')

    def table(self, name: str, title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """``name``.csv, and the table on the page. An :class:`Interval` becomes three columns in the CSV."""
        lines = [list(row) for row in rows]
        wide = [any(isinstance(line[i], Interval) for line in lines) for i in range(len(header))]
        names = [n for i, h in enumerate(header) for n in ([h, f"{h} low", f"{h} high"] if wide[i] else [h])]
        cells = ([cell for i, value in enumerate(line) for cell in _csv_cells(value, wide[i])] for line in lines)
        write_csv(self.out / f"{name}.csv", names, cells)
        shown = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(value))}</td>" for value in line) + "</tr>"
            for line in lines[:_PAGE_ROWS]
        )
        head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
        more = f" ({len(lines)} rows, the first {_PAGE_ROWS} here)" if len(lines) > _PAGE_ROWS else ""
        self._body.append(
            f'<h3>{html.escape(title)}</h3><div class="scroll"><table><tr>{head}</tr>{shown}</table></div>'
        )
        self._body.append(f'<p class="note">{html.escape(name)}.csv{more}</p>')

    def json(self, name: str, data: Any) -> None:
        """``name``.json; NaN becomes null, dataclasses and arrays become plain."""
        write_json(self.out / f"{name}.json", data)

    def figure(self, name: str, title: str, figure: Figure) -> None:
        """``name``.png, also on the page."""
        figure.savefig(self.out / f"{name}.png", dpi=110)
        self.image(f"{name}.png", title)

    def image(self, file: str, title: str) -> None:
        """A picture that already lies in the folder, on the page (the page needs no other file)."""
        data = b64encode((self.out / file).read_bytes()).decode("ascii")
        kind = "jpeg" if file.endswith((".jpg", ".jpeg")) else "png"
        alt = html.escape(title)
        self._body.append(f'<h3>{alt}</h3><p><img alt="{alt}" src="data:image/{kind};base64,{data}"></p>')

    def write(self) -> Path:
        """``index.html``; returns its path."""
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f"<style>{_STYLE}</style><h1>{html.escape(self.title)}</h1>{''.join(self._body)}</html>\n"
        )
        return write_file(self.out / "index.html", printable(page))


def _csv_cells(value: Any, wide: bool) -> list[Any]:
    if isinstance(value, Interval):
        return [_number(value.value), _number(value.low), _number(value.high)]
    cell = _number(value) if isinstance(value, (float, np.floating)) else printable(str(value))
    return [cell, "", ""] if wide else [cell]


def _number(value: float | np.floating) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _shown(value: Any) -> str:
    if isinstance(value, Interval):
        return f"{value.value:.3f}" if math.isnan(value.low) else str(value)
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.3f}"
    return printable(str(value))
