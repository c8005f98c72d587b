from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from bad_files import encoded, photo
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from aigiscan.images.decode import decode
from aigiscan.images.provenance import has_c2pa, provenance_of
from aigiscan.images.records import ImageRecord

JUMBF = b"\0\0\0\x40jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0" + b"\0" * 20
AI_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description Iptc4xmpExt:DigitalSourceType='
    b'"http://cv.iptc.org/newscodes/digitalsourcetype/%s"/></x:xmpmeta>'
)


def claims(data: bytes) -> str:
    return provenance_of(Image.open(io.BytesIO(data)), data)


def png(**texts: str) -> bytes:
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    return encoded(photo(), "PNG", pnginfo=info)


def with_exif(**tags: str) -> bytes:
    exif = Image.Exif()
    for key, tag in (("make", 0x010F), ("model", 0x0110), ("software", 0x0131)):
        if key in tags:
            exif[tag] = tags[key]
    return encoded(photo(), "JPEG", exif=exif.tobytes())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"parameters": "a dog\nSteps: 20, Sampler: Euler"}, "claims generator: Stable Diffusion web UI (PNG text)"),
        ({"prompt": '{"3": {}}', "workflow": "{}"}, "claims generator: ComfyUI (PNG text)"),
        ({"prompt": "write your name here"}, ""),
        ({"invokeai_metadata": "{}"}, "claims generator: InvokeAI (PNG text)"),
        ({"Software": "GIMP\n2.10"}, "claims software: GIMP 2.10 (PNG text)"),
        ({"Comment": "hello"}, ""),
    ],
)
def test_png_texts(texts: dict[str, str], expected: str) -> None:
    assert claims(png(**texts)) == expected


def test_exif() -> None:
    assert claims(with_exif(make="Canon", model="Canon EOS 5D")) == "claims camera: Canon EOS 5D"
    assert claims(with_exif(make="NIKON CORPORATION", model="D90")) == "claims camera: NIKON CORPORATION D90"
    assert (
        claims(with_exif(make="Acme", software="Photo\0shop"))
        == "claims camera: Acme; claims software: Photo shop (EXIF)"
    )
    assert claims(encoded(photo(), "JPEG")) == ""


def test_web_ui_parameters_in_the_user_comment() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a dog\nSteps: 20, Sampler: Euler a".encode("utf-16-be")
    assert claims(encoded(photo(), "JPEG", exif=exif)) == "claims generator: Stable Diffusion web UI (EXIF)"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (b"trainedAlgorithmicMedia", "made by AI"),
        (b"compositeWithTrainedAlgorithmicMedia", "composite with AI-made parts"),
        (b"digitalCapture", "digital capture"),
    ],
)
def test_digital_source_type(kind: bytes, words: str) -> None:
    expected = f"claims source: {words} (IPTC {kind.decode()})"
    assert claims(encoded(photo(), "JPEG", xmp=AI_XMP % kind)) == expected
    element = b"<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/%s</Iptc4xmpExt:Digital"
    assert claims(encoded(photo(), "WEBP", xmp=element % kind)) == expected


def test_c2pa_in_jpeg_and_png() -> None:
    jpeg = encoded(photo(), "JPEG")
    body = b"JP\0\x01\0\0\0\x01" + JUMBF
    marked = jpeg[:2] + b"\xff\xeb" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    assert claims(marked) == "C2PA manifest present (not verified)"
    plain = encoded(photo(), "PNG")
    chunk = struct.pack(">I", len(JUMBF)) + b"caBX" + JUMBF + struct.pack(">I", zlib.crc32(b"caBX" + JUMBF))
    assert has_c2pa(plain[:33] + chunk + plain[33:])
    webp = encoded(photo(), "WEBP")
    assert has_c2pa(webp + b"C2PA" + struct.pack("<I", len(JUMBF)) + JUMBF)
    assert not any(has_c2pa(data) for data in (jpeg, plain, webp, b"", b"jumdc2pa", b"a text on jumb boxes and c2pa"))


def test_a_caption_that_speaks_of_c2pa_is_no_manifest() -> None:
    assert "C2PA" not in claims(encoded(photo(), "JPEG", comment=b"jumb c2pa jumdc2pa"))


def test_claims_stay_on_one_short_line() -> None:
    line = claims(with_exif(make="x\ny" * 100, model="z\r\t\x1b[31m" * 100, software="w" * 1000))
    assert line.isprintable()
    assert len(line) <= 160


def test_texts_after_the_pixels_are_seen(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    body = b"parameters\0Steps: 20"
    chunk = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    (tmp_path / "x.png").write_bytes(data[:-12] + chunk + data[-12:])
    facts = decode(ImageRecord(str(tmp_path / "x.png"))).facts
    assert facts.provenance == "claims generator: Stable Diffusion web UI (PNG text)"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@given(exif=st.binary(max_size=200), xmp=st.binary(max_size=200), tail=st.binary(max_size=200), cut=st.integers(0, 400))
def test_wild_bytes_never_crash(exif: bytes, xmp: bytes, tail: bytes, cut: int) -> None:
    base = encoded(photo(8, 8), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + exif, xmp=b"DigitalSourceType" + xmp)
    assert provenance_of(Image.open(io.BytesIO(base)), base[:cut] + tail).isprintable()
    for start in (b"\xff\xd8\xff\xeb", b"\x89PNG\r\n\x1a\n", b"jumdc2pa", b""):
        assert has_c2pa(start + tail) in (True, False)
