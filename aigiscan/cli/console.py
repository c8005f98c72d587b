"""Everything a person sees: notes, tables and progress on standard error.

Standard output belongs to the report alone. Progress is drawn only where standard error is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

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
    with _bars() as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)


@contextmanager
def watch(tasks: Sequence[tuple[str, int, Callable[[], int]]], *, every: float = 0.5) -> Iterator[None]:
    """While the block runs, draw a bar for each (description, total, how much is done) if standard error is a terminal.

    For work that other processes do: every so many seconds it is asked how much is done.
    """
    if not sys.stderr.isatty():
        yield
        return
    import threading

    finished = threading.Event()
    with _bars() as progress:
        bars = [(progress.add_task(description, total=total), done) for description, total, done in tasks]

        def draw() -> None:
            while not finished.wait(every):
                for bar, done in bars:
                    progress.update(bar, completed=done())

        thread = threading.Thread(target=draw, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


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
