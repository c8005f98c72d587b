"""Files: written whole or not at all, hashed in blocks, locked, and the system's refusals in words.

- What is a regular file, or is not there yet, appears under its name in one step; a link stays a link and its target is
  replaced. What is no regular file (a device, a FIFO, ``/dev/stdout``, ``>(…)`` of a shell) is written straight.
- A command tries each of its outputs before it begins to work: :func:`check_file`, :func:`make_folder`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import signal
import stat
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from aigiscan.errors import AigiscanError, InputError
from aigiscan.text import csv_line, json_text

TMP_SUFFIX = ".tmp"
_BLOCK = 1 << 20
_STREAMS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")
_WORDS = {
    errno.ENOENT: "no such file",
    errno.EISDIR: "is a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENXIO: "not a regular file",  # what opening a socket gives
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "the file would be larger than allowed here (ulimit -f?)",
    getattr(errno, "EDQUOT", -1): "the disk quota is used up",
}


def reason(error: OSError) -> str:
    """Why the system refused, in a few words without the name of the file."""
    words = _WORDS.get(error.errno or 0)
    return words or (error.strerror or str(error).splitlines()[0] or type(error).__name__).lower()


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, hexadecimal; one block of it in memory. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def follow_link(path: str | Path) -> Path:
    """What a link leads to: a link to a large disk must not become a file on the small one."""
    return Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)


def is_straight(path: str | Path) -> bool:
    """Whether a file of that name is written straight: it is a stream, or something that is no regular file."""
    if _STREAMS.fullmatch(os.path.abspath(path)):
        return True
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def cannot_write(path: str | Path, error: OSError) -> InputError:
    """The line for an output that cannot be written."""
    return InputError(f"cannot write {path}: {reason(error)}; choose another -o")


def check_file(path: Path) -> None:
    """Try whether a file can be written there, its folder being made; InputError if not. Nothing is changed in it."""
    try:
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; name a file in it")
        if is_straight(path):
            return
        target = follow_link(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "", str(path))
        with replacing(target.with_name(target.name + ".try"), durable=False) as tmp:
            tmp.touch()
            raise _TriedError
    except _TriedError:
        return
    except OSError as error:
        raise cannot_write(path, error) from error


class _TriedError(Exception):
    """Ends a try: what was made for it is removed."""


def make_folder(path: Path) -> Path:
    """The output folder, made if it is not there, and tried; InputError if nothing can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    check_file(path / "aigiscan")
    return path


@contextmanager
def replacing(path: Path, tmp_folder: Path | None = None, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name on the same file system; on success it is synced and renamed to ``path``, else removed.

    The name is unique, because two processes may be writing the same file. durable: survive a power cut too; not needed
    for what can be made again. Raises OSError.
    """
    tmp = (tmp_folder or path.parent) / f"{path.name}.{uuid.uuid4().hex[:12]}{TMP_SUFFIX}"
    try:
        yield tmp
        if path.exists():
            shutil.copymode(path, tmp)
        if durable:
            _sync(tmp, os.O_RDWR)
        tmp.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            tmp.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; not every system can (then the file is still whole)."""
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise


def _sync(path: Path, mode: int) -> None:
    fd = os.open(path, mode)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, data: str | bytes | Iterable[str], *, durable: bool = False) -> Path:
    """Write a file so that no reader sees half of it; its folder is made. InputError in one line if that fails.

    data: may come in pieces, of which only one is held.
    """
    pieces = [data] if isinstance(data, str | bytes) else data
    raw = (piece.encode("utf-8") if isinstance(piece, str) else piece for piece in pieces)
    try:
        if is_straight(path):
            # what a shell opened as a file (> x) was emptied by the shell, or is meant to be added to (>> x)
            with open(path, "ab") as file:
                file.writelines(raw)
            return path
        target = follow_link(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, durable=durable) as tmp, open(tmp, "wb") as file:
            file.writelines(raw)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """A table as RFC 4180 in UTF-8; InputError if it cannot be written."""
    return write_file(path, chain([csv_line(header)], map(csv_line, rows)))


def write_json(path: Path, data: Any) -> Path:
    """Indented JSON in UTF-8, values as :func:`aigiscan.text.plain` makes them; InputError if it cannot be written."""
    return write_file(path, json_text(data))


def keep_cached(path: Path, data: bytes) -> bool:
    """Write a file that can be made again. False if that cannot be done: a cache may fail."""
    try:
        write_file(path, data)
    except InputError:
        return False
    return True


@contextmanager
def locked(path: Path, refusal: AigiscanError) -> Iterator[None]:
    """Hold ``path``, a file beside what is written, while the block runs; raise ``refusal`` if another process does.

    The system lets go of the lock when its owner dies, however it dies. Where it has no locks, nothing is held.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise refusal from None
    except NotImplementedError:  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is done: for what must not be cut in the middle, and takes no time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    former: dict[int, Callable[[int, FrameType | None], Any]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler):
            former[number] = handler
            signal.signal(number, lambda *came: waiting.append(came))
    try:
        yield
    finally:
        for caught, handler in former.items():
            signal.signal(caught, handler)
        for came in waiting:
            former[came[0]](*came)
