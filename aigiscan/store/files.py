"""Files and names: where the parts of a store lie, and how a file appears whole or not at all.

A store ``S.h5`` is one file. While it is being written there is a folder ``S.h5.parts`` beside it that holds immutable
parts; a store given as a folder is such a folder of parts alone. Names sort in the order of writing:

- ``g000003.h5``: what session 3 wrote, finished;
- ``g000003-000007.h5``: the seventh part of session 3, which has not finished (or was killed);
- ``*.tmp``: half-written, to be ignored and removed.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aigiscan.errors import StoreError

_PART = re.compile(r"g(\d{6})(?:-(\d{6}))?\.h5")
TMP_SUFFIX = ".tmp"
H5_SUFFIXES = (".h5", ".hdf5")


def follow_link(path: str | Path) -> Path:
    """Where a store really lies: a link to a large disk must not become a file on the small one."""
    return Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)


def is_folder_store(path: Path) -> bool:
    """Whether ``path`` names a folder of parts (it is one, or it does not look like an HDF5 file's name)."""
    return path.is_dir() or (not path.exists() and path.suffix.lower() not in H5_SUFFIXES)


def parts_folder(path: Path) -> Path:
    """The folder that holds the parts of the store ``path``."""
    return path if is_folder_store(path) else path.with_name(path.name + ".parts")


def is_store(path: str | Path) -> bool:
    """Whether there is a store of that name: an HDF5 file (finished or not), or a folder of parts."""
    place = follow_link(path)
    if place.is_dir():
        return bool(list_parts(place))
    return place.suffix.lower() in H5_SUFFIXES and (place.is_file() or bool(list_parts(parts_folder(place))))


def part_name(session: int, number: int | None = None) -> str:
    """File name of a part; without a number that of a finished session."""
    return f"g{session:06d}.h5" if number is None else f"g{session:06d}-{number:06d}.h5"


def part_key(name: str) -> tuple[int, int | None]:
    """(session, number) of a part's file name; number is None for a finished session."""
    match = _PART.fullmatch(name)
    if match is None:
        raise ValueError(f"not the name of a part: {name}")
    return int(match[1]), None if match[2] is None else int(match[2])


def list_parts(folder: Path) -> list[Path]:
    """Parts of a folder in the order of writing. The finished part of a session comes before what is left over of it,
    which holds the same rows (a kill came between renaming and clearing up)."""
    try:
        names = [name for name in os.listdir(folder) if _PART.fullmatch(name)]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names, key=lambda n: (part_key(n)[0], part_key(n)[1] or 0))]


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
def replacing(path: Path, tmp_folder: Path | None = None, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name on the same file system; on success it is synced and renamed to ``path``, else removed.

    The name is unique, because two workers may be writing the same part (one of them given up for lost).
    durable: survive a power cut too; not needed for what can be made again.
    """
    tmp = (tmp_folder or path.parent) / f"{path.name}.{uuid.uuid4().hex[:12]}{TMP_SUFFIX}"
    try:
        yield tmp
        if durable:
            _sync(tmp)
        tmp.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class DeferringFile(io.RawIOBase):
    """A file for HDF5 to write to that remembers the system's first refusal instead of reporting it.

    HDF5 cannot close a file whose writes fail, and crashes the process at its end (seen with HDF5 2.0 on a full disk).
    After a refusal this file swallows what comes; :meth:`check` raises the refusal where the writer can deal with it.
    Ctrl-C is treated alike while the file is open as a context; inside HDF5's calls it would do the same harm.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._raw = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed by close)
        self._refusal: BaseException | None = None
        self._handler: Any = None

    def __enter__(self) -> DeferringFile:
        """Open as a context: Ctrl-C waits for the next :meth:`check`."""
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._handler = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def _interrupted(self, *_: object) -> None:
        self._refusal = self._refusal or KeyboardInterrupt()

    def check(self) -> None:
        """Raise the first refusal, if there was one."""
        if self._refusal is not None:
            raise self._refusal

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Close; whatever HDF5 made of a refusal, the refusal is what is raised."""
        self.close()
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        self.check()

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self._refusal is None:
            try:
                done += self._raw.write(view[done:]) or 0
            except OSError as error:
                self._refusal = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read at the current position; what was not written reads as zeros. (HDF5 reads the old references of a text
        column before it writes new ones, and would follow whatever lay in its memory.)"""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (n := self._raw.readinto(view[done:])):
            done += n
        view[done:] = bytes(len(view) - done)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._raw.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        if self._refusal is None:
            try:
                return self._raw.truncate(size)
            except OSError as error:
                self._refusal = error
        return size or 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
        super().close()


def write_whole(path: Path, data: bytes, tmp_folder: Path | None = None, *, durable: bool = True) -> None:
    """Write bytes so that a kill (``durable``: also a power cut) leaves the old file or the new one."""
    with replacing(path, tmp_folder, durable=durable) as tmp, open(tmp, "wb") as file:
        file.write(data)


def remove_leftovers(folder: Path) -> None:
    """Remove half-written files of killed writers; only the owner of the lock may call this."""
    for name in os.listdir(folder):
        if name.endswith(TMP_SUFFIX):
            (folder / name).unlink(missing_ok=True)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
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
