"""What ``evaluate`` works on: stores and folders as tables, classifiers as candidates, detectors' scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.cli import console
from aigiscan.errors import FitError, InputError

if TYPE_CHECKING:
    from aigiscan.detector.calibration import Calibration
    from aigiscan.detector.detector import Detector
    from aigiscan.detector.table import FitTable
    from aigiscan.encoders.base import Encoder
    from aigiscan.evaluation.candidate import Candidate
    from aigiscan.features.base import FeatureView
    from aigiscan.images.records import FileFacts, ImageRecord
    from aigiscan.runner import Encoded


@dataclass(frozen=True)
class Inputs:
    """Labelled images of one store or folder. table: None where only finished detectors judge pictures.

    records, facts: of the same images in the same order, labelled ones alone. store: its path, "" for a folder.
    """

    name: str
    records: list[ImageRecord]
    facts: list[FileFacts]
    table: FitTable | None
    families: dict[str, str]
    store: str = ""

    @property
    def labels(self) -> np.ndarray:
        """(n,) 0 real, 1 fake."""
        return np.array([record.label for record in self.records], dtype=np.int8)

    @property
    def names(self) -> np.ndarray:
        """(n,) the generator of a fake, the source of a photograph."""
        return np.array([_name(record) for record in self.records], dtype=str)

    @property
    def units(self) -> np.ndarray:
        """(n,) what is left out, and drawn again, as one: the source, which may hold several generators."""
        return np.array([record.source or _name(record) for record in self.records], dtype=str)

    @property
    def groups(self) -> np.ndarray:
        """(n,) what stays on one side; an image without a group is its own."""
        return np.array([record.group or f"file {record.path}" for record in self.records], dtype=str)

    def fitting_table(self) -> FitTable:
        """The table; FitError where there is none."""
        if self.table is None:
            raise FitError(f"{self.name} was not embedded; leave out --detector to fit on it")
        return self.table


@dataclass(frozen=True)
class Entry:
    """A candidate, and the images and the view it is made from."""

    given: Inputs
    view: FeatureView
    candidate: Candidate


def _name(record: ImageRecord) -> str:
    if record.label == 1:
        return record.generator or "fake"
    return record.source or "real"


def load_inputs(
    given: Sequence[str | list[ImageRecord]],
    encoders: Sequence[str],
    equalize: str,
    channels: Sequence[str],
    families: Path | None,
    running: dict[str, Any],
    *,
    embed: bool,
) -> list[Inputs]:
    """Stores as they are; folders and labelled pictures once per encoder, or, where ``embed`` is off, not at all."""
    from aigiscan.classifiers.multiclass import load_families
    from aigiscan.store import is_store

    given_families = load_families(families) if families else {}
    found: list[Inputs] = []
    for one in given:
        if isinstance(one, str) and is_store(one):
            if equalize:
                raise InputError(
                    "--equalize works on pictures; a store holds embeddings: use `aigiscan embed --equalize`"
                )
            found.append(_from_store(one, channels, given_families))
        elif embed:
            found += [_embedded(one, encoder, equalize, channels, given_families, running) for encoder in encoders]
        else:
            found.append(_unembedded(one, given_families))
    names = [given.name for given in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two inputs are called {name}; rename one, their tables would overwrite each other")
    return found


def _families(records: Sequence[ImageRecord], given: dict[str, str]) -> dict[str, str]:
    known = {_name(r): r.family for r in records if r.label == 1 and r.family}
    return {**known, **given}


def _from_store(path: str, channels: Sequence[str], families: dict[str, str]) -> Inputs:
    from aigiscan.detector.table import table_from_store
    from aigiscan.store import EmbeddingStore

    with EmbeddingStore(path) as store:
        labelled = np.flatnonzero(np.asarray(store.rows.label) >= 0)
        records = [store.rows.record(int(i)) for i in labelled]
        facts = [store.rows.facts(int(i)) for i in labelled]
        table = table_from_store(store, list(channels))
    return Inputs(Path(path).stem, records, facts, table, _families(records, families), str(path))


def _embedded(
    given: str | list[ImageRecord],
    encoder_name: str,
    equalize: str,
    channels: Sequence[str],
    families: dict[str, str],
    running: dict[str, Any],
) -> Inputs:
    from aigiscan.cli.tables import embed_labelled
    from aigiscan.encoders import create_encoder
    from aigiscan.encoders.base import EncoderOptions, captures
    from aigiscan.encoders.fingerprint import how_to_get

    encoder = create_encoder(encoder_name, EncoderOptions(device=running["device"], **captures(channels)))
    if missing := sorted(set(channels) - encoder.channels().keys()):
        raise InputError(f"{_called(given)}: {encoder.name} gives no {', '.join(missing)}{how_to_get(missing)}")
    records, facts, table = embed_labelled(given, encoder, equalize, running)
    name = f"{_called(given)} {encoder.name}"
    return Inputs(name, records, facts, table, _families(records, families))


def _called(given: str | list[ImageRecord]) -> str:
    return (Path(given).name if isinstance(given, str) else "") or "images"


def _unembedded(given: str | list[ImageRecord], families: dict[str, str]) -> Inputs:
    from aigiscan.images.labels import find_labelled
    from aigiscan.images.records import FileFacts

    records = find_labelled(given, both=False) if isinstance(given, str) else given
    console.note_labels(given if isinstance(given, str) else "the folders given", records)
    facts = [FileFacts() for _ in records]
    return Inputs(_called(given), records, facts, None, _families(records, families))


def make_entries(
    inputs: Sequence[Inputs],
    classifiers: Sequence[str],
    params: Sequence[str],
    features: Sequence[str],
    families: Path | None,
) -> list[Entry]:
    """Every input × feature view × classifier, named by what differs."""
    from aigiscan.classifiers import classifier_class, make_classifier
    from aigiscan.classifiers.multiclass import load_families
    from aigiscan.cli.tables import parse_params, text_features
    from aigiscan.evaluation.candidate import Candidate
    from aigiscan.features import parse_view

    given_params = parse_params(params)
    entries = []
    for given in inputs:
        table = given.fitting_table()
        for feature in features:
            view = parse_view(feature, table.encoder["fingerprint"])
            for classifier in classifiers:
                accepted = classifier_class(classifier)._get_param_names()
                chosen = {k: v for k, v in given_params.items() if len(classifiers) == 1 or k in accepted}
                if families and "families" in accepted:
                    chosen["families"] = load_families(families)
                make = partial(make_classifier, classifier, **chosen)
                parts = [
                    given.name if len(inputs) > 1 else "",
                    feature if len(features) > 1 else "",
                    classifier if len(classifiers) > 1 or (len(inputs) == 1 and len(features) == 1) else "",
                ]
                name = " ".join(part for part in parts if part)
                candidate = Candidate.of(name, table, view, make, text_features(make(), table))
                candidate = replace(candidate, families=given.families)
                entries.append(Entry(given, view, candidate))
    return entries


def make_encoder(given: Inputs, running: dict[str, Any]) -> Encoder:
    """The encoder that made an input's table, to embed perturbed images with."""
    from aigiscan.encoders import encoder_from_fingerprint
    from aigiscan.encoders.base import captures

    table = given.fitting_table()
    captured = captures(table.channels)
    return encoder_from_fingerprint(table.encoder["fingerprint"], device=running["device"], **captured)


