"""Everything a person sees: notes, tables and progress on standard error, and what is printed on standard output.

Notes go through the logger ``aigiscan``: ``-v`` shows more of it, ``--quiet`` none. Text from outside (names of files,
messages of libraries) is shown as it is and never obeyed: no markup, no control characters.
"""

from __future__ import annotations

import errno
import logging
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TypeVar

from aigiscan.errors import InputError
from aigiscan.files import reason
from aigiscan.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from aigiscan.images.records import ImageRecord

T = TypeVar("T")
Advance = Callable[[int], None]

_PLAIN_WIDTH = 120  # of tables in log files
#: the bar that is drawn, and what a bar that would begin within it does instead
_running: tuple[Progress, Callable[[str, int | None], Advance]] | None = None


class _ToStderr(logging.Handler):
    """``aigiscan: message`` on what standard error is at that moment, above the bar if one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        name = "" if record.name == "aigiscan" else f"{record.name.removeprefix('aigiscan.')}: "
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        line = visible(f"aigiscan: {level}{name}{record.getMessage()}")
        if sys.stderr.isatty():
            line = textwrap.fill(line, shutil.get_terminal_size().columns, subsequent_indent="  ")
        if _running is not None:
            _running[0].console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def set_verbosity(verbosity: int) -> None:
    """−1: errors alone; 0: notes; 1: what the program does; 2: also what the libraries say."""
    levels = {-1: logging.ERROR, 0: logging.INFO}
    _logger().setLevel(levels.get(verbosity, logging.DEBUG))
    if verbosity >= 2:
        logging.getLogger().addHandler(_logger().handlers[0])
        logging.getLogger().setLevel(logging.INFO)


def _logger() -> logging.Logger:
    logger = logging.getLogger("aigiscan")
    if len(logger.handlers) != 1 or not isinstance(logger.handlers[0], _ToStderr):
        logger.handlers[:] = [_ToStderr()]
        logger.setLevel(logging.INFO)
        # open_clip's use of the root logger installs a second handler there; one line is enough
        logger.propagate = False
    return logger


def note(message: str) -> None:
    """One line for a person."""
    _logger().info("%s", message)


def warn(message: str) -> None:
    """One line about something that was not as expected; the run goes on."""
    _logger().warning("%s", message)


def error(message: object) -> None:
    """The line with which a command ends."""
    _logger().error("%s", message)


def out(text: str | bytes) -> None:
    """Write to standard output at once; InputError if that cannot be done (a full disk, a closed stream)."""
    try:
        if isinstance(text, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as refused:
        why = "it is closed" if refused.errno == errno.EBADF else reason(refused)
        raise InputError(f"cannot write to standard output: {why}") from refused


def note_labels(name: str, records: Sequence[ImageRecord]) -> None:
    """What labelled images were read as: layouts can be mistaken, and a person must see it before the work begins."""
    from aigiscan.images.labels import what_was_found
    from aigiscan.text import visible

    for i, line in enumerate(what_was_found(records)):
        note(visible(f"{name}: {line}" if i == 0 else f"  {line}"))


def track(items: Iterable[T], *, total: int | None, description: str, rows_on_terminal: bool = False) -> Iterator[T]:
    """Pass items through, each a step of a :func:`bar`."""
    with bar(description, total, rows_on_terminal=rows_on_terminal) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def bar(description: str, total: int | None, *, rows_on_terminal: bool = False) -> Iterator[Advance]:
    """A progress bar on standard error if it is a terminal; gives the function that takes how much was done.

    There is one bar at a time: inside another one, what is done counts for that one, whose total knew of it, or, inside
    :func:`whole`, for a part of it.
    rows_on_terminal: what is done is printed there as it comes, so no bar is drawn.
    """
    global _running
    if _running is not None:
        yield _running[1](description, total)
        return
    if rows_on_terminal or not sys.stderr.isatty() or not _logger().isEnabledFor(logging.INFO):
        yield lambda done: None
        return
    with _bars() as progress:
        task = progress.add_task(visible(description), total=total)

        def advance(done: int) -> None:
            progress.advance(task, done)

        _running = (progress, lambda *_: advance)
        try:
            yield advance
        finally:
            _running = None


@contextmanager
def whole(description: str, parts: int) -> Iterator[None]:
    """One bar for a command of several parts, each of which would draw its own; as if all were of one length."""
    global _running
    if not sys.stderr.isatty() or not _logger().isEnabledFor(logging.INFO):
        yield
        return
    begun = 0
    with _bars() as progress:
        task = progress.add_task(visible(description), total=parts)

        def part(name: str, total: int | None) -> Advance:
            nonlocal begun
            progress.update(task, completed=begun, description=visible(f"{description}: {name}"))
            begun += 1
            return lambda done: progress.advance(task, done / (total or 1))

        _running = (progress, part)
        try:
            yield
        finally:
            _running = None


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
        bars = [(progress.add_task(visible(description), total=total), done) for description, total, done in tasks]

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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # Rich would send what is printed on standard output to the terminal too, although it may be a file.
    return Progress(*columns, console=screen(sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False)


def screen(stream: IO[str]) -> Console:
    """A Rich console on a stream; plain and of a fixed width where it is no terminal."""
    from rich.console import Console

    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def cell(value: object) -> Text:
    """One cell as text that is shown as it is; numbers with three decimals."""
    from rich.text import Text

    return Text(f"{value:.3f}" if isinstance(value, float) else visible("" if value is None else str(value)))


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard error; plain enough to be read from a log file too. Numbers are to the right, text left."""
    from rich.table import Table

    if not _logger().isEnabledFor(logging.INFO):
        return
    lines = [[cell(value) for value in row] for row in rows]
    drawn = Table(title=cell(title), title_justify="left")
    for i, name in enumerate(header):
        numbers = all(_is_number(line[i].plain) for line in lines)
        drawn.add_column(cell(name), justify="right" if numbers else "left", overflow="fold")
    for line in lines:
        drawn.add_row(*line)
    (screen(sys.stderr) if _running is None else _running[0].console).print(drawn)


def _is_number(text: str) -> bool:
    try:
        float(text.replace("%", "").replace("–", "").replace("…", "") or 0)
    except ValueError:
        return False
    return True
