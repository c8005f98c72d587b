"""Every row of docs/provenance.md is found, nothing else is, and hostile bytes cost little."""

from __future__ import annotations

import io
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from cases import COMFY, WEB_UI, Case, cases
from files import box, exif, iptc, jpeg_with, picture, png, saved, user_comment, with_stealth, xmp

from aigiscan.provenance import Claim, ProvenanceReader, one_line, says_ai
from aigiscan.provenance.claims import as_objects, from_json, to_json
from aigiscan.provenance.conflicts import CAMERAS

READER = ProvenanceReader()


def claims(
    data: bytes, image: Image.Image | None = None, reader: ProvenanceReader = READER, **given: Any
) -> list[Claim]:
    return reader.read(data).claims(image, **given)


ALL = list(cases())


@pytest.mark.parametrize(("name", "data", "kind", "words", "ai"), ALL, ids=[case[0] for case in ALL])
def test_every_row_of_the_table_is_found(name: str, data: bytes, kind: str, words: str, ai: bool) -> None:
    found = claims(data)
    matching = [claim for claim in found if claim.kind == kind and words in claim.value]
    assert matching, found
    assert all(claim.ai == ai and claim.verified is None for claim in matching)
    assert says_ai(found) == ai, found


def test_heic(tmp_path: object) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    heif.register_heif_opener()
    typed = xmp(Iptc4xmpExt_DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia")
    found = claims(saved("HEIF", xmp=typed, exif=exif({0x0110: "Box 1"})))
    assert [c.kind for c in found] == ["source_type", "camera", "conflict"]


def test_the_document_has_every_row() -> None:
    text = (Path(__file__).parents[2] / "docs" / "provenance.md").read_text(encoding="utf-8")
    missing = [name for name, *_ in ALL if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize(
    "data",
    [
        saved("JPEG"), saved("PNG"), saved("WEBP"), saved("GIF"), saved("TIFF"), saved("AVIF"), b"", b"\xff\xd8",
        png({"prompt": "write your name here", "Comment": "hello", "parameters": "width 3"}),
        png({"prompt": "{}", "workflow": "[]"}),
        png({"Description": "a talk about Midjourney and DALL-E"}),
        jpeg_with(0xFE, b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90"),
        saved("JPEG", exif=exif({0x010E: "The Gemini constellation, photographed by A. Grok"})),
        saved("JPEG", exif=exif({0x010E: "Signature: on file", 0x013B: "A. Person"})),
        saved("JPEG", exif=exif({0x9286: user_comment("steps: up the stairs")})),
        saved("JPEG", xmp=xmp(dc_description="Protest against AI-generated pictures")),
        iptc(Caption="OpenAI's office, photographed from the street", Headline="AI-generated art debated"),
        jpeg_with(0xEB, b"JP\0\1\0\0\0\1" + box(b"jumb", b"a text on jumb boxes and c2pa" * 3)),
    ],
)  # fmt: skip
def test_nothing_is_claimed_of_files_that_claim_nothing(data: bytes) -> None:
    assert claims(data) == []


def test_a_c2pa_store_in_several_segments_and_boxes_is_seen() -> None:
    inner = box(b"jumb", box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0") + b"\0" * 40)
    url = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    split = jpeg_with(0xEB, b"JP\0\7\0\0\0\2" + inner[:8] + url)
    split = jpeg_with(0xEB, b"JP\0\7\0\0\0\1" + inner, split)
    chunk = struct.pack(">I", len(inner)) + b"caBX" + inner + struct.pack(">I", zlib.crc32(b"caBX" + inner))
    png_data = saved("PNG")
    webp = saved("WEBP")
    for data in (split, png_data[:33] + chunk + png_data[33:], webp + b"C2PA" + struct.pack("<I", len(inner)) + inner):
        found = claims(data)
        assert any(c.kind == "c2pa" and "present, not verified" in c.value for c in found), found
    said = [c for c in claims(split) if c.kind == "source_type"]
    assert said[0].where == "C2PA, not verified"
    assert said[0].ai


@pytest.mark.parametrize(("channels", "packed"), [("alpha", False), ("alpha", True), ("rgb", False), ("rgb", True)])
def test_texts_hidden_in_the_pixels(channels: str, packed: bool) -> None:
    image = with_stealth(
        '{"Software": "NovelAI", "Source": "NAI V4", "Comment": "{\\"seed\\": 9}"}', channels=channels, packed=packed
    )
    data = saved("PNG", image)
    (claim,) = claims(data, image)
    assert claim == Claim(
        "generator", "NovelAI, model NAI V4, seed 9", "hidden in the pixels, PNG text Software", ai=True
    )
    assert claims(data) == []
    assert claims(saved("PNG"), picture(mode="RGBA")) == []
    (claim,) = claims(data, with_stealth(WEB_UI, channels=channels, packed=packed))
    assert claim.value.startswith("Stable Diffusion web UI")


# ---- conflicts


def conflicting(data: bytes, **given: Any) -> list[str]:
    return [c.value for c in claims(data, **given) if c.kind == "conflict"]


def test_camera_beside_a_generator() -> None:
    both = saved("JPEG", exif=exif({0x0110: "Canon EOS 5D"}, {0x9286: user_comment(WEB_UI)}))
    (said,) = conflicting(both)
    assert said.startswith("EXIF Model says Canon EOS 5D, EXIF UserComment says Stable Diffusion web UI")
    assert not conflicting(saved("JPEG", exif=exif({0x0110: "Canon EOS 5D", 0x0131: "Adobe Photoshop CS3"})))


def test_size_and_date_that_a_camera_cannot_have_made() -> None:
    old = exif({0x0110: "NIKON D90"}, {0x9003: "2003:05:01 10:00:00"})
    said = conflicting(saved("JPEG", exif=old), size=(6000, 4000))
    assert said == [
        "6000x4000 pixels are more than a NIKON D90 makes (12.3 megapixels)",
        "taken in 2003, but the NIKON D90 came out in 2008",
    ]
    assert not conflicting(
        saved("JPEG", exif=exif({0x0110: "NIKON D90"}, {0x9003: "2009:05:01 10:00:00"})), size=(4288, 2848)
    )
    assert not conflicting(saved("JPEG", exif=exif({0x0110: "iPhone 12"})), size=(16000, 3800))  # a panorama
    assert all(1995 < year < 2030 and 0 <= size < 200 for size, year in CAMERAS.values())


def test_thumbnail_of_another_picture() -> None:
    def with_thumbnail(image: object) -> bytes:
        small = saved("JPEG", image)  # type: ignore[arg-type]
        main = exif({0x0110: "Box 1"}).removeprefix(b"Exif\0\0")
        # a second directory behind the first: where its data lies, and how long it is
        (first,) = struct.unpack(">I", main[4:8]) if main[:2] == b"MM" else struct.unpack("<I", main[4:8])
        order = ">" if main[:2] == b"MM" else "<"
        (count,) = struct.unpack(order + "H", main[first : first + 2])
        link = first + 2 + 12 * count
        at = len(main)
        entries = struct.pack(order + "H", 2)
        entries += struct.pack(order + "HHII", 0x0201, 4, 1, at + 2 + 24 + 4) + struct.pack(
            order + "HHII", 0x0202, 4, 1, len(small)
        )
        main = main[:link] + struct.pack(order + "I", at) + main[link + 4 :] + entries + b"\0" * 4 + small
        return saved("JPEG", picture(480, 320), exif=b"Exif\0\0" + main)

    same, other = with_thumbnail(picture(96, 64)), with_thumbnail(picture(96, 64, seed=5))
    barred = picture(96, 72).resize((96, 64))
    framed = picture(96, 64).crop((0, -4, 96, 68))  # black bars above and below, as cameras write them
    assert not conflicting(same, image=picture(480, 320))
    assert not conflicting(with_thumbnail(framed), image=picture(480, 320))
    assert barred.size == (96, 64)
    (said,) = conflicting(other, image=picture(480, 320))
    assert "thumbnail shows another picture" in said
    assert not conflicting(other)  # without pixels nothing is compared


# ---- what is kept back, how it is written


def test_serial_number_and_position_only_when_asked_for() -> None:
    tags = {0x0110: "Box 1", 0x8825: {1: "N", 2: (48.0, 8.0, 15.0), 3: "E", 4: (11.0, 34.0, 30.0)}}
    data = saved("JPEG", exif=exif(tags, {0xA431: "SN-123"}))
    said = " ".join(c.value for c in claims(data))
    assert "SN-123" not in said
    assert "48" not in said
    told = " ".join(c.value for c in claims(data, reader=ProvenanceReader(personal=True)))
    assert "serial number SN-123" in told
    assert "position 48.13750, 11.57500" in told


def test_one_line_puts_ai_first_and_stays_short_and_printable() -> None:
    some = [
        Claim("camera", "Box 1", "EXIF Model"),
        Claim("source_type", "made by AI", "C2PA c2pa.created", True, True),
        Claim("generator", "ComfyUI", "PNG text prompt", None, True),
    ]
    assert one_line(some) == (
        "claims source: made by AI (C2PA c2pa.created); claims generator: ComfyUI (PNG text prompt); "
        "claims camera: Box 1 (EXIF Model)"
    )
    assert one_line([]) == ""
    assert from_json(to_json(some)) == some
    assert to_json([]) == "" and from_json("") == []
    assert as_objects(some)[0] == {
        "kind": "camera",
        "value": "Box 1",
        "where": "EXIF Model",
        "verified": None,
        "ai": False,
        "detail": None,
    }
    wild = claims(saved("JPEG", exif=exif({0x010F: "x\ny" * 100, 0x0110: "z\r\t\x1b[31m" * 100, 0x0131: "w" * 1000})))
    assert one_line(wild).isprintable()
    assert len(one_line(wild)) <= 240


# ---- hostile bytes


@given(
    case=st.sampled_from(ALL),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12),
    cut=st.none() | st.integers(0, 10**6),
)
@example(case=ALL[0], flips=[], cut=40)
def test_damaged_files_never_raise(case: Case, flips: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(case[1])
    for at, value in flips:
        data[at % len(data)] = value
    found = claims(bytes(data[: None if cut is None else cut % len(data)]))
    assert one_line(found).isprintable()


@given(
    head=st.sampled_from(
        [
            b"\xff\xd8\xff\xe1",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\0\0\0\0WEBP",
            b"GIF89a",
            b"II*\0",
            b"MM\0*",
            b"\0\0\0\x0cJXL ",
            b"\0\0\0\x18ftypavif",
        ]
    ),
    tail=st.binary(max_size=400),
)
def test_wild_bytes_never_raise(head: bytes, tail: bytes) -> None:
    assert one_line(claims(head + tail)).isprintable()


def bombs() -> dict[str, bytes]:
    zeros = zlib.compress(b"\0" * 300_000_000)
    body = b"parameters\0\0" + zeros
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", 0)
    plain = saved("PNG")
    deep = b"<a:b>" * 200_000
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY a%d "&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;">' % (i + 1, *[i] * 8) for i in range(1, 12)
    ) + b"]><x:xmpmeta><xmp:CreatorTool>&a12;</xmp:CreatorTool></x:xmpmeta>"  # fmt: skip
    opened = b"<xmp:CreatorTool>" * 60_000
    jumbf = b"\0" * 24
    for _ in range(2_000):
        jumbf = box(b"jumb", box(b"jumd", b"c2pa" + b"\0" * 20) + jumbf)
    ifd = b"MM\0*\0\0\0\x08" + struct.pack(">H", 500) + b"".join(
        struct.pack(">HHII", 0x010F if i % 2 else 0x9286, 2, 0xFFFFFF, 8) for i in range(500)
    )  # fmt: skip
    nested = png({"prompt": "{" + '"a":{' * 100_000, "workflow": "[" * 500_000})
    return {
        "zTXt bomb": plain[:33] + chunk * 20 + plain[33:],
        "deep XMP": saved("WEBP", xmp=deep),
        "entities": saved("WEBP", xmp=entities),
        "unclosed elements": saved("WEBP", xmp=opened),
        "deep JUMBF": saved("WEBP") + b"C2PA" + struct.pack("<I", len(jumbf)) + jumbf,
        "EXIF that points at itself": saved("WEBP", exif=b"Exif\0\0" + ifd + b"\0" * 100),
        "deep JSON": nested,
        "a million empty chunks": plain[:33] + struct.pack(">I4sI", 0, b"tEXt", 0) * 1_000_000 + plain[33:],
        "GIF of empty blocks": saved("GIF")[:-1] + b"\x21\xf9\0" * 1_000_000,
    }


@pytest.mark.parametrize(("name", "data"), bombs().items(), ids=bombs().keys())
def test_hostile_metadata_costs_bounded_time_and_memory(name: str, data: bytes) -> None:
    tracemalloc.start()
    begin = time.process_time()
    claims(data)
    seconds, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000_000, f"{name}: {peak / 1e6:.0f} MB"
    # not a speed test: without its bound each of these takes minutes or all memory
    assert seconds < 20, f"{name}: {seconds:.1f} s"


def test_a_file_is_read_from_its_metadata_alone(tmp_path: Path) -> None:
    """The pixels of a large file are passed over, not read."""

    class Counting(io.BytesIO):
        amount = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.amount += len(data)
            return data

    plain = png({"prompt": __import__("json").dumps(COMFY)}, after=True)
    big = plain[:33] + struct.pack(">I", 30_000_000) + b"IDAT" + bytes(30_000_004) + plain[33:]
    file = Counting(big)
    assert says_ai(READER.read(file).claims())
    assert file.amount < 500_000
