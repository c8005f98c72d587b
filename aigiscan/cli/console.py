"""Everything a person sees: notes, tables and progress on standard error.

Standard output belongs to the report alone. Progress is drawn only where standard error is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def note(message: str) -> None:
    """One line for a person."""
    print(f"aigiscan: {message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """One line about something that was not as expected; the run goes on."""
    note(f"warning: {message}")


def track(items: Iterable[T], *, total: int | None, description: str) -> Iterator[T]:
    """Pass items through; draw a progress bar on standard error if it is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard error; plain enough to be read from a log file too."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left")
    for i, name in enumerate(header):
        drawn.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    width = None if sys.stderr.isatty() else 120
    Console(stderr=True, width=width).print(drawn)
