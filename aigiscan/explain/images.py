"""Why one image has its score: the score taken apart exactly, where in the picture, and beside which known images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.accompanied import reduced
from aigiscan.encoders.companions import CompanionEncoder
from aigiscan.encoders.companions import Look as AccompaniedLook
from aigiscan.encoders.heads import Decomposition, decompose
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.errors import DetectorError, EncoderError, InputError
from aigiscan.explain import companions
from aigiscan.explain.directions import Directions, Member, directions_of, head_member
from aigiscan.explain.explanation import Explanation, HeadReading
from aigiscan.explain.neighbours import Neighbour, NeighbourIndex
from aigiscan.explain.windows import WindowScores, score_windows, too_small
from aigiscan.features.discrepancy import NO_OBJECT, DiscrepancyView
from aigiscan.images.ahead import in_order
from aigiscan.images.beside import complete
from aigiscan.images.decode import DecodedImage, decode
from aigiscan.images.equalize import Frame
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigiscan.detector.detector import Detector
    from aigiscan.encoders.base import Encoder
    from aigiscan.explain.words import WordList
    from aigiscan.store import EmbeddingStore

INTERCEPT = "intercept"
#: pictures that are read while another is explained
_READERS = 2
#: longer side, in pixels, of pictures that are kept to be shown
_SHOWN = 320


@dataclass
class _Look:
    """What the encoder made of one picture: its input, channels (1, …), features (1, n) and decomposition per member.

    length: what the linear form divides the weighted sum by.
    """

    prepared: Any
    channels: dict[str, np.ndarray]
    features: np.ndarray
    length: float
    decompositions: dict[int, Decomposition]
    accompanied: AccompaniedLook | None = None


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
    (['intercept', 'lite', 'lite:native', 'spam'], True, (3, 3))
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
        self.directions: Directions = directions_of(detector, encoder)
        self._missing = dict(self.directions.missing)
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
        least_side = self._equalization.least_side if self._equalization else 0

        def read(record: ImageRecord) -> tuple[ImageRecord, DecodedImage]:
            return record, decode(record, least_side=least_side)

        for record, decoded in in_order(read, complete(records, self.encoder.beside), _READERS, 2 * _READERS):
            if decoded.pixels is None:
                yield Explanation(record.path, error=decoded.error)
                continue
            try:
                yield self.explain(decoded.pixels, record, sha256=decoded.facts.sha256, size=decoded.size)
            except InputError as error:  # what lies beside the picture
                yield Explanation(record.path, error=str(error))

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
        record = record or ImageRecord("")
        look = self._look(self.encoder.prepare_record(record, image, self._equalization, size))
        logit = float(self.detector.scores(look.channels)[0])
        parts = self._parts(look)
        patches, from_class_token, picture = self._patches(look)
        missing = dict(self._missing)
        accompanied = self._companions(look, parts, missing)
        windows = None
        if picture is None or look.accompanied is not None:
            treated = self._equalization.apply(image) if self._equalization else image
            if patches is None:
                windows = self._window_scores(treated, missing)
            whole = look.accompanied is not None
            picture = np.asarray(reduced(treated, Frame(*treated.size))[0] if whole else _small(treated))
        heads = self._top(parts, look)
        if heads and self.phrases is None:
            missing.setdefault("words", "no phrases were given")
        neighbours: Mapping[str, Sequence[Neighbour]] | None = None
        if self._index is None:
            missing["neighbours"] = "no store of known images was given (--neighbours STORE)"
        else:
            (neighbours,) = self._index.nearest(look.features, self._neighbours, exclude=[sha256])
        # the verdict of a scan, which knows small and smooth pictures
        width, height = size or image.size
        facts = FileFacts(width=width, height=height, sha256=sha256)
        (judged,) = self.detector.judge_batch([Encoded(record, facts, {n: v[0] for n, v in look.channels.items()})])
        if judged.error:
            missing["verdict"] = judged.error
        return Explanation(
            path=record.path,
            logit=logit,
            p_ai=math.nan if judged.p_ai is None else judged.p_ai,
            verdict=judged.verdict,
            parts=parts,
            heads=heads,
            patches=patches,
            class_token_share=from_class_token,
            windows=windows,
            picture=picture,
            neighbours=neighbours,
            companions=accompanied,
            missing=missing,
        )

    # ---- what the encoder makes of the picture

    def _look(self, prepared: Any) -> _Look:
        decompositions: dict[int, Decomposition] = {}
        if self.directions.heads:
            member = head_member(self.directions.members)
            apart = decompositions[member.position] = self._decompose(member, prepared)
            channels = {"heads": apart.z, "sigma": apart.sigma}
        elif self.directions.embedding is None:
            channels = self.encoder.encode([prepared])
        else:
            columns = []
            for member in self.directions.members:
                if member.no_parts:
                    columns.append(member.encoder.encode([self._own(prepared, member)])["embedding"])
                else:
                    decompositions[member.position] = self._decompose(member, prepared)
                    columns.append(decompositions[member.position].embedding)
            channels = {"embedding": np.concatenate(columns, axis=1)}
        features = np.asarray(self.detector.view.transform(channels), dtype=np.float64)
        form = self.directions.form
        length = float(form.length(features)[0]) if form else 1.0
        accompanied = self.encoder.look(prepared) if isinstance(self.encoder, CompanionEncoder) else None
        return _Look(prepared, channels, features, length, decompositions, accompanied)

    def _decompose(self, member: Member, prepared: Any) -> Decomposition:
        """Heads, and patches where they have a meaning, in one pass of the model."""
        encoder, own = member.encoder, [self._own(prepared, member)]
        assert isinstance(encoder, OpenClipEncoder)
        if "patches" in self._missing:
            return decompose(encoder, own)
        try:
            return decompose(encoder, own, self._toward(member))
        except EncoderError as error:
            # Only the model itself shows that its attention is scaled or normalised; heads are still exact.
            self._missing["patches"] = str(error)
            return decompose(encoder, own)

    def _toward(self, member: Member) -> np.ndarray:
        """The weights that patches are read with: (d,), or one vector per head (layers, heads, d)."""
        if not self.directions.heads:
            assert self.directions.embedding is not None
            return self.directions.embedding[member.start : member.stop]
        layers, heads, _ = member.encoder.channels()["heads"].shape
        toward = np.zeros((layers, heads, member.stop - member.start))
        for pair, vector in self.directions.heads.items():
            toward[pair] = vector
        return toward

    def _own(self, prepared: Any, member: Member) -> Any:
        """The part of the encoder's input that is this member's."""
        return prepared if len(self.directions.members) == 1 else prepared[member.position]

    # ---- parts of the score

    def _parts(self, look: _Look) -> dict[str, float]:
        """Name → contribution; they sum to the score."""
        form = self.directions.form
        if form is None:
            return {}
        weighted = form.columns(look.features)[0] * form.weights / look.length
        view = self.detector.view
        apart = None
        if look.accompanied is not None and isinstance(view, DiscrepancyView):
            apart = companions.parts_of(view, look.accompanied, form, look.length)
        if apart is not None:
            parts = apart
        elif self.directions.embedding is not None:
            parts = self._embedding_parts(look)
        elif self.directions.heads:
            blocks = np.split(weighted, len(self.directions.heads))
            named = zip(self.directions.heads, blocks, strict=True)
            parts = {f"head:{layer}:{head}": float(block.sum()) for (layer, head), block in named}
        else:
            parts = _by_group(self.detector.view.columns(self.encoder.columns()), weighted)
        return {**parts, INTERCEPT: form.intercept + form.offset / look.length}

    def _embedding_parts(self, look: _Look) -> dict[str, float]:
        weights = self.directions.embedding
        assert weights is not None
        names = self.encoder.columns()
        several = len(look.decompositions) > 1
        parts: dict[str, float] = {}
        for member in self.directions.members:
            own = weights[member.start : member.stop] / look.length
            if member.position not in look.decompositions:
                values = look.channels["embedding"][0, member.start : member.stop].astype(np.float64) * own
                parts |= _by_group(names[member.start : member.stop], values)
                continue
            prefix = f"{member.encoder.name}/" if several else ""
            for name, vectors in look.decompositions[member.position].parts():
                parts[prefix + _plain_name(name, member.encoder)] = float(vectors[0].astype(np.float64) @ own)
        return parts

    # ---- where in the picture

    def _patches(self, look: _Look) -> tuple[np.ndarray | None, float | None, np.ndarray | None]:
        """((rows, columns), what came from the class token itself: together the sum of all heads; the picture)."""
        for member in self.directions.members:
            apart = look.decompositions.get(member.position)
            if apart is not None and apart.tokens is not None:
                assert isinstance(member.encoder, OpenClipEncoder)
                tokens = apart.tokens[0].astype(np.float64).sum(axis=(0, 1)) / look.length  # [t]
                picture = np.asarray(self._own(look.prepared, member)).transpose(1, 2, 0)
                return tokens[1:].reshape(member.encoder.grid), float(tokens[0]), picture
        return None, None, None

    def _window_scores(self, treated: Image, missing: dict[str, str]) -> WindowScores | None:
        why = too_small(treated.size)
        if not self._windows:
            why = "they were not asked for (--windows 0)"
        elif self.encoder.beside:
            why = f"the detector reads the {' and '.join(self.encoder.beside)} of the whole picture"
        if why:
            missing["windows"] = why
            return None
        return score_windows(self.detector, self.encoder, treated, self._windows)

    # ---- what is said of the picture

    def _companions(
        self, look: _Look, parts: Mapping[str, float], missing: dict[str, str]
    ) -> companions.CompanionReading | None:
        if look.accompanied is None:
            return None
        if not look.accompanied.regions and "objects" in self.detector.view.channels:
            missing["objects"] = NO_OBJECT
        return companions.reading_of(look.prepared, look.accompanied, parts, self.phrases, self._top_words)

    # ---- heads in words

    def _top(self, parts: Mapping[str, float], look: _Look) -> list[HeadReading]:
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
    def _written(layer: int, head: int, look: _Look) -> np.ndarray:
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


def _by_group(columns: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """Contributions of columns, summed by what made them: ``lite:17`` belongs to ``lite``, ``base:mine`` to itself."""
    parts: dict[str, float] = {}
    for column, value in zip(columns, values, strict=True):
        maker, _, number = column.rpartition(":")
        group = maker if maker and number.isdigit() else column
        parts[group] = parts.get(group, 0.0) + float(value)
    return parts


def _plain_name(name: str, encoder: Encoder) -> str:
    """The decomposition's names in the words of docs/explain.md."""
    if name != "initial":
        return name
    assert isinstance(encoder, OpenClipEncoder)
    averaged = encoder.options.pooling == "mean" or encoder.source.config["vision_cfg"].get("pool_type", "tok") == "avg"
    return "tokens" if averaged else "class_token"
