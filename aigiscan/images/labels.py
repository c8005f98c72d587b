"""Labelled images from the folder layouts that exist in the wild, or from a manifest.

Layout A: ``.../<generator>/{0_real,1_fake}``, also ``<generator>/<class>/{0_real,1_fake}``,
``<generator>/{train,val}/{nature,ai}`` and plain ``{real,fake}``. Layout B: ``real/`` beside one folder per generator.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aigiscan.errors import InputError
from aigiscan.images.find import walk
from aigiscan.images.listing import Listing, one_of_each
from aigiscan.images.manifest import manifest_columns, parse_label, parse_split, read_manifest
from aigiscan.images.records import FAKE, REAL, ImageRecord

LAYOUTS = """one of these layouts is needed:
  ROOT/<generator>/{0_real,1_fake}/...           (or real|nature and fake|ai; also ROOT/<generator>/<class>/0_real)
  ROOT/{train,val,test}/<generator>/{real,fake}/...
  ROOT/{real,fake}/...                           (or ROOT/real/<source>/... and ROOT/fake/<generator>/...)
  ROOT/real/... beside ROOT/<generator>/...      (one folder per generator)
  ROOT/manifest.csv                              (path,label,generator,family,group,split,caption,source)"""

MANIFEST_NAME = "manifest.csv"


def find_labelled(path: str | os.PathLike[str]) -> list[ImageRecord]:
    """As :func:`list_labelled`, all in memory."""
    return list(list_labelled(path))


def list_labelled(path: str | os.PathLike[str]) -> Listing:
    """Every labelled image of a folder or CSV manifest, sorted by the bytes of the path.

    A ``manifest.csv`` in the folder is used if it has the columns ``path`` and ``label``. Set in each record:
    ``label``; ``generator`` ("" for photographs); ``source``, what is left out and weighted as one (the manifest's
    column if it is filled; else of fakes the generator, of photographs the folder in which their ``0_real`` lies, else
    the file's folder); ``split`` ("train", "val", "test" from
    the manifest or a folder of that name, else ""); ``group`` (the manifest's; else, where every fake of a folder has a
    photograph of the same name, that name, for the two are a pair; "" means a group of its own); ``family`` and
    ``caption`` from the manifest. Files that cannot be listed keep their ``error``.

    InputError: nothing there, a layout that cannot be read, an image whose label is unknown, or one class alone.
    Memory: the folders, and eight bytes for each image's name.
    """
    name = os.fspath(path)
    if not Path(name).exists():
        raise InputError(f"no such file or folder: {name}")
    if not Path(name).is_dir():
        records = _from_manifest(name)
    elif _is_manifest(os.path.join(name, MANIFEST_NAME)):
        records = _from_manifest(os.path.join(name, MANIFEST_NAME))
    else:
        records = _from_folder(name)
    counts = Counter(record.label for record in records)
    if not (counts[REAL] and counts[FAKE]):
        missing = "photographs" if not counts[REAL] else "AI-generated images"
        raise InputError(f"{name} has no {missing} ({counts[REAL]} real, {counts[FAKE]} fake); {LAYOUTS}")
    return records


def _is_manifest(path: str) -> bool:
    return Path(path).is_file() and {"path", "label"} <= set(manifest_columns(path))


def _from_manifest(path: str) -> Listing:
    columns = manifest_columns(path)
    if not {"path", "label"} <= set(columns):
        raise InputError(
            f"{path} has no columns 'path' and 'label' (found: {', '.join(columns) or 'nothing'}); {LAYOUTS}"
        )
    folder = os.path.dirname(path)

    def labelled() -> Iterator[ImageRecord]:
        for record in read_manifest(path):
            if record.label is None:
                raise InputError(f"{path}: {record.path} has no label (real or fake)")
            yield _with_source(record, Path(os.path.relpath(record.path, folder or ".")).parts)

    return one_of_each(labelled(), str, last=True)


def _with_source(record: ImageRecord, parts: Sequence[str]) -> ImageRecord:
    """The record with its source, and its generator if the manifest leaves it out. parts: the path below the root."""
    place = _place(parts[:-1])
    above = place.above[-1] if place is not None and place.above else ""
    folder = parts[-2] if len(parts) > 1 else ""
    if record.label == FAKE:
        generator = record.generator or above or record.source or folder or "unknown"
        return replace(record, generator=generator, source=record.source or generator)
    return replace(record, generator="", source=record.source or above or folder or "real")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file lies in layout A: its label, the folders above and below the label's (no split names), its split."""

    label: int
    above: tuple[str, ...]
    below: tuple[str, ...]
    split: str


def _place(folders: Sequence[str]) -> _Place | None:
    """Read the folders between the root and a file; the innermost folder with a label name decides."""
    for i in range(len(folders) - 1, -1, -1):
        # Folders named 0, 1, photo or photos are as often anything else.
        label = None if folders[i].lower() in _NOT_AS_FOLDERS else parse_label(folders[i])
        if label is None:
            continue
        around = [*folders[:i], *folders[i + 1 :]]
        splits = [parse_split(folder) for folder in around]
        above, below = (tuple(f for f in part if not parse_split(f)) for part in (folders[:i], folders[i + 1 :]))
        return _Place(label, above, below, next((s for s in splits if s), ""))
    return None


_NOT_AS_FOLDERS = frozenset(["0", "1", "photo", "photos"])


