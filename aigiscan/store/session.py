"""The parts that a run leaves: numbered, merged sixteen to one, indexed, and made one file in the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aigiscan.encoders.base import ChannelSpec
from aigiscan.errors import StoreError
from aigiscan.store.files import is_folder_store, list_parts, part_key, part_name, parts_folder, sync_folder
from aigiscan.store.index import PartInfo, describe, publish_index
from aigiscan.store.part import OpenFiles, Part, PartContent, write_part
from aigiscan.store.union import unite, write_union

# Parts of a running session are merged, sixteen to one: millions of images then leave dozens of files, not thousands.
FAN_IN = 16
# Parts kept open: they follow each other in the order of paths.
AT_ONCE = 1


class Session:
    """The files of the store ``path`` that one run writes; only the owner of the lock may have one.

    No file that is there is changed: what is merged appears under a new name before the old ones go, and a kill between
    any two steps leaves a store that can be read and continued.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any], channels: Mapping[str, ChannelSpec]) -> None:
        self.path = path
        self.folder = parts_folder(path)
        self.is_folder = is_folder_store(path)
        self._fingerprint, self._channels = fingerprint, channels
        self._session, self._number = 1, 0
        self._levels: dict[int, list[Path]] = {}
        self._infos: dict[Path, PartInfo] = {}
        self._written = False

    @property
    def parts(self) -> list[Path]:
        """All parts that are there, in the order of writing."""
        return list_parts(self.folder)

    @property
    def exists(self) -> bool:
        """Whether there is a store, whole or not."""
        return bool(self.parts) or (not self.is_folder and self.path.exists())

    def is_finished(self, part: Path) -> bool:
        """Whether a file is what an uninterrupted run left."""
        return part == self.path or part_key(part.name)[1] is None

    def begin(self) -> None:
        """Go on with the numbers of a session that was cut, or begin the next."""
        keys = [part_key(p.name) for p in self.parts]
        if keys:
            session = max(s for s, _ in keys)
            numbers = [n for s, n in keys if s == session and n is not None]
            self._session, self._number = (session, max(numbers)) if numbers else (session + 1, 0)

    def clear(self) -> None:
        """Remove all parts: the store is made anew."""
        _unlink(self.parts)

    def remove_stale(self, files: Sequence[Path]) -> bool:
        """Remove what a writer that was killed after it had finished left over; whether there was anything.

        files: those that make up the store.
        """
        stale = self.parts
        if self.is_folder or self.path not in files:
            keys = {p: part_key(p.name) for p in stale}
            finished = {session for session, number in keys.values() if number is None}
            stale = [p for p, (session, number) in keys.items() if number is not None and session in finished]
        _unlink(stale)
        return bool(stale)

    def next_name(self) -> Path:
        """The name of the next part."""
        self._number += 1
        return self.folder / part_name(self._session, self._number)

    def make_way(self) -> None:
        """A finished single file becomes the first part; the index takes its name."""
        if not self.is_folder and not self._written and self.path.exists() and not _is_index(self.path):
            self.path.replace(self.folder / part_name(0))
            sync_folder(self.folder)

    def write(self, content: PartContent) -> None:
        """Add a part."""
        self.make_way()
        target = self.next_name()
        write_part(target, self.folder, self._fingerprint, self._channels, content)
        self._written = True
        self._compact(target)

    def _compact(self, newest: Path, level: int = 0) -> None:
        group = self._levels.setdefault(level, [])
        group.append(newest)
        if len(group) < FAN_IN:
            self.publish()
            return
        merged = self.next_name()
        self._merge(group, merged, keep_dropped=True)
        self._levels[level] = []
        self.publish(without=group)  # before they go: the index never points at nothing
        _unlink(group)
        self._compact(merged, level + 1)

    def _merge(self, paths: Sequence[Path], target: Path, *, keep_dropped: bool) -> None:
        files = OpenFiles(AT_ONCE)
        parts = [Part(p, files=files) for p in paths]
        try:
            write_union(unite(parts), target, self.folder, self._fingerprint, self._channels, keep_dropped=keep_dropped)
        finally:
            for part in parts:
                part.close()

    def publish(self, without: Sequence[Path] = ()) -> None:
        """Write the index of a single-file store over the parts that are there."""
        if not self.is_folder:
            paths = [p for p in self.parts if p not in without]
            self._infos = {p: self._infos.get(p) or describe(p) for p in paths}
            publish_index(self.path, self.folder, list(self._infos.values()), self._fingerprint, self._channels)

    def finish(self) -> None:
        """Make one file of all parts (a folder: of those of this session)."""
        parts = self.parts
        if self.is_folder:
            empty = not parts
            parts = [p for p in parts if part_key(p.name)[0] == self._session]
            target = self.folder / part_name(self._session)
        else:
            target = self.path
            empty = _is_index(target)
        if parts or empty:
            self._merge(parts, target, keep_dropped=self.is_folder)
            _unlink(parts)

    def leave(self) -> None:
        """Remove the folder of parts if nothing is left in it."""
        if not self.is_folder and self.folder.is_dir() and not os.listdir(self.folder):
            self.folder.rmdir()


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def _is_index(path: Path) -> bool:
    try:
        part = Part(path)
    except StoreError:
        return True  # damaged: finished files are synced before they get their name
    part.close()
    return part.is_index
