"""C2PA manifests, signed here and verified by c2pa-python."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("c2pa", reason="needs the extra c2pa")

from cli_calls import call
from files import box, chain, picture, saved, signed

from aigiscan.errors import InputError
from aigiscan.provenance import Claim, ProvenanceReader, says_ai
from aigiscan.provenance.c2pa import Verifier

OFFLINE = Verifier()


@pytest.fixture
def trusting(tmp_path: Path) -> Verifier:
    (tmp_path / "trust.pem").write_bytes(chain()[2])
    return Verifier([tmp_path / "trust.pem"]).check()


def read(data: bytes, verifier: Verifier = OFFLINE) -> list[Claim]:
    return ProvenanceReader(verifier).read(data).claims()


def manifest(claims: list[Claim]) -> Claim:
    (claim,) = [c for c in claims if c.kind == "c2pa"]
    return claim


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_intact_manifest_of_an_unknown_and_of_a_trusted_signer(form: str, trusting: Verifier) -> None:
    data = signed(saved(form), f"image/{form.lower()}")
    unknown, trusted = manifest(read(data)), manifest(read(data, trusting))
    assert unknown.verified is None
    assert unknown.value.startswith(
        "intact, signer on no given trust list, signed by Test signer, with aigiscan-tests 1"
    )
    assert trusted.verified is True
    assert trusted.value.startswith("verified, signer on the trust list")
    detail = json.loads(trusted.detail)
    assert detail["state"] == "trusted"
    assert detail["signer"] == "Test signer"
    assert detail["actions"] == [
        {"action": "c2pa.created", "source_type": "trainedAlgorithmicMedia", "agent": "Test generator", "when": ""}
    ]
    said = [c for c in read(data, trusting) if c.kind == "source_type"]
    assert said == [Claim("source_type", "made by AI (trainedAlgorithmicMedia)", "C2PA c2pa.created", True, True)]


def test_tampered_pixels_and_tampered_claim_are_invalid(trusting: Verifier) -> None:
    data = bytearray(signed(saved("JPEG")))
    pixels, claim = data.copy(), data.copy()
    pixels[-100] ^= 1
    claim[claim.find(b"Test generator")] = ord("B")
    other = read(bytes(pixels), trusting)
    assert manifest(other).verified is False
    assert "INVALID (assertion.dataHash.mismatch)" in manifest(other).value
    assert [c.value for c in other if c.kind == "conflict"] == [
        "the C2PA manifest was made for other pixels than these"
    ]
    forged = read(bytes(claim), trusting)
    assert manifest(forged).verified is False
    assert "assertion.hashedURI.mismatch" in manifest(forged).value
    assert not [c for c in forged if c.kind == "conflict"]
    # what an invalid manifest says is still shown, as false
    assert [c.verified for c in forged if c.kind == "source_type"] == [False]


def test_expired_certificate() -> None:
    # The library refuses to sign with a certificate that has expired: take one that is about to.
    by = chain("Late signer", -60, 1.5 / 86400)
    data = signed(saved("JPEG"), by=by)
    assert manifest(read(data)).verified is None
    time.sleep(3)
    found = manifest(read(data))
    assert found.verified is False
    assert "INVALID (signingCredential.expired)" in found.value


def test_ingredients_are_followed(trusting: Verifier) -> None:
    made = signed(saved("JPEG"), agent="DALL·E")
    edited = signed(made, action="c2pa.edited", source_type="", agent="Editor", parent=made)
    found = read(edited, trusting)
    assert json.loads(manifest(found).detail)["ingredients"] == [
        {"title": "parent", "relationship": "parentOf", "manifest": True}
    ]
    wheres = {c.where: c.value for c in found if c.ai}
    assert wheres == {"C2PA c2pa.created of an ingredient": wheres["C2PA c2pa.created of an ingredient"]}
    assert {c.kind for c in found if c.ai} == {"source_type", "generator"}


def test_digital_capture_is_no_ai(trusting: Verifier) -> None:
    found = read(signed(saved("JPEG"), source_type="digitalCapture", agent="Camera"), trusting)
    assert not says_ai(found)
    assert [c.value for c in found if c.kind == "source_type"] == ["digital capture (digitalCapture)"]


def test_a_remote_manifest_is_named_and_not_fetched() -> None:
    data = signed(saved("JPEG"), remote="http://127.0.0.1:9/m.c2pa")
    (claim,) = [c for c in read(data) if c.kind == "c2pa"]
    assert claim.value == "manifest kept elsewhere, not fetched: http://127.0.0.1:9/m.c2pa"


def test_without_a_verifier_presence_alone() -> None:
    found = ProvenanceReader().read(signed(saved("PNG"), "image/png")).claims()
    assert manifest(found).value == "manifest present, not verified (pip install 'aigiscan[c2pa]')"
    assert says_ai(found)  # its words are there, unverified
    assert {c.verified for c in found} == {None}


MP4 = box(b"ftyp", b"isom\0\0\2\0isommp41") + box(b"moov", box(b"mvhd", bytes(100))) + box(b"mdat", bytes(1000))
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    b"xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000052 00000 n \n"
    b"trailer<</Size 3/Root 1 0 R>>\nstartxref\n101\n%%EOF"
)


@pytest.mark.parametrize(("name", "mime", "plain"), [("v.mp4", "video/mp4", MP4), ("d.pdf", "application/pdf", PDF)])
def test_videos_and_documents(name: str, mime: str, plain: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(signed(plain, mime))
    (tmp_path / f"plain-{name}").write_bytes(plain)
    rows = [json.loads(line) for line in call(
        "scan", tmp_path, "--all-files", "--provenance-only", "--format", "jsonl"
    ).stdout.splitlines()]  # fmt: skip
    kinds = {Path(row["path"]).name: [claim["kind"] for claim in row["claims"]] for row in rows}
    assert kinds == {name: ["c2pa", "source_type"], f"plain-{name}": []}


def test_damaged_manifests_never_raise() -> None:
    data = signed(saved("JPEG", picture(16, 16)))
    for at in range(2, min(len(data), 9000), 97):
        broken = bytearray(data)
        broken[at] ^= 0x55
        read(bytes(broken))
        read(bytes(data[:at]))


def test_a_trust_list_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Verifier([tmp_path / "none.pem"]).check()
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(InputError, match="holds no PEM certificate"):
        Verifier([tmp_path / "text.pem"]).check()


def test_open_files_are_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(signed(saved("JPEG")))
    with open(tmp_path / "a.jpg", "rb") as file:
        assert manifest(ProvenanceReader(OFFLINE).read(file).claims())
    assert manifest(ProvenanceReader(OFFLINE).read(io.BytesIO((tmp_path / "a.jpg").read_bytes())).claims())
