"""A CLIP that looks at a picture together with its caption, its objects and its twin.

Channels beside those of the picture itself: ``text`` (d,), the caption in the joint space (T₀ of TIDY, equation 1);
``local`` and ``local_raw`` (d,), the mean over the objects of |I_i − T_i| (equations 4 and 5) on embeddings of length 1
and as they are; ``objects`` (), how many objects there were; ``twin`` (d,), the embedding of the picture that a
generator made from the caption (Saland's report, section 2.8).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.accompanied import NO_CAPTION, Accompanied, crop, describe, reduced, seen_regions
from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec, Encoder, Treatment
from aigiscan.encoders.describe import GIVEN, create_captioner, create_grounder
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.encoders.options import unit_length
from aigiscan.errors import EncoderError, InputError
from aigiscan.images.beside import CAPTION, OBJECTS, TWIN, Region, check_inside, parse_objects
from aigiscan.images.equalize import Frame
from aigiscan.images.records import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNEL_TEXT, CHANNEL_LOCAL, CHANNEL_LOCAL_RAW = "text", "local", "local_raw"
CHANNEL_OBJECTS, CHANNEL_TWIN = "objects", "twin"

#: texts whose embeddings are kept: phrases such as "a dog" come again and again
_TEXTS = 4096
#: crops and twins that are encoded together at least
_AT_ONCE = 32


@dataclass(frozen=True)
class Look:
    """What the CLIP made of one picture: image, text (d,), crops and phrases (k, d) as they are, twin (d,) or None."""

    caption: str
    regions: Sequence[Region]
    image: np.ndarray
    text: np.ndarray
    crops: np.ndarray
    phrases: np.ndarray
    twin: np.ndarray | None

    def locals(self, *, raw: bool = False) -> np.ndarray:
        """|I_i − T_i| of each object (k, d), equation 4. raw: on embeddings as they are, not of length 1."""
        distance: np.ndarray = np.abs(
            self.crops - self.phrases if raw else unit_length(self.crops) - unit_length(self.phrases)
        )
        return distance


class CompanionEncoder(Encoder):
    """An open_clip model with its text tower, and where captions, objects and twins come from.

    captions, objects: ``given`` (what lies beside the picture, :mod:`aigiscan.images.beside`), or a model for the
    pictures that have none, "" for none at all. What lies beside a picture always goes before a model. twins: whether
    every picture has a twin (its record says which). Results for a picture that has no caption and no captioner, or no
    twin: an error of its row. No object: ``local`` is 0 and ``objects`` says so.
    """

    has_heads = True

    def __init__(
        self,
        base: Encoder,
        captions: str = "",
        objects: str = "",
        *,
        twins: bool = False,
        prompt: str = "",
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(base, OpenClipEncoder) or base.options.projection != "projected":
            raise EncoderError(
                f"encoder {base.name} has no space that texts and pictures share; captions, objects and twins need one "
                "open_clip model or mini, with projected embeddings"
            )
        if objects and not captions:
            raise EncoderError("--objects needs --captions: an object's phrase is part of what is said of the picture")
        self.base = base
        self.name, self.options = base.name, base.options
        self._twins = twins
        self._captions, self._objects = captions, objects
        known, device = expected or {}, base.options.device
        self.captioner = create_captioner(captions, prompt, device, known.get("captions")) if captions else None
        self.grounder = create_grounder(objects, device, known.get("objects")) if objects else None
        wanted = ((CAPTION, captions), (OBJECTS, objects), (TWIN, twins))
        self.beside = tuple(name for name, used in wanted if used)
        self._texts: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    # What is known before anything is loaded

    def channels(self) -> dict[str, ChannelSpec]:
        """Those of the CLIP, and those of what accompanies the picture."""
        vector = ChannelSpec((self.base.width,))
        found = self.base.channels()
        if self._captions:
            found[CHANNEL_TEXT] = vector
        if self._objects:
            found |= {CHANNEL_LOCAL: vector, CHANNEL_LOCAL_RAW: vector, CHANNEL_OBJECTS: ChannelSpec(())}
        if self._twins:
            found[CHANNEL_TWIN] = vector
        return found

    def fingerprint(self) -> dict[str, Any]:
        """That of the CLIP, and ``captions``, ``objects`` (each ``{"source": "given"}`` or the model's), ``twins``."""
        found = self.base.fingerprint()
        if self._captions:
            found["captions"] = self.captioner.fingerprint() if self.captioner else {"source": GIVEN}
        if self._objects:
            found["objects"] = self.grounder.fingerprint() if self.grounder else {"source": GIVEN}
        if self._twins:
            found["twins"] = True
        return found

    def columns(self) -> list[str]:
        """Those of the CLIP."""
        return self.base.columns()

    # Pictures in

    def prepare(self, image: Image) -> Accompanied:
        """A picture of which nothing is known."""
        return self.prepare_record(ImageRecord(""), image)

    def prepare_record(
        self,
        record: ImageRecord,
        image: Image,
        treatment: Treatment | None = None,
        size: tuple[int, int] | None = None,
    ) -> Accompanied:
        """The picture, its objects and its twin, ready for the CLIP; InputError for what is missing or wrong."""
        size = size or image.size
        frame = Frame(*size).resized(*image.size)
        frame = frame if treatment is None else treatment.frame(frame)
        picture = image if treatment is None else treatment.apply(image)
        item = Accompanied(self.base.prepare(picture), record.caption, frame, size)
        if self._captions and not record.caption and self.captioner is None:
            raise InputError(NO_CAPTION)
        if self._twins:
            item.twin = self.base.prepare(_twin(record, treatment))
        if not self._captions:
            return item
        seen, item.frame = reduced(picture, frame)
        if self._objects and (record.objects or self.grounder is None):
            objects = record.objects or "[]"
            check_inside(parse_objects(objects, "its objects"), size, "its objects")
            item.regions = seen_regions(objects, item.frame)
            item.crops = [self.base.prepare(crop(seen, region)) for region in item.regions]
        if not item.caption or (self._objects and item.regions is None):
            item.picture = seen
        return item

    # Numbers out

    def encode(self, inputs: Sequence[Accompanied]) -> dict[str, np.ndarray]:
        """A batch → channels. Captions and objects that are missing are found first, each kind in one batch."""
        self._describe(inputs)
        channels, looks = self._encode(inputs)
        if self._captions:
            channels[CHANNEL_TEXT] = np.stack([look.text for look in looks])
        if self._objects:
            nothing = np.zeros(self.base.width, np.float32)
            for name, raw in ((CHANNEL_LOCAL, False), (CHANNEL_LOCAL_RAW, True)):
                means = [look.locals(raw=raw).mean(axis=0) if look.regions else nothing for look in looks]
                channels[name] = np.stack(means).astype(np.float32)
            channels[CHANNEL_OBJECTS] = np.array([len(look.regions) for look in looks], np.float32)
        if self._twins:
            channels[CHANNEL_TWIN] = np.stack([look.twin for look in looks if look.twin is not None])
        return channels

    def look(self, item: Accompanied) -> Look:
        """One picture, every object by itself."""
        self._describe([item])
        return self._encode([item])[1][0]

    def noted(self, prepared: Accompanied) -> Mapping[str, Any]:
        """The caption and the objects that models found, objects in the file's own upright pixels."""
        return prepared.found

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """As the CLIP does."""
        return self.base.encode_text(texts)

    def _describe(self, inputs: Sequence[Accompanied]) -> None:
        describe(inputs, self.captioner, self.grounder if self._objects else None)
        for item in inputs:
            if item.picture is not None:
                item.crops = [self.base.prepare(crop(item.picture, region)) for region in item.regions or ()]
                item.picture = None

    def _encode(self, inputs: Sequence[Accompanied]) -> tuple[dict[str, np.ndarray], list[Look]]:
        n = len(inputs)
        pieces = [item.main for item in inputs]
        pieces += [item.twin for item in inputs if item.twin is not None]
        pieces += [crop for item in inputs for crop in item.crops]
        channels = self.base.encode(pieces[:n])
        width = self.base.width
        step = max(n, _AT_ONCE)
        rest = [self.base.encode(pieces[i : i + step])[CHANNEL_EMBEDDING] for i in range(n, len(pieces), step)]
        others = iter(np.concatenate(rest) if rest else np.zeros((0, width), np.float32))
        twins = [next(others) if item.twin is not None else None for item in inputs]
        said = [item.caption for item in inputs] if self._captions else [""] * n
        phrases = [region.phrase for item in inputs for region in item.regions or ()]
        vectors = iter(self._embed([*said, *phrases]))
        texts = [next(vectors) for _ in inputs]
        looks = []
        for i, item in enumerate(inputs):
            regions = item.regions or []
            crops = np.array([next(others) for _ in regions], np.float32).reshape(-1, width)
            words = np.array([next(vectors) for _ in regions], np.float32).reshape(-1, width)
            image = channels[CHANNEL_EMBEDDING][i]
            looks.append(Look(item.caption, regions, image, texts[i], crops, words, twins[i]))
        return channels, looks

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → (n, d), of length 1 if the pictures are; equal ones are encoded once."""
        from aigiscan.encoders.clip_text import encode_ids

        with self._lock:
            new = sorted(set(texts) - self._texts.keys())
            if new:
                if len(self._texts) > _TEXTS:
                    self._texts = {text: self._texts[text] for text in texts if text in self._texts}
                vectors = encode_ids(self.base, self._tokenizer(new))
                vectors = unit_length(vectors) if self.options.normalize else vectors
                self._texts |= dict(zip(new, vectors, strict=True))
            found = [self._texts[text] for text in texts]
        return np.array(found, np.float32).reshape(len(found), self.base.width)

    @cached_property
    def _tokenizer(self) -> Any:
        from aigiscan.encoders.clip_text import tokenizer_of

        return tokenizer_of(self.base)


def from_fingerprint(base: Encoder, fingerprint: Mapping[str, Any]) -> CompanionEncoder:
    """The encoder of a fingerprint that names captions, objects or twins. Describing models are not loaded: a folder
    with captions beside its pictures is scanned without a captioner."""
    captions, objects = (fingerprint.get(key) or {} for key in ("captions", "objects"))
    given = {"source": GIVEN}
    expected = {key: value for key, value in (("captions", captions), ("objects", objects)) if value not in ({}, given)}
    return CompanionEncoder(
        base,
        captions.get("source", ""),
        objects.get("source", ""),
        twins=bool(fingerprint.get("twins")),
        prompt=captions.get("prompt", ""),
        expected=expected,
    )


def _twin(record: ImageRecord, treatment: Treatment | None) -> Image:
    from aigiscan.images.decode import decode

    if not record.twin:
        raise InputError("no twin: give --twins FOLDER with a picture of the same stem, or a manifest's column twin")
    twin = decode(ImageRecord(record.twin), least_side=treatment.least_side if treatment else 0)
    if twin.pixels is None:
        raise InputError(f"its twin {record.twin}: {twin.error}")
    return twin.pixels if treatment is None else treatment.apply(twin.pixels)
