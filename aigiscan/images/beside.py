"""What lies beside a picture and belongs to it: its caption, its objects, its twin.

Caption: the manifest's column ``caption``, else the text file ``photo.jpg.txt`` or ``photo.txt``. Objects: boxes with
the phrases they show, a JSON list in ``photo.jpg.json`` (or ``photo.json``)::

    [{"phrase": "a red car", "box": [x0, y0, x1, y1]}, ...]

in pixels of the upright picture (after the EXIF rotation), x to the right, y down, ``x0 < x1``, ``y0 < y1``. Twin: a
picture that a generator made from the caption (Saland's report, section 2.8): the manifest's column ``twin``, else the
file of the same stem in a folder.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aigiscan.errors import InputError
from aigiscan.files import reason, replacing
from aigiscan.images.records import ImageRecord

CAPTION, OBJECTS, TWIN = "caption", "objects", "twin"
#: a caption is a sentence; what is longer is another kind of file
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """One object of a picture. box: (x0, y0, x1, y1) in pixels, left, top, right, bottom."""

    phrase: str
    box: tuple[float, float, float, float]


def complete(records: Iterable[ImageRecord], wanted: Collection[str]) -> Iterator[ImageRecord]:
    """Records with the captions and objects that lie beside their files, where they have none yet.

    wanted: of ``caption`` and ``objects``; nothing else is looked for. A file that is there and cannot be used becomes
    the record's ``error``, with the file and the object's number. Nothing is opened twice.
    """
    if not {CAPTION, OBJECTS} & set(wanted):
        yield from records
        return
    for record in records:
        try:
            if CAPTION in wanted and not record.caption:
                record = replace(record, caption=read_caption(record.path))
            if OBJECTS in wanted and not record.objects:
                record = replace(record, objects=read_objects(record.path))
        except InputError as error:
            record = replace(record, error=record.error or str(error))
        yield record


def with_twins(records: Iterable[ImageRecord], folder: str | Path | None) -> Iterator[ImageRecord]:
    """Records with the file of the same stem below ``folder`` as ``twin``, where they have none yet.

    The place below the folder does not matter if the stem is there once; where it is there several times, the one
    whose path ends in most of the record's own folders counts. InputError if the folder has no picture.
    """
    if folder is None:
        yield from records
        return
    from aigiscan.images.find import find_images

    named: dict[str, list[str]] = {}
    for twin in find_images([os.fspath(folder)]):
        named.setdefault(Path(twin.path).stem, []).append(os.path.abspath(twin.path))
    if not named:
        raise InputError(f"--twins {folder}: no picture is there; give the folder of the generated twins")
    for record in records:
        found = named.get(Path(record.path).stem, ()) if not record.twin else ()
        yield replace(record, twin=max(found, key=lambda path: _shared(path, record.path))) if found else record


def _shared(a: str, b: str) -> int:
    """How many folders two paths have in common, counted from their ends."""
    pairs = zip(reversed(Path(a).parts[:-1]), reversed(Path(b).parts[:-1]), strict=False)
    count = 0
    for left, right in pairs:
        if left != right:
            break
        count += 1
    return count


def read_caption(path: str) -> str:
    """The caption in the text file beside a picture, its white space made single spaces; "" without such a file."""
    for name in _names(path, ".txt"):
        text = _read(name)
        if text is not None:
            return " ".join(text.split())
    return ""


def read_objects(path: str) -> str:
    """The objects in the JSON file beside a picture, as :func:`write` gives them back; "" without such a file.

    A ``photo.json`` that holds something else than a list (what downloaders leave) is none of ours.
    """
    own, by_stem = _names(path, ".json")
    text = _read(own)
    if text is not None:
        return as_json(parse_objects(text, own))
    text = _read(by_stem)
    if text is None or not text.lstrip().startswith("["):
        return ""
    return as_json(parse_objects(text, by_stem))


def parse_objects(text: str, where: str) -> tuple[Region, ...]:
    """The regions of a JSON list; InputError with ``where`` and the object's number for one that cannot be used."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise InputError(f'{where}: a list [{{"phrase": …, "box": [x0, y0, x1, y1]}}, …] is needed')
    return tuple(_region(entry, f"{where}, object {i}") for i, entry in enumerate(entries))


def _region(entry: Any, where: str) -> Region:
    phrase = entry.get("phrase") if isinstance(entry, dict) else None
    box = entry.get("box") if isinstance(entry, dict) else None
    if not isinstance(phrase, str) or not phrase.strip():
        raise InputError(f"{where}: no phrase")
    if not (isinstance(box, list) and len(box) == 4 and all(type(x) in (int, float) for x in box)):
        raise InputError(f"{where}: the box is not [x0, y0, x1, y1]")
    values = [_float(x) for x in box]
    if not all(map(math.isfinite, values)):
        raise InputError(f"{where}: the box has a number that is not finite")
    x0, y0, x1, y1 = values
    if x1 < x0 or y1 < y0:
        raise InputError(f"{where}: the box is reversed (x0 ≤ x1 and y0 ≤ y1 are needed)")
    if x1 == x0 or y1 == y0:
        raise InputError(f"{where}: the box is empty")
    return Region(" ".join(phrase.split()), (x0, y0, x1, y1))


def _float(value: float) -> float:
    try:
        return round(float(value), 2)
    except OverflowError:
        return math.inf


def check_inside(regions: Sequence[Region], size: tuple[int, int], where: str) -> None:
    """InputError with ``where`` and the number of the first box that leaves a picture of that (width, height)."""
    for i, region in enumerate(regions):
        x0, y0, x1, y1 = region.box
        if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
            raise InputError(
                f"{where}: object {i} ({region.phrase}) lies outside the picture of {size[0]}×{size[1]} pixels"
            )


def as_json(regions: Iterable[Region]) -> str:
    """Canonical JSON of regions, boxes to a hundredth of a pixel; :func:`parse_objects` gives the same regions."""
    entries = [{"phrase": region.phrase, "box": [round(float(x), 2) for x in region.box]} for region in regions]
    return json.dumps(entries, ensure_ascii=False)


def write(record: ImageRecord, wanted: Collection[str]) -> int:
    """Write a record's caption and objects into files beside the picture; returns how many.

    What lies there already is kept. InputError if a file cannot be written.
    """
    written = 0
    for kind, suffix, text in ((CAPTION, ".txt", record.caption), (OBJECTS, ".json", record.objects)):
        own, by_stem = _names(record.path, suffix)
        if kind not in wanted or not text or os.path.lexists(own):
            continue
        if os.path.lexists(by_stem) and (read_caption if kind == CAPTION else read_objects)(record.path):
            continue
        try:
            with replacing(Path(own), durable=False) as tmp:
                tmp.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{own} cannot be written: {reason(error)}") from error
        written += 1
    return written


def _names(path: str, suffix: str) -> tuple[str, str]:
    return path + suffix, str(Path(path).with_suffix(suffix))


def _read(path: str) -> str | None:
    """The text of a file, None without one."""
    try:
        if not Path(path).is_file():
            return None
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
    except ValueError:  # a NUL in the name, which a list may hold: the picture's own row says so
        return None
    if len(data) > MOST_BYTES:
        raise InputError(f"{path}: {MOST_BYTES} bytes are more than a caption or a list of objects")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
