"""Paths as a person gives them → one record per image file, in one order.

A folder is walked; a file that was named is taken whatever it is; ``-``, ``.txt`` and ``.csv`` are lists.
"""
# Names need not be UTF-8 and are kept as given; os.path is also several times as fast over 100,000 of them.
# ruff: noqa: PTH110, PTH112, PTH114, PTH116

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from aigiscan.errors import InputError
from aigiscan.files import reason
from aigiscan.images.lists import listed, read_stdin, read_text
from aigiscan.images.manifest import MANIFEST_EXTENSIONS, read_manifest
from aigiscan.images.names import Globs, on_disk, seen_from
from aigiscan.images.records import ImageRecord
from aigiscan.images.sniff import HEAD_BYTES, IMAGE_EXTENSIONS, extension, sniff

LIST_EXTENSIONS = frozenset([".txt", ".lst"])


def find_images(
    paths: Sequence[str | os.PathLike[str]],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stdin: IO[bytes] | IO[str] | None = None,
    all_files: bool = False,
    skipped: Counter[str] | None = None,
) -> list[ImageRecord]:
    """Every image under ``paths``, sorted by the bytes of the path, each path once.

    paths: folders (walked recursively; a file counts if its extension or its first bytes say photograph, also in a
        format that cannot be read), image files (taken whatever they are called), ``-`` (a list on ``stdin``: separated
        by NUL if there is any, else by newline), ``.txt`` lists (one path per line, relative to the list, else to the
        working folder) and ``.csv`` manifests (see :mod:`aigiscan.images.manifest`).
    include, exclude: case-insensitive globs against the path relative to the folder or manifest, or against the name
        alone; ``/`` stands between folders on every system; ``*`` also matches ``/``; an excluded folder is not walked.
    all_files: every file of a folder is a record, also hidden ones and what is no image.
    skipped: counts what was in walked folders and not taken, by extension (``""``: none); hidden files are not counted.

    Hidden files and folders are skipped, linked folders are entered once. Broken links with an image extension,
    folders that cannot be listed and missing files of a list become records with ``error``.
    InputError: a path that does not exist, or a list that cannot be read. The result may be empty.
    """
    search = _Search(Globs(include, exclude), all_files, Counter() if skipped is None else skipped)
    names = [on_disk(os.fspath(path)) for path in paths]
    found = [record for name in names for record in search.find(name, stdin)]
    if len(names) > 1 or not os.path.isdir(names[0] if names else ""):
        found = one_of_each(found)  # a walk of one folder gives each path once
    return sorted(found, key=by_path)


def by_path(record: ImageRecord) -> bytes:
    """The key that records are sorted by: the bytes of the path."""
    return os.fsencode(record.path)


def one_of_each(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Of records of one file, however its path is spelled, the first."""
    first: dict[str, ImageRecord] = {}
    for record in records:
        first.setdefault(os.path.abspath(record.path), record)
    return list(first.values())


class _Search:
    """One search through several paths: what is wanted, and what was passed by."""

    def __init__(self, globs: Globs, all_files: bool, skipped: Counter[str]) -> None:
        self.globs, self.all_files, self.skipped = globs, all_files, skipped

    def find(self, path: str, stdin: IO[bytes] | IO[str] | None) -> Iterator[ImageRecord]:
        if path == "-":
            yield from self._from_list(listed(read_stdin(stdin)), "")
        elif os.path.isdir(path):
            yield from self.walk(path)
        elif not os.path.lexists(path):
            raise InputError(f"no such file or folder: {path}")
        elif extension(path) in LIST_EXTENSIONS and not _looks_like_image(path):
            yield from self._from_list(listed(read_text(path, "list")), os.path.dirname(path))
        elif extension(path) in MANIFEST_EXTENSIONS and not _looks_like_image(path):
            folder = os.path.dirname(path)
            for record in read_manifest(path):
                if self.globs.keeps_listed(seen_from(record.path, folder)):
                    yield record
        elif self.globs.keeps(os.path.basename(path)):
            yield ImageRecord(path, error=_link_error(path))

    def _from_list(self, items: Iterable[str], folder: str) -> Iterator[ImageRecord]:
        for item in items:
            path = on_disk(os.path.join(folder, item))
            if not os.path.lexists(path):
                # as ``find photos > /tmp/list.txt`` writes it: relative to the working folder
                here = on_disk(item)
                path = here if os.path.lexists(here) else path
            if os.path.isdir(path):
                yield from self.walk(path)
            elif self.globs.keeps_listed(item):
                yield ImageRecord(path, error=_link_error(path))

    def walk(self, root: str) -> Iterator[ImageRecord]:
        """Image files under the folder ``root``, in no particular order."""
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
                prefix = "" if folder == root else seen_from(folder, root) + os.sep
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith(".") and not self.all_files:
                            continue
                        relative = prefix + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            if not self.globs.excludes(relative):
                                folders.append(entry.path)
                        elif entry.is_symlink() and os.path.isdir(entry.path):
                            if not self.globs.excludes(relative):
                                links.append(entry.path)
                        elif self.globs.keeps(relative):
                            if self.all_files or _is_candidate(entry):
                                yield ImageRecord(
                                    entry.path, error=_link_error(entry.path) if entry.is_symlink() else ""
                                )
                            else:
                                self.skipped[extension(entry.name)] += 1
            except OSError as error:
                yield ImageRecord(folder, error=f"folder cannot be listed: {reason(error)}")


def not_looked_at(skipped: Counter[str]) -> str:
    """``14 other files were not looked at (12 .mp4, 1 .svg, 1 without extension)``; ``""`` for none."""
    total = sum(skipped.values())
    if not total:
        return ""
    kinds = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{n} {kind or 'without extension'}" for kind, n in kinds[:6]] + ["…"] * (len(kinds) > 6)
    files = "other file was" if total == 1 else "other files were"
    return f"{total} {files} not looked at ({', '.join(told)}); --all-files makes a row of each"


def _link_error(path: str) -> str:
    if os.path.exists(path):
        return ""
    if os.path.islink(path):
        return "broken symlink"
    return "no such file" if not os.path.lexists(path) else ""


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
