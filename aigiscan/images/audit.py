"""Is there a shorter way to the label than the pixels? Asked of a data set before anything is fitted on it.

Three questions: do file facts alone give the label away (Gaintseva et al. and every benchmark with PNG fakes and JPEG
photographs), are there copies on both sides of a split, and does a generator repeat itself (Saland, section 2.4 and
figure 9, removed 4 of 15 and 16 of 32 generators for that; there by eye, here by perceptual hash).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aigiscan.images.labels import split_by_group
from aigiscan.images.measure import Measured
from aigiscan.images.near import near_components
from aigiscan.images.records import FAKE, REAL
from aigiscan.metrics import auc

#: above this AUC a fact is worth a finding, if it is also this many standard errors above chance: six facts of 200 to
#: 300 files with no relation to the label reached 0.65 (4.5 standard errors) in 2 of 12 draws
TELLING_AUC = 0.65
_TELLING_ERRORS = 5.0
#: bits of 64 in which re-encoded copies of one picture differ at most
DUPLICATE_BITS = 4
#: bits within which two images of one generator count as a repetition. On 62 generators the share of images with such
#: a neighbour was 0.46 for faces on one studio background, at most 0.42 where whole images recurred, else below 0.1
REPETITION_BITS = 8
REPETITIVE_SHARE = 0.2
_FEWEST = 10
#: files that the AUCs are estimated on: their standard error is then below 0.006, whatever the data
_MOST = 10_000
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class FactAUC:
    """How well one file fact alone tells the label: cross-validated AUC of small trees (0.5 nothing, 1 everything).

    Figures below 0.5 are given as 0.5. ``auc`` is NaN where either class has fewer than ten files with that fact.
    """

    name: str
    auc: float
    n_real: int
    n_fake: int

    @property
    def tells(self) -> bool:
        """Whether the figure is high enough, for this number of files, to speak of."""
        if np.isnan(self.auc):
            return False
        chance_error = ((self.n_real + self.n_fake + 1) / (12 * self.n_real * self.n_fake)) ** 0.5  # Mann-Whitney
        return self.auc >= max(TELLING_AUC, 0.5 + _TELLING_ERRORS * chance_error)


@dataclass(frozen=True, slots=True)
class DuplicateSet:
    """Files that are the same picture. kind: "identical" (sha256) or "near" (perceptual hash).

    crosses: what the copies differ in, out of "label", "split", "group"; a fit on one then sees the other.
    """

    kind: str
    paths: tuple[str, ...]
    crosses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repetition:
    """Share of a generator's images (0..1) that have a near-duplicate among its other images."""

    generator: str
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; ``findings`` says in words what a person should know, worst first; empty if all is well."""

    facts: tuple[FactAUC, ...]
    duplicates: tuple[DuplicateSet, ...]
    repetition: tuple[Repetition, ...]
    findings: tuple[str, ...]

    @property
    def worst_auc(self) -> float:
        """The highest AUC of any fact; NaN if none could be computed."""
        known = [fact.auc for fact in self.facts if not np.isnan(fact.auc)]
        return max(known, default=float("nan"))


def audit(items: Sequence[Measured], *, seed: int = 0) -> Audit:
    """Audit labelled files; unreadable and unlabelled ones are left out.

    Items without ``tables`` or ``phash`` (made from a store's rows as ``Measured(record, facts)``) are audited without
    the questions that need them. Same items and seed, same answer.
    """
    used = [m for m in items if not m.error and m.record.label in (REAL, FAKE) and m.facts.width and m.facts.height]
    facts = tuple(_fact_aucs(used, seed))
    duplicates = tuple(find_duplicates(used))
    repetition = tuple(find_repetition(used))
    findings = (*_say_facts(facts, used), *_say_duplicates(duplicates), *_say_repetition(repetition))
    return Audit(facts, duplicates, repetition, findings)


# ---------------------------------------------------------------------------------------------------- file facts


def _formats(items: Sequence[Measured]) -> np.ndarray:
    names = sorted({m.facts.format for m in items})
    return np.array([[m.facts.format == name for name in names] for m in items], dtype=np.float64)


def _sizes(items: Sequence[Measured]) -> np.ndarray:
    return np.array([[m.facts.width, m.facts.height, m.facts.width * m.facts.height] for m in items], dtype=np.float64)


def _aspects(items: Sequence[Measured]) -> np.ndarray:
    ratio = np.array([m.facts.width / m.facts.height for m in items])
    return np.stack([ratio, np.maximum(ratio, 1 / ratio)], axis=1)


def _density(items: Sequence[Measured]) -> np.ndarray:
    return np.array([[m.facts.bytes / (m.facts.width * m.facts.height)] for m in items])


def _tables(items: Sequence[Measured]) -> np.ndarray:
    return np.array([m.tables for m in items], dtype=np.float64)  # [n, 128]


def _together(items: Sequence[Measured]) -> np.ndarray:
    # Of the tables their sums: a quality, zero for files without.
    quality = np.array([[sum(m.tables[:64]), sum(m.tables[64:])] for m in items], dtype=np.float64)
    return np.concatenate([_formats(items), _sizes(items), _aspects(items), _density(items), quality], axis=1)


_FACTS: tuple[tuple[str, Callable[[Sequence[Measured]], np.ndarray]], ...] = (
    ("format", _formats),
    ("size", _sizes),
    ("aspect ratio", _aspects),
    ("bytes per pixel", _density),
    ("JPEG tables", _tables),
    ("all file facts together", _together),
)


def _fact_aucs(items: Sequence[Measured], seed: int) -> list[FactAUC]:
    result = []
    if len(items) > _MOST:
        chosen = np.random.default_rng(seed).choice(len(items), _MOST, replace=False)
        items = [items[i] for i in np.sort(chosen)]
    for name, columns in _FACTS:
        # Only JPEG files have tables; that the others have none is already told by the format.
        having = [m for m in items if m.tables] if columns is _tables else list(items)
        if columns is _tables and not having:
            continue
        labels = np.array([m.record.label for m in having], dtype=np.int64)
        groups = [m.record.group for m in having]
        n_real, n_fake = int((labels == REAL).sum()), int((labels == FAKE).sum())
        enough = min(n_real, n_fake) >= _FEWEST
        # Below one half a fact told nothing: what leaves a fold raises the other label's share in the rest.
        told = max(0.5, cross_validated_auc(columns(having), labels, groups, seed)) if enough else float("nan")
        result.append(FactAUC(name, told, n_real, n_fake))
    return result


def cross_validated_auc(columns: np.ndarray, labels: np.ndarray, groups: Sequence[str], seed: int = 0) -> float:
    """AUC of small decision trees on (n, d) columns, each image scored by trees that saw none of its group.

    NaN if no fold can be fitted (too few groups of a class).
    """
    from sklearn.ensemble import ExtraTreesClassifier

    folds = split_by_group(groups, labels, [1 / _FOLDS] * _FOLDS, seed)
    scores = np.full(len(labels), np.nan)
    for fold in range(_FOLDS):
        test = folds == fold
        if not test.any() or len(np.unique(labels[~test])) < 2:
            continue
        trees = ExtraTreesClassifier(
            8, max_depth=12, min_samples_leaf=3, class_weight="balanced", random_state=seed, max_features=None
        )
        scores[test] = trees.fit(columns[~test], labels[~test]).predict_proba(columns[test])[:, 1]
    scored = ~np.isnan(scores)
    return auc(labels[scored], scores[scored])


def byte_count_floor(labels: Sequence[int] | np.ndarray, byte_counts: Sequence[int] | np.ndarray) -> float:
    """AUC (0.5..1, whichever direction) that the JPEG byte count after equalisation alone reaches.

    Byte counts from :func:`aigiscan.images.measure.equalized_bytes`: what is left of file facts when every image had
    the same crop, size and quality is how busy its content is. Any detector's AUC is to be read beside this floor.
    NaN for one class alone.
    """
    found = auc(labels, byte_counts)
    return max(found, 1 - found)


# ---------------------------------------------------------------------------------------------------- copies


def find_duplicates(items: Sequence[Measured]) -> list[DuplicateSet]:
    """Sets of at least two copies, identical ones first; near ones are compared by perceptual hash."""
    by_hash: dict[str, list[Measured]] = defaultdict(list)
    for m in items:
        if m.facts.sha256:
            by_hash[m.facts.sha256].append(m)
    sets = [_duplicate_set("identical", found) for found in by_hash.values() if len(found) > 1]
    hashed = [m for m in items if m.phash is not None]
    components = near_components(_hashes(hashed), DUPLICATE_BITS)
    near: dict[int, list[Measured]] = defaultdict(list)
    for m, number in zip(hashed, components, strict=True):
        near[int(number)].append(m)
    for found in near.values():
        if len({m.facts.sha256 or m.record.path for m in found}) > 1:
            sets.append(_duplicate_set("near", found))
    return sets


def _hashes(items: Sequence[Measured]) -> np.ndarray:
    return np.array([m.phash for m in items], dtype=np.uint64)


def _duplicate_set(kind: str, items: Sequence[Measured]) -> DuplicateSet:
    records = [m.record for m in items]
    crosses = []
    if len({r.label for r in records}) > 1:
        crosses.append("label")
    if len({r.split for r in records}) > 1:
        crosses.append("split")
    if len({r.group or r.path for r in records}) > 1:  # without a group each file may go to a side of its own
        crosses.append("group")
    return DuplicateSet(kind, tuple(sorted(r.path for r in records)), tuple(crosses))


def find_repetition(items: Sequence[Measured]) -> list[Repetition]:
    """Share of near-duplicates within each generator of at least ten images, most repetitive first."""
    fakes = [m for m in items if m.phash is not None and m.record.label == FAKE and m.record.generator]
    names = sorted({m.record.generator for m in fakes})
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.array([code_of[m.record.generator] for m in fakes], dtype=np.int64)
    components = near_components(_hashes(fakes), REPETITION_BITS, within=codes)
    sizes = np.bincount(components) if len(components) else np.zeros(0, np.int64)
    result = []
    for code, name in enumerate(names):
        mine = components[codes == code]
        if len(mine) >= _FEWEST:
            result.append(Repetition(name, len(mine), float((sizes[mine] > 1).mean())))
    return sorted(result, key=lambda r: (-r.share, r.generator))


# ---------------------------------------------------------------------------------------------------- in words


def _say_facts(facts: Sequence[FactAUC], items: Sequence[Measured]) -> list[str]:
    telling = sorted((f for f in facts if f.tells), key=lambda f: -f.auc)
    said = [f"{_subject(f)} alone {_verb(f)} the label with AUC {f.auc:.2f}" for f in telling]
    if telling:
        said.append(
            "a detector fitted on these files as they are may learn this and nothing else: "
            "fit with --equalize square:224,jpeg:75"
        )
    kinds = Counter((m.facts.format, m.record.label) for m in items)
    for name in sorted({name for name, _ in kinds}):
        real, fake = kinds[name, REAL], kinds[name, FAKE]
        if real + fake >= _FEWEST and min(real, fake) == 0:
            said.append(f"all {real + fake} {name} files are {'generated' if fake else 'photographs'}")
    return said


def _subject(fact: FactAUC) -> str:
    if fact.name == "JPEG tables":
        return f"JPEG tables (of {fact.n_real + fact.n_fake} JPEG files)"
    return (
        fact.name if "together" in fact.name else f"file {fact.name}" if fact.name in ("format", "size") else fact.name
    )


def _verb(fact: FactAUC) -> str:
    return "tell" if fact.name in ("JPEG tables", "bytes per pixel") or "together" in fact.name else "tells"


def _say_duplicates(duplicates: Sequence[DuplicateSet]) -> list[str]:
    said = []
    for kind, word in (("identical", "identical files"), ("near", "nearly identical images")):
        sets = [d for d in duplicates if d.kind == kind]
        if not sets:
            continue
        crossing = Counter(what for d in sets for what in d.crosses)
        where = ", ".join(f"{crossing[what]} across {what}s" for what in ("label", "split", "group") if crossing[what])
        example = sets[0].paths
        said.append(
            f"{len(sets)} sets of {word} ({sum(len(d.paths) for d in sets)} files{'; ' + where if where else ''}), "
            f"e.g. {example[0]} and {example[1]}"
        )
    return said


def _say_repetition(repetition: Sequence[Repetition]) -> list[str]:
    return [
        f"generator {r.generator} repeats itself: {r.share:.0%} of its {r.n} images have a near-duplicate among them"
        for r in repetition
        if r.share >= REPETITIVE_SHARE
    ]
