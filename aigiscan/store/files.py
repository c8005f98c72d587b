"""Where a store lies, and what becomes of the system's refusals.

A store is a folder (``S/``) of immutable parts with a row table, or one packed file ``S.h5``. While a packed file is
being made it is a folder beside it, ``S.h5.parts/``.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aigiscan.errors import StoreError
from aigiscan.files import reason

_H5_SUFFIXES = (".h5", ".hdf5")


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


class DeferringFile(io.FileIO):
    """A file for HDF5 to write to that remembers the system's first refusal instead of reporting it.

    HDF5 cannot close a file whose writes fail, and crashes the process at its end (seen with HDF5 2.0 on a full disk).
    After a refusal this file swallows what comes, and raises the refusal when its context ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.refusal: OSError | None = None

    def check(self) -> None:
        """Raise the first refusal, if there was one."""
        if self.refusal is not None:
            raise self.refusal

    def __exit__(self, *_: Any) -> None:
        """Close; whatever HDF5 made of a refusal, the refusal is what is raised."""
        self.close()
        self.check()

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
def explaining(path: Path) -> Iterator[None]:
    """Turn the refusals of system and database into one line that says what to do."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot write {path}: {_advice(error)}") from error


def _advice(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, sqlite3.Error):  # SQLite does not tell what the system said
        text = str(error)
        if "I/O" in text:
            return "the disk refuses, or a file would be larger than allowed here (ulimit -f?); what was done is kept"
        known = {"full": errno.ENOSPC, "readonly": errno.EACCES, "unable to open": errno.EACCES}
        number = next((number for words, number in known.items() if words in text), None)
        if number is None:
            return f"its row table says: {text}; see 'aigiscan stores verify'"
        error = OSError(number, text)
    if error.errno is None:  # HDF5 gives its own text with the number inside
        match = re.search(r"errno = (\d+)", str(error))
        error = OSError(int(match[1]), "") if match else error
    advice = {
        errno.ENOSPC: "; make room and run again, what was done is kept",
        getattr(errno, "EDQUOT", -1): "; make room and run again, what was done is kept",
        errno.EFBIG: "; what was done is kept",
        errno.EACCES: "; no permission to write there: choose another place",
        errno.EPERM: "; no permission to write there: choose another place",
        errno.EROFS: "; choose another place",
    }
    return reason(error) + advice.get(error.errno or 0, "")
