"""Labelled images with their channels: what a detector is fitted on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.fingerprint import for_channels, how_to_get
from aigiscan.errors import FitError

if TYPE_CHECKING:
    from aigiscan.encoders.base import Encoder
    from aigiscan.images.records import FileFacts, ImageRecord
    from aigiscan.store import EmbeddingStore

#: a source with this many pictures counts fully; smaller ones by the root of their share (shared data README)
_FULL_SOURCE = 40
_TEXT_FIELDS = ("path", "generator", "family", "group", "source", "split", "format", "sha256")


@dataclass(frozen=True)
class FitTable:
    """n labelled images: text columns (n,) object arrays, ``label`` (n,) int8 in {0, 1}, channels (n, …).

    encoder: ``name`` and ``fingerprint`` of what made the channels.
    equalization: spec of what was done to every picture before it was encoded, "" for nothing.
    sides: (n,) shorter sides in pixels; None where they are not known.
    """

    label: np.ndarray
    text: Mapping[str, np.ndarray]
    channels: Mapping[str, np.ndarray]
    encoder: Mapping[str, Any]
    equalization: str = ""
    sides: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def sources(self) -> np.ndarray:
        """The unit of folds and weights, left out as a whole (n,) object: ``source``, else the name."""
        return np.where(self.text["source"] == "", self.names, self.text["source"])

    @property
    def names(self) -> np.ndarray:
        """What tables call an image by: the generator of a fake, the source of a photograph (n,) object."""
        named = np.where(self.label == 1, self.text["generator"], self.text["source"])
        return np.where(named == "", np.where(self.label == 1, "fake", "real"), named)

    @property
    def groups(self) -> np.ndarray:
        """What must stay on one side of a split (n,) object; an image without a group is its own."""
        return np.where(self.text["group"] == "", self.text["sha256"], self.text["group"])

    def select(self, index: np.ndarray) -> FitTable:
        """The rows of an index or boolean mask."""
        return FitTable(
            self.label[index],
            {k: v[index] for k, v in self.text.items()},
            {k: v[index] for k, v in self.channels.items()},
            self.encoder,
            self.equalization,
            None if self.sides is None else self.sides[index],
        )

    def summary(self) -> dict[str, Any]:
        """Counts and digest for the card; the digest is over sha256 and label of every image, order-free."""
        lines = sorted(f"{sha} {label}" for sha, label in zip(self.text["sha256"], self.label, strict=True))
        real, fake = self.label == 0, self.label == 1

        def counts(values: np.ndarray) -> dict[str, int]:
            return {str(k): n for k, n in sorted(Counter(values.tolist()).items())}

        return {
            "images": len(self),
            "real": int(real.sum()),
            "fake": int(fake.sum()),
            "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "generators": counts(self.names[fake]),
            "fake_sources": len(set(self.sources[fake].tolist())),
            "photo_sources": counts(self.sources[real]),
            "formats": {
                "real": counts(self.text["format"][real]),
                "fake": counts(self.text["format"][fake]),
            },
        }


def table_from_rows(
    rows: Iterable[tuple[ImageRecord, FileFacts, Mapping[str, np.ndarray]]],
    encoder: Encoder,
    equalization: str = "",
) -> FitTable:
    """Encoded, labelled images → table. Raises FitError if there is none."""
    kept = [row for row in rows if row[0].label is not None]
    if not kept:
        raise FitError("no labelled image could be read: nothing to fit on")
    records, facts, channels = zip(*kept, strict=True)
    names = list(channels[0])
    text = {
        name: [getattr(r, name) for r in records]
        for name in ("path", "generator", "family", "group", "source", "split")
    }
    text |= {name: [getattr(f, name) for f in facts] for name in ("format", "sha256")}
    return FitTable(
        np.asarray([r.label for r in records], dtype=np.int8),
        {name: np.asarray(values, dtype=object) for name, values in text.items()},
        {name: np.stack([row[name] for row in channels]) for name in names},
        encoder_entry(encoder.name, encoder.fingerprint()),
        equalization,
        np.array([min(f.width, f.height) for f in facts]),
    )


def table_from_store(store: EmbeddingStore, channels: Sequence[str] | None = None) -> FitTable:
    """The labelled rows of a store. Raises FitError if no row has a label or a channel is missing."""
    rows = store.rows
    labelled = np.flatnonzero(np.asarray(rows.label) >= 0)
    if labelled.size == 0:
        raise FitError(
            f"{store.path} has no labelled rows: embed a folder in one of the labelled layouts, or a manifest"
        )
    wanted = list(channels or ["embedding"])
    missing = [name for name in wanted if name not in store.channel_names]
    if missing:
        raise FitError(f"{store.path} has no channel {', '.join(missing)}{how_to_get(missing)}")
    fingerprint = for_channels(store.fingerprint, wanted)
    return FitTable(
        np.asarray(rows.label)[labelled].astype(np.int8),
        {name: np.asarray(getattr(rows, name), dtype=object)[labelled] for name in _TEXT_FIELDS},
        {name: store.read(name, rows=labelled) for name in wanted},
        encoder_entry(str(fingerprint["name"]), fingerprint),
        str(fingerprint.get("equalization", "")),
        np.minimum(rows.width, rows.height)[labelled],
    )


def concatenated(tables: Sequence[FitTable]) -> FitTable:
    """Tables of different pictures as one; a picture that several hold counts once.

    FitError unless all have one encoder, equalisation and set of channels.
    """
    first = tables[0]
    for other in tables[1:]:
        if other.encoder != first.encoder or set(other.channels) != set(first.channels):
            raise FitError("the data sets hold features of different encoders; embed them with one")
        if other.equalization != first.equalization:
            raise FitError(
                f"the data sets were equalised differently ({first.equalization or 'not'} and "
                f"{other.equalization or 'not'}); the same pictures under a second equalisation are given with --also"
            )
    sizes = [table.sides for table in tables]
    joined = FitTable(
        np.concatenate([table.label for table in tables]),
        {name: np.concatenate([table.text[name] for table in tables]) for name in first.text},
        {name: np.concatenate([table.channels[name] for table in tables]) for name in first.channels},
        first.encoder,
        first.equalization,
        None if any(size is None for size in sizes) else np.concatenate([size for size in sizes if size is not None]),
    )
    digests = joined.text["sha256"].astype(str)
    _, once = np.unique(np.where(digests == "", joined.text["path"].astype(str), digests), return_index=True)
    return joined if len(once) == len(joined) else joined.select(np.sort(once))


def aligned(table: FitTable, to: FitTable) -> FitTable:
    """The rows of a table in the order of another one of the same pictures; FitError if some are missing."""
    place = {sha: i for i, sha in enumerate(table.text["sha256"].tolist())}
    missing = [sha for sha in to.text["sha256"].tolist() if sha not in place]
    if missing:
        raise FitError(
            f"{len(missing)} of {len(to)} pictures are missing under equalisation {table.equalization or 'none'}: "
            "every equalisation needs the same pictures"
        )
    return table.select(np.array([place[sha] for sha in to.text["sha256"].tolist()], dtype=np.intp))


def encoder_entry(name: str, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """The card's ``encoder``: enough to make the encoder again and to compare it."""
    return {"name": name, "fingerprint": {k: v for k, v in fingerprint.items() if k != "equalization"}}


def sample_weights(label: np.ndarray, sources: np.ndarray, weighting: str) -> np.ndarray:
    """Weight of each image (n,), mean 1.

    ``source``: a source of n pictures weighs √(min(1, n/40)) in all, then both classes weigh the same, so that many
    small sources are heard beside a few large ones.
    """
    weights = np.ones(len(label), dtype=np.float64)
    if weighting == "source":
        for value in np.unique(label):
            for source in set(sources[label == value].tolist()):
                member = (label == value) & (sources == source)
                weights[member] = np.sqrt(min(1.0, member.sum() / _FULL_SOURCE)) / member.sum()
    elif weighting not in ("class", "none"):
        raise FitError(f"unknown weighting {weighting!r}: use source, class or none")
    if weighting != "none":
        for value in np.unique(label):
            weights[label == value] *= 0.5 / weights[label == value].sum()
    return weights * (len(label) / weights.sum())
