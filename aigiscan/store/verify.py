"""Whether a store is what was written: the content of every file against its digests, and rows against parts."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from aigiscan.errors import StoreError
from aigiscan.store import layout
from aigiscan.store.folder import Folder, list_parts
from aigiscan.store.part import Part
from aigiscan.store.reader import EmbeddingStore
from aigiscan.store.table import TABLE_NAME

_AGAIN = "move it away and run the same 'aigiscan embed' again: its images are encoded anew"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: the file, what, and what to do."""

    file: Path
    what: str
    advice: str


def verify(path: Path) -> Iterator[Finding]:
    """Read a store whole and tell what is wrong with it; nothing if all is well. StoreError if there is no store."""
    with EmbeddingStore(path) as store:
        files = [file for file in store.files if file.name != TABLE_NAME]
        folder = store.folder
        if store.unfinished:
            yield Finding(store.path, "a run was cut, or is going on", "run the same 'aigiscan embed' again")
        broken = set()
        for file in files:
            for what in _file_problems(file):
                broken.add(file.name)
                yield Finding(file, what, _AGAIN)
        if folder is not None:
            yield from _table_problems(folder, broken)


def _file_problems(file: Path) -> Iterator[str]:
    try:
        part = Part(file)
    except FileNotFoundError:
        yield "is missing"
        return
    except StoreError as error:
        yield str(error)
        return
    try:
        for name, digest in part.digests.items():
            if _digest(part.file[name]) != digest:
                yield f"{name} is not what was written"
    except (OSError, KeyError, RuntimeError) as error:  # what HDF5 says of structures it cannot follow
        yield f"cannot be read: {str(error).splitlines()[0]}"
    finally:
        part.close()


def _digest(dataset: h5py.Dataset) -> str:
    digest = hashlib.sha256()
    if "/" in dataset.name[1:]:
        for start in range(0, len(dataset), layout.TABLE_BLOCK):
            digest.update(layout.content(dataset[start : start + layout.TABLE_BLOCK]))
    else:
        for place in layout.channel_blocks(dataset):
            digest.update(layout.content(dataset[place]))
    return digest.hexdigest()


def _table_problems(folder: Folder, broken: set[str]) -> Iterator[Finding]:
    table = folder.path / TABLE_NAME
    try:
        (state,) = folder.table.sql.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        state = str(error)
    if state != "ok":
        yield Finding(table, f"is damaged: {state}", "move it away and embed again: rows come back from the parts")
        return
    for number, (name, *_) in folder.table.parts().items():
        if name in broken:
            continue
        part = Part(folder.path / name)
        contents = [value for block in part.column("sha256") for value in block]
        part.close()
        rows = folder.table.sql.execute("SELECT place, sha256 FROM rows WHERE part = ?", (number,))
        wrong = sum(not (0 <= place < len(contents) and contents[place] == sha256) for place, sha256 in rows)
        if wrong:
            yield Finding(folder.path / name, f"{wrong} rows of {TABLE_NAME} are not those of this part", _AGAIN)
    known = {name for name, *_ in folder.table.all_parts().values()}
    for name in sorted(set(list_parts(folder.path)) - known):
        yield Finding(folder.path / name, f"is not named in {TABLE_NAME}", "the next 'aigiscan embed' takes it over")
