"""CSV manifests: one row per image, what is known of it beside its path.

Columns by name, in any order, ``path`` alone being needed:
``path,label,generator,family,group,split,caption,source,twin``. Paths are relative to the manifest's folder.
"""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator

import numpy as np

from aigiscan.errors import InputError
from aigiscan.files import reason
from aigiscan.images.records import FAKE, REAL, ImageRecord

#: how data sets write the two labels, as folder names and in manifests (compared in lower case)
REAL_NAMES = frozenset(["real", "0_real", "nature", "0", "reals", "photo", "photos"])
FAKE_NAMES = frozenset(["fake", "1_fake", "ai", "1", "fakes", "generated", "synthetic"])

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def parse_label(text: str) -> int | None:
    """0 real, 1 fake, None if it is neither."""
    name = text.strip().lower()
    if name in REAL_NAMES:
        return REAL
    return FAKE if name in FAKE_NAMES else None


def parse_split(text: str) -> str:
    """``train``, ``val`` or ``test`` for the usual spellings of the three, else ``""``."""
    return _SPLITS.get(text.strip().lower(), "")


def manifest_columns(path: str) -> list[str]:
    """The header of a CSV file, in lower case; InputError if it cannot be read as one."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            return [name.strip().lower() for name in next(csv.reader(file), [])]
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read the manifest {path}: {_why(error)}") from error


def read_manifest(path: str) -> Iterator[ImageRecord]:
    """The rows of a manifest in its order; a file that is not there gets ``error``.

    InputError: no ``path`` column, a label that is neither, a row with too many fields, text that is not CSV, or the
    same path with two labels.
    """
    header = manifest_columns(path)
    if "path" not in header:
        raise InputError(
            f"{path} has no column 'path' (found: {', '.join(header) or 'nothing'}); "
            "a manifest starts with a line such as path,label,generator,family,group,split,caption"
        )
    # Eight bytes a row, not the path: Python's own hash, of which two paths that share it are looked at again.
    hashes, labels = array("q"), array("b")
    for record, _ in _records(path, header):
        hashes.append(hash(record.path))
        labels.append(-1 if record.label is None else record.label)
        yield record
    suspects = _with_two_labels(np.frombuffer(hashes, np.int64), np.frombuffer(labels, np.int8))
    if suspects:
        _check_labels(path, header, suspects)


def _records(path: str, header: list[str]) -> Iterator[tuple[ImageRecord, str]]:
    """Each row's record, and where the row is."""
    folder = os.path.dirname(path)
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file)
            next(reader)
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(fields) > len(header):
                    raise InputError(f"{where}: {len(fields)} fields under {len(header)} columns; quote commas")
                yield _record(dict(zip(header, fields, strict=False)), folder, where), where
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read the manifest {path}: {_why(error)}") from error


def _with_two_labels(hashes: np.ndarray, labels: np.ndarray) -> set[int]:
    order = np.argsort(hashes, kind="stable")
    hashes, labels = hashes[order], labels[order]
    different = (hashes[1:] == hashes[:-1]) & (labels[1:] != labels[:-1])
    return set(hashes[1:][different].tolist())


def _check_labels(path: str, header: list[str], suspects: set[int]) -> None:
    given: dict[str, int | None] = {}
    for record, where in _records(path, header):
        if hash(record.path) in suspects and given.setdefault(record.path, record.label) != record.label:
            raise InputError(f"{where}: the same path was given the other label before")


def _record(row: dict[str, str], folder: str, where: str) -> ImageRecord:
    name = row["path"]
    if not name.strip():
        raise InputError(f"{where}: empty path")
    text = row.get("label", "").strip()
    label = parse_label(text)
    if text and label is None:
        raise InputError(f"{where}: label {text!r} is neither real nor fake (use real/fake, 0/1 or nature/ai)")
    path = os.path.join(folder, name)
    split = row.get("split", "").strip()
    return ImageRecord(
        path=path,
        label=label,
        generator=row.get("generator", "").strip(),
        family=row.get("family", "").strip(),
        group=row.get("group", "").strip(),
        split=parse_split(split) or split,
        caption=row.get("caption", "").strip(),
        source=row.get("source", "").strip(),
        twin=os.path.join(folder, row["twin"]) if row.get("twin", "").strip() else "",
        error="" if "\0" in path or os.path.lexists(path) else "no such file",
    )


def _why(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
