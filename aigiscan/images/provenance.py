"""What a file itself claims about its origin. A claim, never a verdict: every one of these can be forged or removed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

_LONGEST = 160
#: metadata stands at the beginning of a file; XMP of edited photographs was seen to begin as late as 100 kB
_SEARCHED_BYTES = 512 * 1024

# IPTC digital source types, http://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPES = {
    b"trainedAlgorithmicMedia": "made by AI",
    b"compositeWithTrainedAlgorithmicMedia": "composite with AI-made parts",
    b"compositeSynthetic": "composite with synthetic parts",
    b"algorithmicMedia": "made by an algorithm",
    b"virtualRecording": "virtual recording",
    b"digitalCapture": "digital capture",
    b"computationalCapture": "computational capture",
    b"digitisedFromNegative": "scan of film",
    b"negativeFilm": "scan of film",
    b"digitalArt": "digital art",
}
# As a URL of the vocabulary (XMP, and inside C2PA assertions) or as the bare word in an XMP property.
_SOURCE_TYPE = re.compile(rb"(?:newscodes/digitalsourcetype/|DigitalSourceType(?:=[\"']|>))((?!http)[A-Za-z]{4,40})")
#: superbox, its description box, and the type UUID that begins with "c2pa"
_C2PA_BOX = re.compile(rb"jumb.{4}jumdc2pa", re.DOTALL)

_TEXT_GENERATORS = (
    ("invokeai_metadata", "InvokeAI"),
    ("sd-metadata", "InvokeAI"),
    ("dream", "InvokeAI"),
    ("fooocus_scheme", "Fooocus"),
    ("workflow", "ComfyUI"),
    ("prompt", "ComfyUI"),
    ("parameters", "Stable Diffusion web UI"),
)


def provenance_of(image: Image.Image, data: bytes) -> str:
    """One line of claims joined by ``"; "``, e.g. ``claims camera: Canon EOS 5D``; ``""`` if there are none.

    image: an opened file (header read; pixels need not be). data: the file's bytes, or as many of the first ones as
    there are. Never raises for what a file holds.
    """
    claims = dict.fromkeys([*_text_claims(image.info), *_exif_claims(image), *_byte_claims(data)])
    line = "; ".join(claims)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _text_claims(info: Mapping[Any, Any]) -> Iterator[str]:
    texts = {str(key).lower(): value for key, value in info.items() if isinstance(value, str)}
    for key, name in _TEXT_GENERATORS:
        if key not in texts or (name == "ComfyUI" and not texts[key].lstrip().startswith(("{", "["))):
            continue
        yield f"claims generator: {name} (PNG text)"
        break
    if software := _clean(texts.get("software")):
        yield f"claims software: {software} (PNG text)"


def _exif_claims(image: Image.Image) -> Iterator[str]:
    try:
        exif = image.getexif()
        make, model, software = (_clean(exif.get(tag)) for tag in (0x010F, 0x0110, 0x0131))
        comment = exif.get_ifd(0x8769).get(0x9286)
    # Pillow parses EXIF bytes only now and raises whatever they lead it into; what cannot be parsed claims nothing.
    except Exception:
        return
    if model:
        # Most makers repeat their name in the model: "Canon", "Canon EOS 5D".
        yield f"claims camera: {model if not make or model.startswith(make.split()[0]) else f'{make} {model}'}"
    elif make:
        yield f"claims camera: {make}"
    if software:
        yield f"claims software: {software} (EXIF)"
    # JPEG and WebP of the web UI keep in the user comment what its PNG files keep as text.
    if (
        isinstance(comment, bytes)
        and b"Steps: " in comment.replace(b"\0", b"")
        and b"Sampler" in comment.replace(b"\0", b"")
    ):
        yield "claims generator: Stable Diffusion web UI (EXIF)"


def _byte_claims(data: bytes) -> Iterator[str]:
    head = data[:_SEARCHED_BYTES]
    kind = None
    # Plain substring search first: the expression alone took as long as decoding a small PNG.
    if b"DigitalSourceType" in head or b"digitalsourcetype/" in head:
        kinds = (match.group(1) for match in _SOURCE_TYPE.finditer(head))
        kind = next((kind for kind in kinds if kind in _SOURCE_TYPES), None)
    if kind:
        yield f"claims source: {_SOURCE_TYPES[kind]} (IPTC {kind.decode('ascii')})"
    if has_c2pa(data):
        yield "C2PA manifest present (not verified)"


def has_c2pa(data: bytes) -> bool:
    """Whether a C2PA manifest store (JUMBF superbox labelled ``c2pa``) is in the metadata of a JPEG, PNG, WebP, TIFF
    or ISO media file. Nothing is verified."""
    if data.startswith(b"\xff\xd8"):
        return any(marker == 0xEB and _C2PA_BOX.search(body, 0, 64) for marker, body in _segments(data))
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return any(kind == b"caBX" for kind in _png_chunks(data))
    return (
        b"jumdc2pa" in data and _C2PA_BOX.search(data) is not None
    )  # other containers keep the box as it is, before or after the pixels


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of the segments before a JPEG's scan; stops where the bytes make no sense."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in (0xD9, 0xDA) or length < 2:
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _png_chunks(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(data):
        yield data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")


def _clean(value: object) -> str:
    """Text of a metadata field on one line; ``""`` for what is no text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    text = " ".join(value.replace("\0", " ").split())
    return "".join(c for c in text if c.isprintable())[:60].strip()