class _Folders:
    """What the folders of a tree say, each read once. root: as it was walked."""

    def __init__(self, root: str, records: Iterable[ImageRecord]) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[str, ...], _Place | None]] = {}
        for record in records:
            self[record]

    def __getitem__(self, record: ImageRecord) -> tuple[tuple[str, ...], _Place | None]:
        """The folders between the root and the file, and what they say."""
        folder = os.path.dirname(record.path)
        if folder not in self._known:
            parts = Path(os.path.relpath(record.path, self._root)).parts[:-1]
            self._known[folder] = parts, _place(parts)
        return self._known[folder]

    def places(self) -> list[_Place]:
        """All that say anything."""
        return [place for _, place in self._known.values() if place is not None]


def _from_folder(root: str) -> Listing:
    records = Listing(walk(root))
    if not records:
        raise InputError(f"no images under {root}; {LAYOUTS}")
    folders = _Folders(root, records)
    labels = {place.label for place in folders.places()}
    if not labels:
        raise InputError(f"cannot tell the photographs of {root} from the generated images by its folders; {LAYOUTS}")

    def labelled() -> Iterator[tuple[ImageRecord, str]]:
        return _layout_a(records, folders) if FAKE in labels else _layout_b(records, folders, root)

    return Listing(_pair(labelled))


def _layout_a(records: Iterable[ImageRecord], folders: _Folders) -> Iterator[tuple[ImageRecord, str]]:
    """Records of ``<generator>[/<class>]/{0_real,1_fake}``, each with the folder in which it may have a pair."""
    classes = _folders_of_classes(folders.places())
    for record in records:
        _, place = folders[record]
        if place is None:
            if record.error:  # a folder that could not be listed: no one knows what is in it
                yield record, ""
                continue
            raise InputError(f"{record.path} lies in no folder named real or fake; {LAYOUTS}")
        above = place.above[:-1] if place.above[:-1] in classes else place.above
        origin = above[-1] if above else place.below[0] if place.below else ""
        generator = (origin or "unknown") if place.label == FAKE else ""
        source = generator or origin or "real"
        found = replace(record, label=place.label, generator=generator, source=source, split=place.split)
        yield found, "/".join(place.above)


def _folders_of_classes(places: Sequence[_Place]) -> set[tuple[str, ...]]:
    """Folders whose subfolders are classes of one generator (``progan/car``), not generators (``wild/flux``).

    The two look alike but for this: a class has its own photographs and its own fakes. A folder all of whose labelled
    subfolders hold both is taken for a generator; the root never is, for its own name is not part of the data.
    """
    labels: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for place in places:
        labels[place.above].add(place.label)
    children: dict[tuple[str, ...], list[set[int]]] = defaultdict(list)
    for above, found in labels.items():
        children[above[:-1]].append(found)
    return {folder for folder, kinds in children.items() if folder and all(len(kind) == 2 for kind in kinds)}


def _layout_b(records: Iterable[ImageRecord], folders: _Folders, root: str) -> Iterator[tuple[ImageRecord, str]]:
    """As :func:`_layout_a` for ``real/`` beside one folder per generator, below a split folder if there is one."""
    for record in records:
        around, _ = folders[record]
        split = parse_split(around[0]) if around else ""
        below = around[1:] if split else around
        if not below:
            if record.error:
                yield record, ""
                continue
            raise InputError(f"{record.path} lies beside the folders, in none of them; {LAYOUTS}")
        place = _place(below)
        if place is not None and parse_label(below[0]) is None:
            raise InputError(f"{root} has photographs alone, in folders such as {'/'.join(below[:2])}; {LAYOUTS}")
        if place is not None:
            source = below[1] if len(below) > 1 else below[0]
            yield replace(record, label=REAL, source=source, split=split or place.split), ""
        else:
            inner = next((s for s in map(parse_split, below[1:]) if s), "")
            yield replace(record, label=FAKE, generator=below[0], source=below[0], split=split or inner), ""


def _pair(labelled: Callable[[], Iterator[tuple[ImageRecord, str]]]) -> Iterator[ImageRecord]:
    """Give a fake and the photograph of the same name one group, where every fake of the folder has such a partner.

    labelled: gives the records as often as it is asked, each with the folder in which its partner would be.
    """
    names: dict[str, tuple[array[int], array[int]]] = defaultdict(lambda: (array("q"), array("q")))
    for record, folder in labelled():
        if record.label is not None:
            # Python's own 64-bit hash: among a billion names two would meet with a chance of 3 %
            names[folder][record.label].append(hash(Path(record.path).stem))
    fakes = {}
    for folder, stems in names.items():
        real, fake = (np.unique(np.frombuffer(one, np.int64)) for one in stems)
        if len(fake) and np.isin(fake, real).all():
            fakes[folder] = fake
    names.clear()
    for record, folder in labelled():
        if record.label is not None and folder in fakes:
            stem = Path(record.path).stem
            i = int(np.searchsorted(fakes[folder], hash(stem)))
            if i < len(fakes[folder]) and fakes[folder][i] == hash(stem):
                record = replace(record, group=f"{folder}/{stem}" if folder else stem)
        yield record


def split_by_group(
    groups: Sequence[str], labels: Sequence[int] | np.ndarray, fractions: Sequence[float], seed: int = 0
) -> np.ndarray:
    """Assign each image to one part, whole groups at a time → part index per image, (n,) int64.

    groups: "" means a group of its own. labels: 0 or 1, balanced over the parts as well as the groups allow.
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
        # Relative to the part's size: else the largest part takes everything until the end.
        part = int(np.argmax((missing @ counts) / shares))
        parts[rows] = part
        missing[part] -= counts
    return parts
