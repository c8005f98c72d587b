"""Files: where a store lies, how a file appears whole or not at all, and what the system's refusals mean.

A store is a folder (``S/``) of immutable parts with a row table, or one packed file ``S.h5``. While a packed file is
being made it is a folder beside it, ``S.h5.parts/``.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aigiscan.errors import StoreError

TMP_SUFFIX = ".tmp"
_H5_SUFFIXES = (".h5", ".hdf5")


def follow_link(path: str | Path) -> Path:
    """Where a store really lies: a link to a large disk must not become a file on the small one."""
    return Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)


def is_packed(path: Path) -> bool:
    """Whether ``path`` names a packed file (it is one, or its name ends like one) and not a folder."""
    return path.is_file() or (not path.is_dir() and path.suffix.lower() in _H5_SUFFIXES)


def work_folder(path: Path) -> Path:
    """The folder in which the store ``path`` is written: itself, or beside a packed file."""
    return path.with_name(path.name + ".parts") if is_packed(path) else path


def identity(path: Path) -> list[int] | None:
    """Size and time of a file, None if there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def locate(path: str) -> str:
    """What a row is known by: the absolute path, however and from wherever it was given."""
    return os.path.normcase(os.path.abspath(path))


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; not every system can (then the file is still whole)."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(fd)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success it is synced and renamed to ``path``, else removed.

    The name is unique, because two workers may be writing the same part (one of them given up for lost).
    """
    tmp = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{TMP_SUFFIX}")
    try:
        yield tmp
        with open(tmp, "r+b") as file:
            os.fsync(file.fileno())
        tmp.replace(path)
        sync_folder(path.parent)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise


class DeferringFile(io.FileIO):
    """A file for HDF5 to write to that remembers the system's first refusal instead of reporting it.

    HDF5 cannot close a file whose writes fail, and crashes the process at its end (seen with HDF5 2.0 on a full disk).
    After a refusal this file swallows what comes, and raises the refusal when its context ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.refusal: OSError | None = None

    def __exit__(self, *_: Any) -> None:
        """Close; whatever HDF5 made of a refusal, the refusal is what is raised."""
        self.close()
        if self.refusal is not None:
            raise self.refusal

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self.refusal is None:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.refusal = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        try:
            return super().truncate(size) if self.refusal is None else size or 0
        except OSError as error:
            self.refusal = error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        """Read at the current position; what was not written reads as zeros. (HDF5 reads the old references of a text
        column before it writes new ones, and would follow whatever lay in its memory.)"""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (n := super().readinto(view[done:])):
            done += n
        view[done:] = bytes(len(view) - done)
        return len(view)


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits until the block ends, or until it calls what it is given: inside HDF5 it would do the harm of a
    failed write, and between a part and its commit it would be hard to say what is stored."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: None
        return
    came = threading.Event()

    def check() -> None:
        if came.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, handler)
    check()


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn the refusals of system and database into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {reason(error)}") from error
    except sqlite3.Error as error:
        raise StoreError(f"cannot write {path}: {_database_reason(error)}") from error


def reason(error: OSError) -> str:
    """A refusal in words, with what to do."""
    number = error.errno
    if number is None:  # HDF5 gives its own text with the number inside
        match = re.search(r"errno = (\d+)", str(error))
        number = int(match[1]) if match else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room and run again, finished images are kept"
    if number == errno.EFBIG:
        return "the file would be larger than allowed here (ulimit -f?); finished images are kept"
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "no permission to write there; choose another place"
    if number is not None:
        return os.strerror(number)
    return str(error).splitlines()[0]


def _database_reason(error: sqlite3.Error) -> str:
    text = str(error)
    if "full" in text:
        return reason(OSError(errno.ENOSPC, text))
    if "I/O" in text:  # SQLite does not tell which
        return "the disk refuses, or a file would be larger than allowed here (ulimit -f?); finished images are kept"
    if "readonly" in text or "unable to open" in text:
        return reason(OSError(errno.EACCES, text))
    return f"its row table says: {text}; see 'aigiscan stores verify {{store}}'"
