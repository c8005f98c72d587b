"""Paths as a person gives them → one record per image file, in one order.

A folder is walked; a file that was named is taken whatever it is; ``-``, ``.txt`` and ``.csv`` are lists.
"""
# Names need not be UTF-8 and are kept as given; os.path is also several times as fast over 100,000 of them.
# ruff: noqa: PTH110, PTH112, PTH114, PTH116, PTH206

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from typing import IO

from aigiscan.errors import InputError
from aigiscan.files import reason
from aigiscan.images.listing import Listing, one_of_each
from aigiscan.images.manifest import read_manifest
from aigiscan.images.records import ImageRecord
from aigiscan.images.sniff import HEAD_BYTES, IMAGE_EXTENSIONS, RAW_EXTENSIONS, extension, sniff

LIST_EXTENSIONS = frozenset([".txt", ".lst"])
MANIFEST_EXTENSIONS = frozenset([".csv"])
_READ = 1 << 16
#: a list on standard input that is longer waits in a temporary file
_LIST_BYTES = 1 << 20


def find_images(
    paths: Sequence[str | os.PathLike[str]],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stdin: IO[bytes] | IO[str] | None = None,
) -> Listing:
    """Every image under ``paths``, sorted by the bytes of the path, each path once.

    paths: folders (walked recursively; a file counts if its extension or its first bytes say image), image files
        (taken whatever they are called), ``-`` (a list on ``stdin``: separated by NUL if there is any, else by
        newline), ``.txt`` lists (one path per line, relative to the list, else to the working folder) and ``.csv``
        manifests (see :mod:`aigiscan.images.manifest`).
    include, exclude: case-insensitive globs against the path relative to the folder or manifest, or against the name
        alone; ``*`` also matches ``/``; an excluded folder is not walked.

    Hidden files and folders are skipped, linked folders are entered once. Broken links with an image extension,
    folders that cannot be listed and missing files of a list become records with ``error``.
    InputError: a path that does not exist, or a list that cannot be read. The result may be empty; its memory does not
    grow with the number of images.
    """
    keep = _Filter(include, exclude)
    names = [os.fspath(path) for path in paths]
    found = chain.from_iterable(_find(name, keep, stdin) for name in names)
    if len(names) == 1 and os.path.isdir(names[0]):
        return Listing(found)  # a walk gives each path once
    return one_of_each(found)


