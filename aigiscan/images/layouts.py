"""Folder layouts of labelled data sets: what the folders between a root and a file say of it.

Layout A: ``.../<generator>/{0_real,1_fake}``, also ``<generator>/<class>/{0_real,1_fake}``,
``<generator>/{train,val}/{nature,ai}`` and plain ``{real,fake}``. Layout B: ``real/`` beside one folder per generator,
at any depth.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aigiscan.errors import InputError
from aigiscan.images.manifest import parse_label, parse_split
from aigiscan.images.names import seen_from
from aigiscan.images.records import FAKE, REAL, ImageRecord

LAYOUTS = """one of these layouts is needed:
  ROOT/<generator>/{0_real,1_fake}/...           (or real|nature and fake|ai; also ROOT/<generator>/<class>/0_real)
  ROOT/{train,val,test}/<generator>/{real,fake}/...
  ROOT/{real,fake}/...                           (or ROOT/real/<source>/... and ROOT/fake/<generator>/...)
  ROOT/real/... beside ROOT/<generator>/...      (one folder per generator; also deeper, as ROOT/test/<set>/real/...)
  ROOT/manifest.csv                              (path,label,generator,family,group,split,caption,source)"""


class UnlabelledError(InputError):
    """Nothing in a folder or manifest says what is a photograph and what is generated."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lies: its label (None: no folder says), the folders above and below the label's folder (all of them
    above, where there is none) without those of splits, its split, and whether that is the folder right above the
    label's."""

    label: int | None
    above: tuple[str, ...]
    below: tuple[str, ...]
    split: str
    split_right_above: bool = False


#: folders of these names are as often anything else
_NO_FOLDERS = frozenset(["0", "1", "0.0", "1.0", "true", "false", "photo", "photos", "photograph", "photographs"])
#: taken for a label only where no clearer name is in the path: a generator may have classes ``human`` and ``natural``
_WEAK_FOLDERS = frozenset(
    ["human", "original", "originals", "natural", "authentic", "genuine", "generated", "synthetic"]
)


def place_of(folders: Sequence[str], is_split: Sequence[str] | None = None) -> Place:
    """Read the folders between the root and a file; the innermost folder with a label name decides.

    is_split: the split that each folder names, ``""`` for none; None: by its name alone.
    """
    splits = [parse_split(folder) for folder in folders] if is_split is None else is_split
    labels = [None if f.lower() in _NO_FOLDERS else parse_label(f) for f in folders]
    clear = [i for i, label in enumerate(labels) if label is not None and folders[i].lower() not in _WEAK_FOLDERS]
    at = max(clear or [i for i, label in enumerate(labels) if label is not None], default=len(folders))
    above = tuple(f for f, split in zip(folders[:at], splits, strict=False) if not split)
    below = tuple(f for f, split in zip(folders[at + 1 :], splits[at + 1 :], strict=True) if not split)
    split = next((s for i, s in enumerate(splits) if s and i != at), "")
    return Place(labels[at] if at < len(labels) else None, above, below, split, at > 0 and bool(splits[at - 1]))


class _Folders:
    """What the folders of a tree say, each read once. root: as it was walked."""

    def __init__(self, root: str, records: Iterable[ImageRecord]) -> None:
        known = {os.path.dirname(record.path) for record in records if record.path != root}
        parts_of = {folder: _parts(folder, root) for folder in known}
        # A folder called train beside one called airplane is a class of pictures, not a split.
        beside: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for parts in parts_of.values():
            for i, part in enumerate(parts):
                beside[parts[:i]].add(part)
        no_splits = {
            above
            for above, names in beside.items()
            if any(not parse_split(name) and parse_label(name) is None for name in names)
        }
        self._places = {
            folder: place_of(parts, ["" if parts[:i] in no_splits else parse_split(p) for i, p in enumerate(parts)])
            for folder, parts in parts_of.items()
        }

    def __getitem__(self, record: ImageRecord) -> Place:
        """What the folders between the root and the file say."""
        return self._places.get(os.path.dirname(record.path)) or Place(None, (), (), "")

    def places(self) -> list[Place]:
        """All that have a label."""
        return [place for place in self._places.values() if place.label is not None]


def _parts(folder: str, root: str) -> tuple[str, ...]:
    return tuple(part for part in Path(seen_from(folder, root)).parts if part != os.curdir)


def read_layout(root: str, records: list[ImageRecord]) -> list[ImageRecord]:
    """Records of a walk of ``root``, in their order → the same with label, generator, source, split and group.

    UnlabelledError: no image, or no folder that says what is what. InputError: a layout that cannot be read.
    """
    if not records:
        raise UnlabelledError(f"no images under {root}; {LAYOUTS}")
    folders = _Folders(root, records)
    labels = {place.label for place in folders.places()}
    if not labels:
        raise UnlabelledError(
            f"cannot tell the photographs of {root} from the generated images by its folders; {LAYOUTS}"
        )
    labelled = _layout_a(records, folders, root) if FAKE in labels else _layout_b(records, folders)
    return _pair(list(labelled))


