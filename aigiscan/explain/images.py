"""Why one image has its score: the score taken apart exactly, where in the picture, and beside which known images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.accompanied import reduced
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.errors import DetectorError, InputError
from aigiscan.explain import companions
from aigiscan.explain.explanation import Explanation, HeadReading
from aigiscan.explain.look import Look, Looker
from aigiscan.explain.neighbours import Neighbour, NeighbourIndex
from aigiscan.explain.parts import ScoreParts
from aigiscan.explain.windows import cut_windows, score_windows, too_small
from aigiscan.features.discrepancy import NO_OBJECT
from aigiscan.images.ahead import default_workers, in_order
from aigiscan.images.beside import complete
from aigiscan.images.decode import decode
from aigiscan.images.equalize import Frame
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigiscan.detector.detector import Detector, Verdict
    from aigiscan.encoders.base import Encoder
    from aigiscan.explain.words import WordList
    from aigiscan.store import EmbeddingStore

#: longer side, in pixels, of pictures that are kept to be shown
_SHOWN = 320


@dataclass(frozen=True, slots=True)
class _Read:
    """One picture before the encoder: its input, those of its windows, and itself made small (h, w, 3) to be shown."""

    record: ImageRecord
    facts: FileFacts
    prepared: Any = None
    windows: Sequence[Any] = ()
    picture: np.ndarray | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


class Explainer:
    """Explains images by one detector; make it once, the model is loaded once.

    encoder: the detector's, in float32 (``detector.make_encoder(precision="fp32")``): in half precision the parts would
    not sum to the score. phrases: for the words of the top heads, None for none. store: known images for the
    neighbours, as many of each class as ``neighbours``. windows: where the score cannot be taken apart by place, that
    many windows a side are scored, 0 for none. Raises DetectorError if the store was made with another encoder or
    equalisation.

    >>> from aigiscan.detector.detector import Detector
    >>> from aigiscan.images.records import ImageRecord
    >>> detector = Detector.load("builtin")
    >>> explainer = Explainer(detector, load_for_explaining(detector, device="cpu"))
    >>> (why,) = explainer.explain_all([ImageRecord("examples/photos/rocket.jpg")])
    >>> sorted(why.parts), bool(abs(why.sum_of_parts - why.logit) < 1e-4), why.windows.scores.shape
    (['intercept', 'lite', 'lite:trained', 'lite:trained:logit', 'spam'], True, (3, 3))
    """

    def __init__(
        self,
        detector: Detector,
        encoder: Encoder,
        *,
        phrases: WordList | None = None,
        store: EmbeddingStore | None = None,
        neighbours: int = 5,
        top_heads: int = 5,
        top_words: int = 5,
        windows: int = 3,
    ) -> None:
        self.detector, self.encoder = detector, encoder
        self._looker = Looker(detector, encoder)
        self.directions = self._looker.directions
        self._score_parts = ScoreParts(detector, encoder, self.directions)
        self.phrases, self._top_heads, self._top_words = phrases, top_heads, top_words
        self._equalization = detector.equalization
        self._neighbours, self._windows = neighbours, windows
        self._index: NeighbourIndex | None = None if store is None else self._open(store)

    def _open(self, store: EmbeddingStore) -> NeighbourIndex:
        self.detector.check_fingerprint(store.fingerprint, f"store {store.path}", any_precision=True)
        wanted, own = self.detector.card.equalization, str(store.fingerprint.get("equalization", ""))
        if own != wanted:
            raise DetectorError(
                f"detector {self.detector.card.name} sees pictures equalised by {wanted or 'nothing'}, "
                f"store {store.path} by {own or 'nothing'}: embed the known images as the detector's card says"
            )
        members = self.directions.members
        mixed = len(members) > 1 or not isinstance(members[0].encoder, OpenClipEncoder)
        return NeighbourIndex(store, self.detector.view, standardize=mixed)

    def explain_all(self, records: Iterable[ImageRecord]) -> Iterator[Explanation]:
        """One explanation per record, in order; a file that cannot be read becomes one with ``error``."""
        workers, size = default_workers(), self._looker.batch_size
        batch: list[_Read] = []
        for read in in_order(self._read, complete(records, self.encoder.beside), workers, workers + size):
            batch.append(read)
            if len(batch) == size:
                yield from self._explain(batch)
                batch = []
        yield from self._explain(batch)

    def explain(
        self,
        image: Image,
        record: ImageRecord | None = None,
        *,
        sha256: str = "",
        size: tuple[int, int] | None = None,
    ) -> Explanation:
        """Explain one RGB picture. record: what is known of it. size: of the file's picture, of which ``image`` may be
        a reduced one. sha256: of the file; a store row of the same content is not its own neighbour."""
        width, height = size or image.size
        facts = FileFacts(width=width, height=height, sha256=sha256)
        (found,) = self._explain([self._prepare(record or ImageRecord(""), image, facts)])
        return found

    # ---- one picture before the encoder, in a thread of its own

    def _read(self, record: ImageRecord) -> _Read:
        least_side = self._equalization.least_side if self._equalization else 0
        decoded = decode(record, least_side=least_side)
        if decoded.pixels is None:
            return _Read(record, decoded.facts, error=decoded.error)
        width, height = decoded.size or decoded.pixels.size
        facts = FileFacts(width=width, height=height, sha256=decoded.facts.sha256)
        try:
            return self._prepare(record, decoded.pixels, facts)
        except InputError as error:  # what lies beside the picture
            return _Read(record, decoded.facts, error=str(error))

    def _prepare(self, record: ImageRecord, image: Image, facts: FileFacts) -> _Read:
        size = facts.width, facts.height
        prepared = self.encoder.prepare_record(record, image, self._equalization, size)
        if self._looker.patches:  # they are the tiles of what the encoder saw
            return _Read(record, facts, prepared)
        treated = self._equalization.apply(image) if self._equalization else image
        beside, why = self.encoder.beside, too_small(treated.size)
        if not self._windows:
            why = "they were not asked for (--windows 0)"
        elif beside:
            why = f"the detector reads the {' and '.join(beside)} of the whole picture"
        windows = [] if why else cut_windows(self.encoder, treated, self._windows)
        shown = reduced(treated, Frame(*treated.size))[0] if beside else _small(treated)
        return _Read(record, facts, prepared, windows, np.asarray(shown), {"windows": why} if why else {})

    # ---- a batch of them

    def _explain(self, batch: Sequence[_Read]) -> Iterator[Explanation]:
        good = [read for read in batch if not read.error]
        looks = self._looker.look([read.prepared for read in good]) if good else []
        judged = self.detector.judge_batch(
            [Encoded(read.record, read.facts, look.channels) for read, look in zip(good, looks, strict=True)]
        )
        scores = self.detector.scores(_stacked(looks)) if good else ()
        near: Sequence[Mapping[str, Sequence[Neighbour]] | None] = [None] * len(good)
        if self._index is not None and good:
            features = np.stack([look.features for look in looks])
            near = self._index.nearest(features, self._neighbours, exclude=[read.facts.sha256 for read in good])
        done = (self._one(*each) for each in zip(good, looks, scores, judged, near, strict=True))
        return (Explanation(read.record.path, error=read.error) if read.error else next(done) for read in batch)

    def _one(
        self, read: _Read, look: Look, score: float, judged: Verdict, near: Mapping[str, Sequence[Neighbour]] | None
    ) -> Explanation:
        parts = self._score_parts.of(look)
        missing = {**self._looker.missing, **read.missing}
        accompanied = self._companions(look, parts, missing)
        heads = self._top(parts, look)
        if heads and self.phrases is None:
            missing.setdefault("words", "no phrases were given")
        if self._index is None:
            missing["neighbours"] = "no store of known images was given (--neighbours STORE)"
        if judged.error:  # of a small or smooth picture, as a scan judges it
            missing["verdict"] = judged.error
        patches, from_class_token, picture = self._looker.patches_of(look) or (None, None, read.picture)
        return Explanation(
            path=read.record.path,
            logit=float(score),
            p_ai=math.nan if judged.p_ai is None else judged.p_ai,
            verdict=judged.verdict,
            parts=parts,
            heads=heads,
            patches=patches,
            class_token_share=from_class_token,
            windows=score_windows(self.detector, self.encoder, read.windows) if read.windows else None,
            picture=picture,
            neighbours=near,
            companions=accompanied,
            missing=missing,
        )

    # ---- what is said of the picture

    def _companions(
        self, look: Look, parts: Mapping[str, float], missing: dict[str, str]
    ) -> companions.CompanionReading | None:
        if look.accompanied is None:
            return None
        if not look.accompanied.regions and "objects" in self.detector.view.channels:
            missing["objects"] = NO_OBJECT
        return companions.reading_of(look.prepared, look.accompanied, parts, self.phrases, self._top_words)

    # ---- heads in words

    def _top(self, parts: Mapping[str, float], look: Look) -> list[HeadReading]:
        names = [name for name in parts if name.startswith("head:")]
        order = sorted(names, key=lambda name: -abs(parts[name]))[: self._top_heads]
        readings = []
        for name in order:
            layer, head = (int(x) for x in name.split(":")[1:])
            words = {}
            if self.phrases is not None and self.directions.joint_member() is not None:
                words = self.phrases.ends(self._written(layer, head, look), self._top_words)
            readings.append(HeadReading(layer, head, parts[name], words))
        return readings

    @staticmethod
    def _written(layer: int, head: int, look: Look) -> np.ndarray:
        """What the head wrote for this picture, as a vector of the joint space (d,)."""
        (apart,) = look.decompositions.values()
        return np.asarray(apart.heads[0, layer, head])


def load_for_explaining(detector: Detector, *, device: str = "auto") -> Encoder:
    """The detector's encoder in float32, without normalisation where a detector reads single heads."""
    encoder = detector.make_encoder(device=device, precision="fp32")
    if "heads" in detector.view.channels and encoder.options.normalize:
        # Heads add up to the raw embedding; a length that normalises it is no part of them.
        from aigiscan.encoders import create_encoder

        encoder = create_encoder(encoder.name, replace(encoder.options, normalize=False))
    return encoder


def _small(picture: Image) -> Image:
    small = picture.copy()
    small.thumbnail((_SHOWN, _SHOWN), reducing_gap=2.0)
    return small


def _stacked(looks: Sequence[Look]) -> dict[str, np.ndarray]:
    return {name: np.stack([look.channels[name] for look in looks]) for name in looks[0].channels}