class _Filter:
    """The globs of ``--include`` and ``--exclude``."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_fold(pattern) for pattern in include]
        self._exclude = [_fold(pattern) for pattern in exclude]

    def excludes(self, relative: str) -> bool:
        return bool(self._exclude) and _matches(relative, self._exclude)

    def keeps(self, relative: str) -> bool:
        return not self.excludes(relative) and (not self._include or _matches(relative, self._include))

    def keeps_listed(self, relative: str) -> bool:
        """As ``keeps`` for a path that no walk came to, where an excluded folder has to be looked for."""
        if self._exclude:
            parts = relative.split(os.sep)
            if any(self.excludes(os.sep.join(parts[:i])) for i in range(1, len(parts)) if parts[i - 1]):
                return False
        return self.keeps(relative)


def _fold(pattern: str) -> str:
    return pattern.removeprefix("./").rstrip("/").lower()


def _matches(relative: str, patterns: Iterable[str]) -> bool:
    lower = relative.lower()
    name = os.path.basename(lower)
    return any(
        fnmatchcase(lower, p) or fnmatchcase(name, p) or (p.startswith("**/") and fnmatchcase(lower, p[3:]))
        for p in patterns
    )


def _find(path: str, keep: _Filter, stdin: IO[bytes] | IO[str] | None) -> Iterator[ImageRecord]:
    if path == "-":
        with _read_stdin(stdin) as file:
            yield from _from_list(split_list(file), "", keep)
    elif os.path.isdir(path):
        yield from walk(path, keep)
    elif not os.path.lexists(path):
        raise InputError(f"no such file or folder: {path}")
    elif extension(path) in LIST_EXTENSIONS and not _looks_like_image(path):
        try:
            with open(path, "rb") as file:
                yield from _from_list(split_list(file), os.path.dirname(path), keep)
        except OSError as error:
            raise InputError(f"cannot read the list {path}: {reason(error)}") from error
    elif extension(path) in MANIFEST_EXTENSIONS and not _looks_like_image(path):
        folder = os.path.dirname(path)
        for record in read_manifest(path):
            if keep.keeps_listed(os.path.relpath(record.path, folder or ".")):
                yield record
    elif keep.keeps(os.path.basename(path)):
        yield ImageRecord(path, error=_link_error(path))


def _read_stdin(stdin: IO[bytes] | IO[str] | None) -> IO[bytes]:
    """Everything that comes, as a file that can be read again: whether it has a NUL is known at its end."""
    stream = sys.stdin if stdin is None else stdin
    # Names need not be UTF-8, so the bytes under a text stream are wanted.
    stream = getattr(stream, "buffer", stream)
    kept = tempfile.SpooledTemporaryFile(max_size=_LIST_BYTES)  # noqa: SIM115 (closed by the caller)
    try:
        while data := stream.read(_READ):
            kept.write(os.fsencode(data) if isinstance(data, str) else data)
    except OSError as error:
        raise InputError(f"cannot read the list on standard input: {reason(error)}") from error
    kept.seek(0)
    return kept


def split_list(file: IO[bytes]) -> Iterator[str]:
    """Paths of a list: separated by NUL if there is any (as ``find -print0`` writes), else one per line."""
    separator = b"\0" if any(b"\0" in data for data in iter(lambda: file.read(_READ), b"")) else b"\n"
    file.seek(0)
    rest, first = b"", True
    while data := file.read(_READ):
        *items, rest = (rest + data).split(separator)
        for item in items:
            yield from _listed(item, separator, first)
            first = False
    yield from _listed(rest, separator, first)


def _listed(item: bytes, separator: bytes, first: bool) -> Iterator[str]:
    if separator == b"\n":
        item = (item.removeprefix(b"\xef\xbb\xbf") if first else item).removesuffix(b"\r")
    if item.strip():
        yield os.fsdecode(item)


def _from_list(items: Iterable[str], folder: str, keep: _Filter) -> Iterator[ImageRecord]:
    for item in items:
        path = os.path.join(folder, item)
        if "\0" not in path and not os.path.lexists(path) and os.path.lexists(item):
            path = item  # as ``find photos > /tmp/list.txt`` writes it: relative to the working folder
        if os.path.isdir(path):
            yield from walk(path, keep)
        elif keep.keeps_listed(os.path.normpath(item)):
            yield ImageRecord(path, error=_link_error(path))


def _link_error(path: str) -> str:
    if os.path.exists(path):
        return ""
    if os.path.islink(path):
        return "broken symlink"
    return "no such file" if not os.path.lexists(path) else ""


def walk(root: str, keep: _Filter | None = None) -> Iterator[ImageRecord]:
    """Image files under the folder ``root``; see :func:`find_images` for what counts. In no particular order."""
    keep = keep or _Filter((), ())
    entered: set[tuple[int, int]] = set()
    folders = [root]
    links: list[str] = []
    # Linked folders come after all real ones: what lies under the root keeps its real path, and a loop ends because
    # its target was already entered.
    while folders or links:
        if not folders:
            links.sort(key=os.fsencode, reverse=True)
            folders.append(links.pop())
        folder = folders.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            prefix = "" if folder == root else os.path.relpath(folder, root) + os.sep
            with os.scandir(folder) as entries:
                for entry in entries:
                    relative = prefix + entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if not keep.excludes(relative):
                            folders.append(entry.path)
                    elif entry.is_symlink() and os.path.isdir(entry.path):
                        if not keep.excludes(relative):
                            links.append(entry.path)
                    elif keep.keeps(relative) and _is_candidate(entry):
                        yield ImageRecord(entry.path, error=_link_error(entry.path) if entry.is_symlink() else "")
        except OSError as error:
            yield ImageRecord(folder, error=f"folder cannot be listed: {reason(error)}")


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    """Whether a directory entry is worth opening; reads the first bytes only if the name does not say."""
    if extension(entry.name) in IMAGE_EXTENSIONS:
        return True
    try:
        # is_file is false for pipes, sockets and devices, whose opening might block.
        return entry.is_file() and _looks_like_image(entry.path)
    except OSError:
        return False  # a link that leads in a circle and has no image extension


def _looks_like_image(path: str) -> bool:
    """Whether a regular file's first bytes are an image's; a file that cannot be read does not look like one."""
    if extension(path) in RAW_EXTENSIONS:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return False
    try:
        return bool(sniff(os.read(descriptor, HEAD_BYTES)))
    except OSError:
        return False
    finally:
        os.close(descriptor)
