"""The records that travel from a folder to a report: one image before, and one after it was opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

REAL = 0
FAKE = 1


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One file to look at, before it is opened.

    path: as the user gave or as the folder walk found it, in :func:`os.fsdecode` form (undecodable bytes are
        surrogate escapes, so that ``open(path)`` works).
    label: 0 real, 1 fake (AI-generated), None unknown.
    generator, family, group, split, caption: empty if unknown.
        ``group`` is what must stay on one side of a split.
    source: what is left out as a whole when a figure is to say something about sources never seen: where a photograph
        comes from (camera, site, data set); of a fake the generator, or what a manifest puts together with others
        (fine-tunes of one model, methods on one set of prompts).
    objects: boxes and phrases of what is seen, as JSON (:mod:`aigiscan.images.beside`). twin: path of the picture that
        a generator made from the caption.
    error: why the file cannot be opened, when the listing itself found out (broken link, folder without permission).
    """

    path: str
    label: int | None = None
    generator: str = ""
    family: str = ""
    group: str = ""
    split: str = ""
    caption: str = ""
    source: str = ""
    objects: str = ""
    twin: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file without judging its pixels.

    width, height: in pixels as stored, before the EXIF rotation (0 unknown). bytes: file size (0 unknown).
    format: Pillow's name ("JPEG", "PNG", …). sha256: of the file's bytes, hexadecimal. mtime_ns: of the file.
    provenance: one line of what the file itself claims about its origin, e.g.
        ``"claims generator: ComfyUI (PNG text prompt)"``; empty if it claims nothing. A claim, never a verdict.
    claims: the same in full, JSON (:func:`aigiscan.provenance.claims.from_json`).
    """

    width: int = 0
    height: int = 0
    format: str = ""
    bytes: int = 0
    sha256: str = ""
    mtime_ns: int = 0
    provenance: str = ""
    claims: str = ""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One file after it was opened: either RGB pixels (upright, 8 bit) or the reason why not.

    Exactly one of ``pixels`` and ``error`` is set. ``error`` is short and without the path ("truncated JPEG").
    """

    record: ImageRecord
    facts: FileFacts
    pixels: Image | None = None
    error: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the file's own upright picture, of which ``pixels`` may be a reduced one."""
        assert self.pixels is not None
        width, height = self.facts.width, self.facts.height
        turned = (width > height) != (self.pixels.width > self.pixels.height)
        return (height, width) if turned else (width, height)