def _layout_a(records: Iterable[ImageRecord], folders: _Folders, root: str) -> Iterator[tuple[ImageRecord, str]]:
    """Records of ``<generator>[/<class>]/{0_real,1_fake}``, each with the folder in which it may have a pair."""
    classes = _folders_of_classes(folders.places())
    for record in records:
        place = folders[record]
        if place.label is None:
            if record.error:  # a folder that could not be listed: no one knows what is in it
                yield record, ""
                continue
            raise InputError(f"{record.path} lies in no folder named real or fake; {LAYOUTS}")
        above = place.above
        if above[:-1] in classes:
            # the classes right below the root are those of the generator that the root is named after
            above = above[:-1] or (Path(os.path.abspath(root)).name,)
        origin = above[-1] if above else place.below[0] if place.below else ""
        generator = (origin or "unknown") if place.label == FAKE else ""
        source = generator or origin or "real"
        found = replace(record, label=place.label, generator=generator, source=source, split=place.split)
        yield found, "/".join(place.above)


#: how generators are called; a folder of such folders is a collection of them
_GENERATOR = re.compile(
    r"gan(?![a-z])|diff|^(sd|ldm|adm|dit|vq|dall|glide|flux|imagen(?!et)|midj|wukong|sora|kandinsky|pixart|ddp|ddim|ddgan)"
    r"|^deep_?fake|pndm|firefly|stable"
)
#: what ForenSynths' generators were trained on, one folder each (LSUN and ImageNet classes); a set of sets of them
# fmt: off
_CLASSES = frozenset([
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor", "bedroom", "church", "classroom",
    "conference_room", "dining_room", "kitchen", "living_room", "restaurant", "tower", "bridge", "apple", "orange",
    "zebra", "winter", "summer",
])
# fmt: on


def _folders_of_classes(places: Sequence[Place]) -> set[tuple[str, ...]]:
    """Folders whose subfolders are classes of one generator (``progan/car``), not generators (``wild/flux``).

    The two look alike but for this: a class has its own photographs and its own fakes; splits lie above classes
    (``progan/train/car``) and below generators (``flux/train/ai``); and both have their usual names. A folder all of
    whose labelled subfolders hold both labels is taken for a generator unless one of these speaks for a collection. The
    root is one only if all its folders are called like the classes of ForenSynths.
    """
    labels: dict[tuple[str, ...], set[int | None]] = defaultdict(set)
    for place in places:
        labels[place.above].add(place.label)
    generators = {place.above for place in places if place.split_right_above and place.above}
    children: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for above in labels:
        if above:
            children[above[:-1]].append(above)
    found = set()
    for folder, inner in children.items():
        if not all(len(labels[above]) == 2 for above in inner):
            continue
        names = [above[-1].lower() for above in inner]
        collection = any(map(_GENERATOR.search, names)) or (len(inner) > 1 and not generators.isdisjoint(inner))
        if all(name in _CLASSES for name in names) or (folder and not collection):
            found.add(folder)
    return found


def _layout_b(records: Iterable[ImageRecord], folders: _Folders) -> Iterator[tuple[ImageRecord, str]]:
    """As :func:`_layout_a` for ``real/`` beside one folder per generator, wherever such a ``real`` lies."""
    holding_real = {place.above for place in folders.places()}
    for record in records:
        place = folders[record]
        above = place.above
        if place.label == REAL:
            source = above[-1] if above else place.below[0] if place.below else "real"
            yield replace(record, label=REAL, source=source, split=place.split), ""
            continue
        at = next((i for i in range(len(above)) if above[:i] in holding_real), None)
        if at is not None:
            yield replace(record, label=FAKE, generator=above[at], source=above[at], split=place.split), ""
        elif record.error:
            yield record, ""
        else:
            raise InputError(f"{record.path} lies beside the folders, in none of them; {LAYOUTS}")


def _pair(labelled: list[tuple[ImageRecord, str]]) -> list[ImageRecord]:
    """Give a fake and the photograph of the same name one group, where every fake of the folder has such a partner.

    labelled: each record with the folder in which its partner would be.
    """
    names: dict[tuple[str, int | None], set[str]] = defaultdict(set)
    for record, folder in labelled:
        names[folder, record.label].add(Path(record.path).stem)
    pairs = {}
    for (folder, label), stems in names.items():
        if label == FAKE and stems <= names.get((folder, REAL), set()):
            pairs[folder] = stems
    return [
        replace(record, group=f"{folder}/{stem}" if folder else stem)
        if record.label is not None and (stem := Path(record.path).stem) in pairs.get(folder, ())
        else record
        for record, folder in labelled
    ]
