"""The process around a command: streams that may be closed, signals, exit codes. Imports nothing heavy.

Exit codes: 0 done, 1 a verdict of ``--fail-on``, 2 an error (one line), 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import TextIO

INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, with its own exit code."""


def main() -> None:
    """Entry point of the ``aigiscan`` command."""
    code: int | str | None = 0
    try:
        _open_streams()
        signal.signal(signal.SIGTERM, _terminate)
        from aigiscan.cli.app import app

        app()
    except SystemExit as done:
        code = done.code
    except KeyboardInterrupt as stop:  # before or after the command itself, which says more
        code = exit_code(stop)
    finally:
        # Nothing is left to be saved, and an interruption of the interpreter's own end would be a traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


def exit_code(stop: KeyboardInterrupt) -> int:
    """130 for Ctrl-C, 143 for SIGTERM, as shells have it."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _open_streams() -> None:
    """Give closed standard streams (``>&-``) a place, so that no file gets their number and no note its way into it.

    What is written to a closed standard output fails, as it should; notes for a closed standard error go nowhere.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            _at(number, os.open(os.devnull, mode))
    sys.stdin = sys.stdin or _stream(0, "r")
    sys.stdout = sys.stdout or _stream(1, "w")
    sys.stderr = sys.stderr or _stream(2, "w")
    if not sys.stderr.isatty():  # a log has no use for the bars of libraries that download
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        if not stream.isatty():  # whatever the locale says, what is read by programs is UTF-8 with \n line ends
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")  # type: ignore[union-attr]


def _at(number: int, opened: int) -> None:
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _stream(number: int, mode: str) -> TextIO:
    return io.TextIOWrapper(open(number, f"{mode}b", closefd=False), encoding="utf-8")


def settle_stdout() -> None:
    """Write what is still in the buffer of standard output; if it takes no more, let it go nowhere, so that the flush
    at the interpreter's end does not complain."""
    try:
        sys.stdout.flush()
    except OSError:
        _at(sys.stdout.fileno(), os.open(os.devnull, os.O_WRONLY))