def perturbed_channels(
    given: Inputs, rows: np.ndarray, encoder: Encoder, steps: dict[str, tuple[str, str]], running: dict[str, Any]
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """name → (perturbation, equalization) → channels of the images that could be read under all of them.

    Returns their row numbers and, per name, channel → (n, …). InputError if none could be read.
    """
    from aigiscan.evaluation.robustness import perturbed

    records = [given.records[int(i)] for i in rows]
    options = {"batch_size": running["batch_size"], "workers": running["workers"]}
    streams = chain.from_iterable(
        perturbed(records, encoder, perturbation, equalization, **options)
        for perturbation, equalization in steps.values()
    )
    rows_of_all = console.track(streams, total=len(steps) * len(records), description=f"perturb {given.name}")
    encoded = {name: list(islice(rows_of_all, len(records))) for name in steps}
    fine = np.array([all(found[i].channels is not None for found in encoded.values()) for i in range(len(records))])
    if not fine.any():
        first = next(found[0].error for found in encoded.values())
        raise InputError(f"none of the images of {given.name} can be read from here ({first}); run where the files are")
    if not fine.all():
        console.warn(f"{int((~fine).sum())} of {len(records)} images could not be read and are left out")
    kept = np.flatnonzero(fine)
    channels = {
        name: {c: np.stack([(found[i].channels or {})[c] for i in kept]) for c in found[kept[0]].channels or {}}
        for name, found in encoded.items()
    }
    return np.asarray(rows)[kept], channels


def without_jpeg(equalization: str) -> str:
    """The steps of an equalisation other than re-encoding."""
    return ",".join(step for step in equalization.split(",") if step and not step.startswith("jpeg:"))


@dataclass(frozen=True)
class Judged:
    """rows (k,): row numbers of the pictures of an input that could be scored, ascending; scores (k,), facts: of
    these; doubtful (k,): whether they stay uncertain whatever their score."""

    rows: np.ndarray
    scores: np.ndarray
    facts: list[FileFacts]
    doubtful: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """(k,) shorter sides in pixels: a detector judges small pictures apart."""
        return np.array([min(f.width, f.height) for f in self.facts])

    def select(self, index: np.ndarray) -> Judged:
        """Some of them, ascending."""
        facts = [self.facts[int(i)] for i in index]
        return Judged(self.rows[index], self.scores[index], facts, self.doubtful[index])


def judge_inputs(detector: Detector, given: Inputs, running: dict[str, Any]) -> Judged:
    """The scores of the pictures that a detector could judge. InputError if there is none."""
    from aigiscan.detector.stored import encoded_from_store
    from aigiscan.runner import run

    encoded: Iterable[Encoded]
    if given.store:
        encoded = encoded_from_store(detector, given.store)
    else:
        encoded = run(
            given.records, detector.make_encoder(device=running["device"]), equalization=detector.equalization,
            batch_size=running["batch_size"], workers=running["workers"],
        )  # fmt: skip
        encoded = console.track(encoded, total=len(given.records), description=detector.card.name)
    facts: dict[str, FileFacts] = {}
    verdicts = detector.judge(_noting(encoded, facts))
    by_path = {verdict.path: verdict for verdict in verdicts if verdict.score is not None}
    kept = np.array([i for i, record in enumerate(given.records) if record.path in by_path], dtype=np.intp)
    if len(kept) < len(given.records):
        console.warn(f"{len(given.records) - len(kept)} images of {given.name} could not be judged and are left out")
    if not len(kept):
        raise InputError(f"none of the images of {given.name} could be judged")
    scored = [by_path[given.records[int(i)].path] for i in kept]
    return Judged(
        kept,
        np.array([verdict.score for verdict in scored], dtype=np.float64),
        [facts[verdict.path] for verdict in scored],
        np.array([bool(verdict.error) for verdict in scored]),
    )


def _noting(encoded: Iterable[Encoded], facts: dict[str, FileFacts]) -> Iterator[Encoded]:
    """Pass rows through; keep what is known of their files."""
    for row in encoded:
        facts[row.record.path] = row.facts
        yield row


@dataclass(frozen=True)
class TrainedElsewhere:
    """A classifier fitted and calibrated on another store. names: its generators and photo sources; seen: (n,) the
    images of this input that it holds too."""

    fitted: Any
    calibration: Calibration
    names: set[str]
    seen: np.ndarray


def fit_on_store(entry: Entry, train_on: str, *, max_fpr: float, seed: int) -> TrainedElsewhere:
    """An entry's classifier on another store, calibrated on sources left out there."""
    from aigiscan.detector.calibration import Calibration
    from aigiscan.detector.seen import SeenPictures
    from aigiscan.detector.table import table_from_store
    from aigiscan.encoders import compare_fingerprints
    from aigiscan.evaluation.candidate import Candidate
    from aigiscan.store import EmbeddingStore

    here = entry.given.fitting_table()
    with EmbeddingStore(train_on) as store:
        table = table_from_store(store, entry.view.channels)
    differences = compare_fingerprints(here.encoder["fingerprint"], table.encoder["fingerprint"])
    if differences:
        raise InputError(f"{train_on} and {entry.given.name} hold other features: {'; '.join(differences)}")
    candidate = Candidate.of(train_on, table, entry.view, entry.candidate.make, entry.candidate.text_features)
    scores, _ = candidate.held_out_scores(seed=seed)
    calibration = Calibration.from_scores(scores[table.label == 0], scores[table.label == 1], max_fpr, max_fpr)
    fitted = candidate.fit(np.arange(len(table)), "source")
    seen = SeenPictures.of(fitted=table.text["sha256"].tolist()).in_fit(here.text["sha256"].tolist())
    return TrainedElsewhere(fitted, calibration, set(table.names.tolist()), seen)
