"""A detector: encoder, equalisation, feature view, classifier and calibration, as one thing that judges images."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.detector.calibration import Calibration
from aigiscan.detector.card import WEIGHTS_NAME, Card, read_card
from aigiscan.detector.doubt import doubts
from aigiscan.detector.seen import SeenPictures
from aigiscan.detector.verdict import VERDICT_AI, VERDICT_UNREADABLE, Verdict
from aigiscan.errors import DetectorError, InputError
from aigiscan.features import view_from_saved
from aigiscan.features.base import FeatureView
from aigiscan.files import make_folder, reason

if TYPE_CHECKING:
    from aigiscan.encoders.base import Encoder
    from aigiscan.images.equalize import Equalization
    from aigiscan.runner import Encoded

#: images judged at once: the classifier's cost per call vanishes
_JUDGE_CHUNK = 64
_FACTS = ("provenance", "claims", "width", "height", "format", "bytes", "sha256")


@dataclass(frozen=True)
class Detector:
    """Frozen features → score → verdict. Make one with :func:`aigiscan.fit`, read one with :meth:`load`."""

    card: Card
    view: FeatureView
    classifier: Any
    calibration: Calibration
    #: the pictures it was fitted and calibrated on, by digest
    seen: SeenPictures = field(default_factory=lambda: SeenPictures(known=False))

    # ---- files

    @classmethod
    def load(cls, path: str | Path) -> Detector:
        """Read a detector folder, or a shipped detector by its name (``builtin``).

        Raises DetectorError in one line if it is missing, of an unknown format or was changed after it was written.
        No code from the files is run.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        from aigiscan.classifiers.ensemble import classifier_from_saved
        from aigiscan.detector.stacked import StackedView

        folder = resolve_detector(path)
        card = read_card(folder)
        if card.published and not (folder / WEIGHTS_NAME).exists():
            from aigiscan.detector.published import fetch_published

            return cls(*fetch_published(card))
        try:
            raw = (folder / WEIGHTS_NAME).read_bytes()
        except OSError as error:
            raise DetectorError(f"{folder / WEIGHTS_NAME} cannot be read: {reason(error)}") from error
        if hashlib.sha256(raw).hexdigest() != card.weights_sha256:
            raise DetectorError(
                f"{folder / WEIGHTS_NAME} is not the file its card describes (sha256 differs); "
                "restore the folder or fit the detector again"
            )
        try:
            arrays = load(raw)
        except SafetensorError as error:
            raise DetectorError(f"{folder / WEIGHTS_NAME} is not a safetensors file: {error}") from error

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

        try:
            classifier = classifier_from_saved(card.classifier, part("classifier."))
            calibration = Calibration.from_arrays(part("calibration."))
            seen = SeenPictures.from_arrays(part("seen."))
            view = (
                StackedView.from_saved(card.view, part("view."))
                if card.view.get("kind") == StackedView.kind
                else view_from_saved(card.view, part("view."))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DetectorError(f"{folder} cannot be read as a detector ({error}); fit it again") from error
        return cls(card, view, classifier, calibration, seen)

    def save(self, path: str | Path) -> Detector:
        """Write the detector folder (card and weights) in one step, replacing a detector that is there.

        Returns the detector with the sha256 of its weights in the card. Raises DetectorError if ``path`` is a folder
        that holds something else, or cannot be written.
        """
        from safetensors.numpy import save

        target = check_target(path)
        named = {
            **{f"classifier.{k}": v for k, v in self.classifier.get_arrays().items()},
            **{f"calibration.{k}": v for k, v in self.calibration.to_arrays().items()},
            **{f"view.{k}": v for k, v in self.view.arrays().items()},
            **{f"seen.{k}": v for k, v in self.seen.to_arrays().items()},
        }
        raw = save({key: np.ascontiguousarray(value) for key, value in sorted(named.items())})
        card = replace(self.card, weights_sha256=hashlib.sha256(raw).hexdigest())
        try:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
                made = Path(folder) / "detector"
                made.mkdir()
                (made / WEIGHTS_NAME).write_bytes(raw)
                card.write(made)
                if target.exists():
                    for extra in target.iterdir():  # README, notices and plots beside an older version stay
                        if extra.name not in (WEIGHTS_NAME, "card.yaml"):
                            shutil.move(extra, made / extra.name)
                    target.rename(Path(folder) / "old")
                made.rename(target)
        except OSError as error:
            raise DetectorError(f"cannot write the detector {target}: {reason(error)}") from error
        return replace(self, card=card)

    # ---- encoder

    @property
    def equalizations(self) -> list[str]:
        """What it was fitted under; the first is what ``scan`` does."""
        return [spec for spec in self.card.training.get("equalizations", [self.card.equalization]) if spec]

    @property
    def equalization(self) -> Equalization | None:
        """What is done to every picture before it is encoded; None for nothing."""
        from aigiscan.images.equalize import Equalization

        return Equalization.parse(self.card.equalization) if self.card.equalization else None

    def make_encoder(self, *, device: str = "auto", precision: str | None = None) -> Encoder:
        """The detector's encoder, checked against the fingerprint in the card.

        precision: None takes the one it was fitted with, which makes scores comparable; with another one scores move
        (bfloat16 against float32 by about 0.1 % of an embedding's length) and the caller takes that on himself.
        """
        from aigiscan.encoders.fingerprint import encoder_for

        saved = _with_precision(self.card.encoder["fingerprint"], precision)
        encoder = encoder_for(saved, self.view.channels, device=device, depth=self.view.depth)
        self.check_fingerprint(encoder.fingerprint(), f"encoder {encoder.name}", any_precision=precision is not None)
        return encoder

    def check_fingerprint(self, other: Mapping[str, Any], what: str, *, any_precision: bool = False) -> None:
        """Raise DetectorError unless ``other`` is the fingerprint the detector was fitted with."""
        from aigiscan.encoders.fingerprint import compare_fingerprints, for_channels

        mine = dict(self.card.encoder["fingerprint"])
        # Equalisation is checked where it matters: it is a step before the encoder, not part of it. An imported head
        # states what its authors stated; only that can be compared.
        imported = "weights" not in mine and "parts" not in mine
        theirs = {k: v for k, v in other.items() if (k in mine if imported else k != "equalization")}
        theirs = for_channels(theirs, self.view.channels)  # what else a store holds does not matter
        if any_precision:
            mine, theirs = _with_precision(mine, "any"), _with_precision(theirs, "any")
        differences = compare_fingerprints(mine, theirs)
        if differences:
            raise DetectorError(
                f"detector {self.card.name} was fitted on other features than those of {what}: "
                f"{'; '.join(differences)}; fit it again or use its own encoder {self.card.encoder['name']}"
            )

    # ---- judging

    def scores(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Channel arrays (n, …) → scores (n,) float64, higher = more likely AI-generated."""
        return np.asarray(self.classifier.decision_function(self.view.transform(channels)), dtype=np.float64)

    def judge(self, rows: Iterable[Encoded]) -> Iterator[Verdict]:
        """Encoded images, in order → verdicts, in order; those without channels become ``unreadable`` rows."""
        iterator = iter(rows)
        while chunk := list(itertools.islice(iterator, _JUDGE_CHUNK)):
            yield from self.judge_batch(chunk)

    def judge_batch(self, chunk: Sequence[Encoded]) -> Iterator[Verdict]:
        """As :meth:`judge`, of rows that are there."""
        readable = [row.channels for row in chunk if row.channels is not None]
        judged: Iterator[tuple[float, float | None, float, str, str, float | None, str, str]] = iter(())
        if readable:
            channels = {name: np.stack([row[name] for row in readable]) for name in self.view.channels}
            scores = self.scores(channels)
            facts = [row.facts for row in chunk if row.channels is not None]
            sides = [min(fact.width, fact.height) for fact in facts]
            reasons = doubts(self.card, sides, channels)
            doubtful = [bool(reason) for reason in reasons]
            judged = zip(
                scores.tolist(),
                _known(self.calibration.p_ai(scores)),
                self.calibration.p_value(scores, sides).tolist(),
                (str(v) for v in self.calibration.verdict(scores, sides, doubtful)),
                self._generators(channels) or itertools.repeat(""),
                _known(self.calibration.likelihood_ratio(scores)),
                self.view.notes(channels) or itertools.repeat(""),
                reasons,
                strict=False,
            )
        for row in chunk:
            known = {name: getattr(row.facts, name) for name in _FACTS}
            if row.channels is None:
                yield Verdict(row.record.path, VERDICT_UNREADABLE, error=row.error or "unknown", **known)
                continue
            score, p_ai, p_value, verdict, generator, ratio, note, doubt = next(judged)
            # an attribution of a picture that is not flagged would read as an accusation
            named = generator if verdict == VERDICT_AI else ""
            yield Verdict(
                row.record.path,
                verdict,
                score=score,
                p_ai=p_ai,
                p_value=p_value,
                generator=named,
                likelihood_ratio=ratio,
                note=note,
                error=doubt,
                **known,
            )

    def _generators(self, channels: Mapping[str, np.ndarray]) -> list[str] | None:
        """The attributed generator of each image, for classifiers over several generators."""
        attribute: Callable[[np.ndarray], np.ndarray] | None = getattr(self.classifier, "predict_generator", None)
        return None if attribute is None else [str(g) for g in attribute(self.view.transform(channels))]

    def with_rates(
        self, max_fpr: float | None = None, max_miss: float | None = None, prior: float | None = None
    ) -> Detector:
        """The same detector under other promised rates and another prior; see :meth:`Calibration.with_rates`."""
        return replace(self, calibration=self.calibration.with_rates(max_fpr, max_miss, prior))

    def scan(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        max_fpr: float | None = None,
        max_miss: float | None = None,
        fdr: float | None = None,
        prior: float | None = None,
        device: str = "auto",
        batch_size: int = 32,
        workers: int | None = None,
    ) -> Iterator[Verdict]:
        """Judge files and folders, one verdict per image in sorted path order; bad files are ``unreadable`` rows.

        The same as ``aigiscan scan``: ``for row in Detector.load("builtin").scan("photos"): print(row.verdict)``.
        max_fpr, max_miss: None takes the rates in the card. fdr: instead of max_fpr, at most this share of all that is
        called ``ai`` are photographs (:mod:`aigiscan.detector.discovery`): the first row comes after the last picture
        is judged. prior: share of AI-generated pictures that ``p_ai`` is for, one half if not given.
        """
        if fdr is not None:
            from aigiscan.detector.discovery import at_discovery_rate

            if max_fpr is not None:
                raise InputError("give max_fpr or fdr, not both: each sets the threshold for 'ai'")
            judge = self.with_rates(fdr, max_miss, prior)
            yield from at_discovery_rate(
                list(judge.scan(paths, device=device, batch_size=batch_size, workers=workers)), fdr
            )
            return
        judge = self.with_rates(max_fpr, max_miss, prior)
        from aigiscan.images.find import find_images
        from aigiscan.runner import RunSettings, growing_batches, run_batches

        given = [paths] if isinstance(paths, str | Path) else list(paths)
        encoder = self.make_encoder(device=device)
        settings = RunSettings(self.equalization, batch_size, workers)
        for rows in run_batches(find_images(given), encoder, settings, sizes=growing_batches(batch_size)):
            yield from judge.judge_batch(rows)


def _known(values: np.ndarray) -> list[float | None]:
    """Numbers as a report has them; None for NaN."""
    return [None if np.isnan(value) else value for value in values.tolist()]


def _with_precision(fingerprint: Mapping[str, Any], precision: str | None) -> dict[str, Any]:
    """The fingerprint at another precision (None: as it is), wherever a part of the encoder has one."""
    if precision is None:
        return dict(fingerprint)
    changed = {**fingerprint, **({"precision": precision} if fingerprint.get("precision") else {})}
    if "parts" in fingerprint:
        changed["parts"] = [_with_precision(part, precision) for part in fingerprint["parts"]]
    return changed


def check_target(path: str | Path) -> Path:
    """Where a detector is to be written; DetectorError if something else lies there, InputError if nothing can be."""
    target = Path(path)
    if target.exists() and not (target / "card.yaml").is_file() and (target.is_file() or any(target.iterdir())):
        raise DetectorError(f"{target} exists and is not a detector; choose another -o")
    make_folder(target.parent)
    return target


def resolve_detector(path: str | Path) -> Path:
    """A detector folder: the path itself, or a shipped detector of that name."""
    from aigiscan.encoders.weights import shipped_models_dir

    given = Path(path)
    if given.exists():
        return given
    shipped = shipped_models_dir() / str(path)
    if str(path) == given.name and (shipped / "card.yaml").is_file():
        return shipped
    raise DetectorError(
        f"there is no detector {path}: give a folder made by `aigiscan fit`, or a name from `aigiscan detectors list`"
    )
