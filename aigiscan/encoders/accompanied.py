"""Pictures with what belongs to them, on their way through the models that describe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aigiscan.encoders.base import ChannelSpec, Encoder, Treatment
from aigiscan.encoders.describe import Captioner, Grounder
from aigiscan.encoders.pixels import aspect_box
from aigiscan.errors import InputError
from aigiscan.images.beside import CAPTION, OBJECTS, Region, as_json, parse_objects
from aigiscan.images.equalize import Frame
from aigiscan.images.records import ImageRecord

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

#: Objects are cut from, and captions read off, the picture reduced into this (shorter, longer side), as Grounding DINO
#: sees it: a batch of large photographs then takes 80 MB, and boxes beside a file give what boxes found here give.
SEEN = (800, 1333)
NO_CAPTION = "no caption: give a manifest's column caption, a .txt beside it, or --captions MODEL"


@dataclass(slots=True)
class Accompanied:
    """One picture with what belongs to it. main, crops, twin: inputs of the CLIP.

    picture: as :data:`SEEN`, None once nothing has to be found in it. frame: from the file's pixels to that picture's.
    regions: objects in its pixels, None if they have to be found. text, objects: what a model found, for the record.
    """

    main: Any
    caption: str
    frame: Frame
    size: tuple[int, int]
    picture: Image | None = None
    regions: list[Region] | None = None
    crops: list[Any] = field(default_factory=list)
    twin: Any = None
    found: dict[str, str] = field(default_factory=dict)


def describe(inputs: Sequence[Accompanied], captioner: Captioner | None, grounder: Grounder | None) -> None:
    """Find the captions, then the objects, that are missing; what was found is kept with each input."""
    silent = [item for item in inputs if not item.caption]
    if silent and captioner is not None:
        said = captioner.caption([item.picture for item in silent if item.picture is not None])
        for item, text in zip(silent, said, strict=True):
            item.caption = item.found[CAPTION] = text
            if not text:
                item.found["error"] = f"{captioner.kind}:{captioner.argument} gave no caption"
    bare = [item for item in inputs if item.regions is None and item.caption]
    if bare and grounder is not None:
        pictures = [item.picture for item in bare if item.picture is not None]
        found = grounder.ground(pictures, [item.caption for item in bare])
        for item, regions in zip(bare, found, strict=True):
            item.found[OBJECTS] = as_json(filter(None, (_in_file(region, item) for region in regions)))
            # as they will be read again, to the last digit: beside the picture they must give the same numbers
            item.regions = seen_regions(item.found[OBJECTS], item.frame)


def _in_file(region: Region, item: Accompanied) -> Region | None:
    """A region of the picture in the pixels of its file, upright; None where that is less than a tenth of one."""
    x0, y0, x1, y1 = item.frame.origin(region.box)
    width, height = item.size
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return Region(region.phrase, (x0, y0, x1, y1)) if min(x1 - x0, y1 - y0) > 0.1 else None


def seen_regions(objects: str, frame: Frame) -> list[Region]:
    """A record's objects in the pixels of the picture as it is seen, without those that were cut off."""
    moved = ((region.phrase, frame.box(region.box)) for region in parse_objects(objects, "its objects"))
    return [Region(phrase, box) for phrase, box in moved if box is not None]


def reduced(picture: Image, frame: Frame) -> tuple[Image, Frame]:
    """The picture as the describing models see it, within :data:`SEEN`, and where its points lie then.

    Of one much longer than wide only the middle is seen: no model was made for it, and some fail.
    """
    left, top, right, bottom = aspect_box(*picture.size)
    width, height = right - left, bottom - top
    if (width, height) != picture.size:
        picture, frame = picture.crop((left, top, right, bottom)), frame.cropped(left, top, width, height)
    short, long = sorted(picture.size)
    scale = min(SEEN[0] / short, SEEN[1] / long, 1.0)
    if scale == 1.0:
        return picture, frame
    from PIL.Image import Resampling

    size = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.resize(size, Resampling.BICUBIC), frame.resized(*size)


def crop(picture: Image, region: Region) -> Image:
    """The pixels of a box, its edges to the nearest one: at least one pixel."""
    (left, right), (top, bottom) = (
        _span(region.box[axis], region.box[axis + 2], length) for axis, length in enumerate(picture.size)
    )
    return picture.crop((left, top, right, bottom))


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    start = min(round(low), length - 1)
    return start, min(max(start + 1, round(high)), length)


class DescribingEncoder(Encoder):
    """No numbers: only captions and objects for the pictures that have none (``aigiscan embed --captions-only``)."""

    name = "captions"

    def __init__(self, captioner: Captioner | None, grounder: Grounder | None) -> None:
        self.captioner, self.grounder = captioner, grounder
        self.beside = (CAPTION, *([OBJECTS] if grounder else []))

    def channels(self) -> dict[str, ChannelSpec]:
        """None."""
        return {}

    def fingerprint(self) -> dict[str, Any]:
        """Those of the models."""
        models = (("captions", self.captioner), ("objects", self.grounder))
        return {"name": self.name, **{key: model.fingerprint() for key, model in models if model}}

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
        """The picture, if anything has to be found in it."""
        if not record.caption and self.captioner is None:
            raise InputError(NO_CAPTION)
        size = size or image.size
        seen, frame = reduced(image, Frame(*size).resized(*image.size))
        regions: list[Region] | None = None if self.grounder and not record.objects else []
        return Accompanied(None, record.caption, frame, size, picture=seen, regions=regions)

    def encode(self, inputs: Sequence[Accompanied]) -> dict[str, np.ndarray]:
        """No channel."""
        describe(inputs, self.captioner, self.grounder)
        return {}

    def noted(self, prepared: Accompanied) -> Mapping[str, Any]:
        """What was found."""
        return prepared.found
