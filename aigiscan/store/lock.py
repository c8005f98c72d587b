"""One writer per store: an advisory lock that the system releases when its owner dies, however it dies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from aigiscan.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows: no flock; two writers on one store are then the user's affair
    fcntl = None  # type: ignore[assignment]


class WriterLock:
    """``flock`` on a file; taken at once or refused. A killed owner leaves the file, never the lock."""

    def __init__(self, path: Path, store: Path) -> None:
        self._path = path
        self._store = store
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise StoreError."""
        if fcntl is None:
            return
        while self._fd is None:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise StoreError(
                        f"{self._store} is being written by another process; wait for it or give another name"
                    ) from None
                if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    return  # a file system without locks
                raise
            # The former owner may have removed the file between our open and our flock: then we hold a lock on
            # nothing, and have to open the name again.
            if os.fstat(fd).st_nlink == 0:
                os.close(fd)
                continue
            self._fd = fd

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None
