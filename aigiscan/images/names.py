"""Names of files: the globs of ``--include`` and ``--exclude``, paths as seen from a folder, and two ways to write é.

Globs see paths with ``/`` between the folders on every system, in composed Unicode (NFC) and lower case.
"""
# Names need not be UTF-8 and are kept as given.
# ruff: noqa: PTH206

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache


class Globs:
    """What ``--include`` and ``--exclude`` let through; see :func:`aigiscan.images.find.find_images`."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = [_pattern(pattern) for pattern in include]
        self._exclude = [_pattern(pattern) for pattern in exclude]

    def __bool__(self) -> bool:
        return bool(self._include or self._exclude)

    def excludes(self, relative: str) -> bool:
        """Whether a file or folder, seen from the root, is to be left out."""
        return bool(self._exclude) and _matches(relative, self._exclude)

    def keeps(self, relative: str) -> bool:
        """Whether a file in a folder that was walked is wanted."""
        return not self.excludes(relative) and (not self._include or _matches(relative, self._include))

    def keeps_listed(self, relative: str) -> bool:
        """As ``keeps`` for a path that no walk came to, where an excluded folder has to be looked for."""
        if not self:
            return True
        parts = _comparable(os.path.normpath(relative)).split("/")
        if any(self.excludes("/".join(parts[:i])) for i in range(1, len(parts)) if parts[i - 1]):
            return False
        return self.keeps("/".join(parts))


def _pattern(pattern: str) -> str:
    return _comparable(pattern).removeprefix("./").rstrip("/")


def _comparable(path: str) -> str:
    """In the form in which globs and paths are compared."""
    if os.sep != "/":
        path = path.replace(os.sep, "/")
    return (path if path.isascii() else unicodedata.normalize("NFC", path)).lower()


def _matches(relative: str, patterns: Iterable[str]) -> bool:
    lower = _comparable(relative)
    name = lower.rpartition("/")[2]
    return any(
        fnmatchcase(lower, p) or fnmatchcase(name, p) or (p.startswith("**/") and fnmatchcase(lower, p[3:]))
        for p in patterns
    )


def seen_from(path: str, folder: str) -> str:
    """The path relative to the folder (``""``: the working folder); as it is where it lies on another drive."""
    try:
        return os.path.relpath(path, folder or os.curdir)
    except ValueError:  # Windows has no way from one drive to another
        return path


def on_disk(path: str) -> str:
    """The path as the disk spells it, where it was given in the other of the two ways to write accents; else as given.

    macOS decomposes é to e and an accent (NFD), lists are mostly written composed (NFC); other systems keep apart what
    looks the same.
    """
    if path.isascii() or "\0" in path or os.path.lexists(path):
        return path
    found = os.sep if os.path.isabs(path) else ""
    for part in os.path.normpath(path).split(os.sep):
        if part:
            # .. and what is spelled as on the disk stay as they are
            whole = os.path.join(found, part)
            found = whole if os.path.lexists(whole) else os.path.join(found, _spelled(found).get(_nfc(part), part))
    return found if os.path.lexists(found) else path


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@lru_cache(maxsize=64)
def _spelled(folder: str) -> dict[str, str]:
    """Composed name → name on the disk, of everything in a folder that is not ASCII."""
    try:
        return {_nfc(name): name for name in sorted(os.listdir(folder or os.curdir)) if not name.isascii()}
    except OSError:
        return {}
