"""Labelled images from a folder layout (:mod:`aigiscan.images.layouts`), a manifest, or folders named one by one.

Whatever was read is told by :func:`what_was_found`: layouts can be mistaken, and a person must see it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aigiscan.errors import InputError
from aigiscan.images.find import by_path, find_images, one_of_each
from aigiscan.images.layouts import LAYOUTS, UnlabelledError, place_of, read_layout
from aigiscan.images.manifest import Manifest, parse_split
from aigiscan.images.names import Globs, seen_from
from aigiscan.images.records import FAKE, REAL, ImageRecord

MANIFEST_NAME = "manifest.csv"


def find_labelled(
    path: str | os.PathLike[str],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    both: bool = True,
    skipped: Counter[str] | None = None,
) -> list[ImageRecord]:
    """Every labelled image of a folder or CSV manifest, sorted by the bytes of the path.

    A ``manifest.csv`` in the folder is used if it has the columns ``path`` and ``label``. Set in each record:
    ``label``; ``generator`` ("" for photographs); ``source`` (the manifest's column, else of fakes the generator, of
    photographs the folder in which their ``0_real`` lies, else the folder's name); ``split`` ("train", "val", "test"
    from the manifest or a folder of that name, else ""); ``group`` (the manifest's; else, where every fake of a folder
    has a photograph of the same name, that name, for the two are a pair; "" means a group of its own); ``family`` and
    ``caption`` from the manifest. Files that cannot be listed keep their ``error``.

    include, exclude, skipped: as :func:`aigiscan.images.find.find_images`. both: photographs alone, or fakes alone, are
    an error.
    UnlabelledError: nothing says what is what. InputError: nothing there, a layout that cannot be read, an image whose
    label is unknown, or one class alone.
    """
    name = os.fspath(path)
    if not Path(name).exists():
        raise InputError(f"no such file or folder: {name}")
    globs = Globs(include, exclude)
    manifest = Manifest(name) if not Path(name).is_dir() else _manifest_in(name)
    if manifest is not None:
        records = _from_manifest(manifest, globs)
    else:
        records = read_layout(name, find_images([name], include=include, exclude=exclude, skipped=skipped))
    counts = Counter(record.label for record in records)
    if both and not (counts[REAL] and counts[FAKE]):
        missing = "photographs" if not counts[REAL] else "AI-generated images"
        raise InputError(f"{name} has no {missing} ({counts[REAL]} real, {counts[FAKE]} fake); {LAYOUTS}")
    return records


def label_folders(
    real: Sequence[str | os.PathLike[str]],
    fake: Sequence[str | os.PathLike[str]],
    *,
    skipped: Counter[str] | None = None,
) -> list[ImageRecord]:
    """Labelled images from folders (or files, lists, manifests) of photographs and of AI-generated images.

    A folder's own subfolders are the sources of photographs, or the generators of fakes; files that lie in it directly
    have the folder's name. What a manifest says of family, group, split and caption is kept; its labels have to agree.
    Sorted by the bytes of the path. Either may be empty. InputError: nothing found, the same file on both sides, or a
    manifest that says otherwise.
    """
    found: dict[str, ImageRecord] = {}
    for label, roots in ((REAL, real), (FAKE, fake)):
        for root in [os.fspath(one) for one in roots]:
            records = find_images([root], skipped=skipped)
            if not records:
                raise InputError(f"no image in {root}")
            for record in records:
                if record.label not in (None, label):
                    raise InputError(f"{root} calls {record.path} the other label than it is given for")
                other = found.setdefault(os.path.abspath(record.path), _of_folder(record, label, root))
                if other.label != label:
                    raise InputError(f"{record.path} is among the photographs and among the generated images")
    return sorted(found.values(), key=by_path)


def _of_folder(record: ImageRecord, label: int, root: str) -> ImageRecord:
    inside = Path(seen_from(record.path, root)).parts[:-1] if Path(root).is_dir() else ()
    named = next((part for part in inside if not parse_split(part)), "") or Path(os.path.abspath(root)).stem
    split = record.split or next((s for s in map(parse_split, inside) if s), "")
    generator = (record.generator or named) if label == FAKE else ""
    return replace(record, label=label, generator=generator, source=record.source or generator or named, split=split)


def what_was_found(records: Sequence[ImageRecord]) -> list[str]:
    """What labelled images were read as, for a person: counts, generators, families, sources, splits, pairs."""
    real = [record for record in records if record.label == REAL]
    fake = [record for record in records if record.label == FAKE]
    rest = len(records) - len(real) - len(fake)
    unknown = f", {rest} without a label" if rest else ""
    photographs = "1 photograph" if len(real) == 1 else f"{len(real)} photographs"
    lines = [f"{len(records)} images: {photographs}, {len(fake)} AI-generated{unknown}"]
    lines += _counted("photo source", Counter(r.source for r in real))
    lines += _counted("generator", Counter(r.generator for r in fake))
    for what, counts in (
        ("family", Counter(r.family for r in fake if r.family)),
        ("split", Counter(r.split for r in records if r.split)),
    ):
        lines += _counted(what, counts)
    pairs = Counter(r.group for r in records if r.group)
    if pairs:
        lines.append(f"groups that stay on one side of a split: {len(pairs)}, of {sum(pairs.values())} images")
    return lines


def _counted(what: str, counts: Counter[str], most: int = 8) -> list[str]:
    if not counts:
        return []
    shown = ", ".join(f"{name or '(none)'} {n}" for name, n in counts.most_common(most))
    several = {"family": "families"}.get(what, f"{what}s") if len(counts) > 1 else what
    return [f"{len(counts)} {several}: {shown}{', …' if len(counts) > most else ''}"]


def _manifest_in(folder: str) -> Manifest | None:
    path = os.path.join(folder, MANIFEST_NAME)
    manifest = Manifest(path) if Path(path).is_file() else None
    return manifest if manifest is not None and manifest.labelled else None


def _from_manifest(manifest: Manifest, globs: Globs) -> list[ImageRecord]:
    if not manifest.labelled:
        raise UnlabelledError(
            f"{manifest.path} has no columns 'path' and 'label' "
            f"(found: {', '.join(manifest.columns) or 'nothing'}); {LAYOUTS}"
        )
    folder = os.path.dirname(manifest.path)
    rows = list(manifest.records())
    if rows and all(record.label is None for _, record in rows):
        raise UnlabelledError(f"{manifest.path}: its column 'label' is empty; {LAYOUTS}")
    found = []
    for line, record in rows:
        if record.label is None:
            raise InputError(f"{manifest.path}, line {line}: {record.path} has no label (real or fake)")
        seen = seen_from(record.path, folder)
        if globs.keeps_listed(seen):
            found.append(_with_source(record, Path(seen).parts))
    return sorted(one_of_each(found), key=by_path)


def _with_source(record: ImageRecord, parts: Sequence[str]) -> ImageRecord:
    """The record with its source, and its generator if the manifest leaves it out. parts: the path below the root."""
    place = place_of(parts[:-1])
    above = place.above[-1] if place.label is not None and place.above else ""
    folder = parts[-2] if len(parts) > 1 else ""
    if record.label == FAKE:
        generator = record.generator or above or record.source or folder or "unknown"
        return replace(record, generator=generator, source=record.source or generator)
    return replace(record, generator="", source=record.source or above or folder or "real")


def split_by_group(
    groups: Sequence[str], labels: Sequence[int] | np.ndarray, fractions: Sequence[float], seed: int = 0
) -> np.ndarray:
    """Assign each image to one part, whole groups at a time → part index per image, (n,) int64.

    groups: "" means a group of its own. labels: whole numbers from 0 (a class, a generator, a source), each of them
    spread over the parts by the fractions as well as the groups allow; labels of one group each, taken together.
    fractions: one per part, positive, sum 1 (within 1e-6). The largest groups are placed first, each where most of
    its labels are still missing; the same seed gives the same answer.
    InputError: fractions that are none, or lengths that differ.
    """
    y = np.asarray(labels, dtype=np.int64)
    if len(groups) != len(y):
        raise InputError(f"{len(groups)} groups for {len(y)} labels")
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or not len(shares) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"fractions must be positive and sum to 1, not {list(fractions)}")
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[(group, -1) if group else ("", i)].append(i)
    rng = np.random.default_rng(seed)
    keys = sorted(members)
    order = rng.permutation(len(keys))
    order = order[np.argsort([-len(members[keys[k]]) for k in order], kind="stable")]
    n_labels = int(y.max(initial=0)) + 1
    missing = shares[:, None] * np.bincount(y, minlength=n_labels)[None, :]  # [parts, labels]
    parts = np.empty(len(y), dtype=np.int64)
    for k in order:
        rows = members[keys[k]]
        counts = np.bincount(y[rows], minlength=n_labels)
        # Relative to the part's size: else the largest part takes everything until the end. All parts miss a label's
        # first group alike; the part that misses most of all labels gets it, else the first one gets every small label.
        wanted = (missing @ counts) / shares
        part = int(np.argmax(np.where(wanted >= wanted.max() - 1e-9, missing.sum(axis=1) / shares, -np.inf)))
        parts[rows] = part
        missing[part] -= counts
    return parts
