"""CSV manifests: one row per image, what is known of it beside its path.

Columns by name, in any order, ``path`` alone being needed:
``path,label,generator,family,group,split,caption,source,twin``. Paths are relative to the manifest's folder. Commas,
semicolons or tabs; UTF-8, or UTF-16 with a byte order mark, as spreadsheets write them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import fields, replace

from aigiscan.errors import InputError
from aigiscan.images.lists import read_text
from aigiscan.images.names import on_disk
from aigiscan.images.records import FAKE, REAL, ImageRecord

MANIFEST_EXTENSIONS = frozenset([".csv", ".tsv"])
#: how data sets write the two labels, as folder names and in manifests (compared in lower case, ``-`` and spaces as _)
# fmt: off
REAL_NAMES = frozenset([
    "real", "0_real", "reals", "real_images", "real_image", "nature", "natural", "0", "0.0", "false", "photo", "photos",
    "photograph", "photographs", "human", "original", "originals", "authentic", "genuine", "not_ai", "non_ai",
])
FAKE_NAMES = frozenset([
    "fake", "1_fake", "fakes", "fake_images", "fake_image", "ai", "1", "1.0", "true", "generated", "ai_generated",
    "generated_images", "ai_images", "aigc", "synthetic", "synthetic_images",
])
# fmt: on
_LABELS = "use real or fake, 0 or 1, nature or ai, human or ai"
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
    name = text.strip().lower().replace("-", "_").replace(" ", "_")
    if name in REAL_NAMES:
        return REAL
    return FAKE if name in FAKE_NAMES else None


def parse_split(text: str) -> str:
    """``train``, ``val`` or ``test`` for the usual spellings of the three, else ``""``."""
    return _SPLITS.get(text.strip().lower(), "")


class Manifest:
    """A manifest's text. columns: its header in lower case. InputError: it cannot be read, or is no text."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._text = read_text(path, "manifest")
        header = self._text.split("\n", 1)[0]
        # that of the three which makes most of the header
        self._separator = max(",;\t", key=header.count)
        self.columns = [name.strip().lower() for name in next(self._rows(), (1, []))[1]]

    @property
    def labelled(self) -> bool:
        """Whether it has a column for labels."""
        return {"path", "label"} <= set(self.columns)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._separator)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise InputError(f"{self.path}, line {reader.line_num}: {error}") from error

    def records(self) -> Iterator[tuple[int, ImageRecord]]:
        """Line and record of each row; a file that is not there gets ``error``.

        InputError: no ``path`` column, a label that is neither, a row with too many fields, a NUL, or the same path
        with two labels.
        """
        if "path" not in self.columns:
            raise InputError(
                f"{self.path} has no column 'path' (found: {', '.join(self.columns) or 'nothing'}); "
                "a manifest starts with a line such as path,label,generator,family,group,split,caption"
            )
        folder = os.path.dirname(self.path)
        labels: dict[str, int | None] = {}
        rows = self._rows()
        next(rows)
        for line, row in rows:
            if not any(field.strip() for field in row):
                continue
            where = f"{self.path}, line {line}"
            if len(row) > len(self.columns):
                raise InputError(f"{where}: {len(row)} fields under {len(self.columns)} columns; quote commas")
            record = _record(dict(zip(self.columns, row, strict=False)), folder, where)
            if labels.setdefault(os.path.normpath(record.path), record.label) != record.label:
                raise InputError(f"{where}: the same path was given the other label before")
            yield line, record


def read_manifest(path: str) -> Iterator[ImageRecord]:
    """The rows of a manifest in its order; see :meth:`Manifest.records` for the errors."""
    return (record for _, record in Manifest(path).records())


_TEXTS = [field.name for field in fields(ImageRecord) if field.name not in ("path", "label", "error", "objects")]


def _record(row: dict[str, str], folder: str, where: str) -> ImageRecord:
    for column, value in row.items():
        if "\0" in value:
            raise InputError(f"{where}: a NUL character in column {column!r}")
    name = row["path"]
    if not name.strip():
        raise InputError(f"{where}: empty path")
    text = row.get("label", "").strip()
    label = parse_label(text)
    if text and label is None:
        raise InputError(f"{where}: label {text!r} is neither real nor fake ({_LABELS})")
    path = on_disk(os.path.join(folder, name))
    texts = {column: row.get(column, "").strip() for column in _TEXTS}
    record = ImageRecord(path, label, error="" if os.path.lexists(path) else "no such file", **texts)
    twin = os.path.abspath(on_disk(os.path.join(folder, record.twin))) if record.twin else ""
    return replace(record, split=parse_split(record.split) or record.split, twin=twin)
