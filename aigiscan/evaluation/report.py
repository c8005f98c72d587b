"""An evaluation on disk: every table as CSV, every part as JSON, plots as PNG, and one page with it all.

What is on the page is collected as data (:class:`Section`, :class:`Note`, :class:`Table`, :class:`Picture`); how it
looks is the business of :mod:`aigiscan.evaluation.page`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.evaluation.intervals import Interval
from aigiscan.evaluation.words import MEANING
from aigiscan.files import make_folder, write_csv, write_file, write_json
from aigiscan.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: where a section stands on the page: what was asked for first, then what helps to trust it, then background
ANSWERS, CHECKS, BACKGROUND = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Section:
    """A heading. place: sections are shown in rising order of it, else in the order in which they were made."""

    title: str
    place: int = ANSWERS


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph; a warning is one that a reader must not overlook."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is shown: cells are text. file: the CSV beside the page, with numbers in full. meanings: of the
    columns that appear for the first time."""

    file: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    meanings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG or JPEG that lies in the folder."""

    file: str
    title: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of the data set, shown small: path and the words under each."""

    title: str
    files: tuple[tuple[str, str], ...]


Part = Section | Note | Table | Picture | Pictures


class EvaluationReport:
    """Collects the parts of one evaluation in a folder; :meth:`write` makes the page."""

    def __init__(self, out: str | Path, title: str) -> None:
        self.out = Path(out)
        self.title = title
        self.parts: list[Part] = []
        self._explained: set[str] = set()
        make_folder(self.out)

    def section(self, title: str, *paragraphs: str, place: int = ANSWERS) -> None:
        """A heading and what must be known to read what follows."""
        self.parts.append(Section(title, place))
        for text in paragraphs:
            self.paragraph(text)

    def paragraph(self, text: str, *, warning: bool = False) -> None:
        """One paragraph of explanation, or a warning."""
        self.parts.append(Note(text, warning))

    def table(self, name: str, title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """``name``.csv, and the table on the page; columns have the same names in both.

        An :class:`Interval` is three columns in the CSV: ``AUC``, ``AUC low``, ``AUC high``. A table without rows is
        neither written nor shown.
        """
        lines = [list(row) for row in rows]
        if not lines:
            return
        wide = [any(isinstance(line[i], Interval) for line in lines) for i in range(len(header))]
        names = [n for i, h in enumerate(header) for n in ([h, f"{h} low", f"{h} high"] if wide[i] else [h])]
        cells = ([cell for i, value in enumerate(line) for cell in _csv_cells(value, wide[i])] for line in lines)
        write_csv(self.out / f"{name}.csv", names, cells)
        new = [column for column in header if column in MEANING and column not in self._explained]
        self._explained.update(new)
        shown_rows = tuple(tuple(shown(value) for value in line) for line in lines)
        meanings = tuple((column, MEANING[column]) for column in new)
        self.parts.append(Table(f"{name}.csv", title, tuple(header), shown_rows, meanings))

    def json(self, name: str, data: Any) -> None:
        """``name``.json; NaN becomes null, dataclasses and arrays become plain."""
        write_json(self.out / f"{name}.json", data)

    def figure(self, name: str, title: str, figure: Figure) -> None:
        """``name``.png, also on the page."""
        figure.savefig(self.out / f"{name}.png", dpi=110)
        self.image(f"{name}.png", title)

    def image(self, file: str, title: str) -> None:
        """A picture that already lies in the folder, on the page."""
        self.parts.append(Picture(file, title))

    def pictures(self, title: str, files: Sequence[tuple[str, str]]) -> None:
        """Small pictures of the data set with words under each; files that are gone are left out."""
        if files:
            self.parts.append(Pictures(title, tuple(files)))

    def write(self) -> Path:
        """``index.html``; returns its path."""
        from aigiscan.evaluation.page import draw

        return write_file(self.out / "index.html", draw(self.title, self.parts, self.out))


def shown(value: Any) -> str:
    """A cell for a person: three decimals, "" for what is not known."""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.3f}"
    return visible(str(value))


def _csv_cells(value: Any, wide: bool) -> list[Any]:
    if isinstance(value, Interval):
        return [_number(value.value), _number(value.low), _number(value.high)]
    cell = _number(value) if isinstance(value, (float, np.floating)) else str(value)
    return [cell, "", ""] if wide else [cell]


def _number(value: float | np.floating) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
