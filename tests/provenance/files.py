"""Small files with metadata in every container, and C2PA manifests signed with certificates made here."""

from __future__ import annotations

import datetime
import io
import json
import struct
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 48, height: int = 32, seed: int = 0, mode: str = "RGB") -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, len(mode)), dtype=np.uint8)
    return Image.fromarray(small, mode).resize((width, height), Image.Resampling.BICUBIC)


def saved(form: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or picture()).save(out, form, **options)
    return out.getvalue()


def png(texts: dict[str, str], *, kind: str = "tEXt", after: bool = False) -> bytes:
    """texts as tEXt, zTXt or iTXt chunks (``iTXt-z``: compressed), before or after the pixels."""
    chunks = b""
    for key, text in texts.items():
        name, body = key.encode("latin-1"), text.encode()
        if kind == "zTXt":
            data = name + b"\0\0" + zlib.compress(body)
        elif kind.startswith("iTXt"):
            packed = kind.endswith("-z")
            data = name + (b"\0\1\0\0\0" + zlib.compress(body) if packed else b"\0\0\0\0\0" + body)
        else:
            data = name + b"\0" + body
        word = kind[:4].encode()
        chunks += struct.pack(">I", len(data)) + word + data + struct.pack(">I", zlib.crc32(word + data))
    plain = saved("PNG")
    at = len(plain) - 12 if after else 33
    return plain[:at] + chunks + plain[at:]


def exif(ifd0: dict[int, Any] | None = None, sub: dict[int, Any] | None = None) -> bytes:
    """With ``Exif\\0\\0`` in front."""
    found = Image.Exif()
    for tag, value in (ifd0 or {}).items():
        found[tag] = value
    for tag, value in (sub or {}).items():
        found.get_ifd(0x8769)[tag] = value
    return found.tobytes()


def user_comment(text: str) -> bytes:
    return b"UNICODE\0" + text.encode("utf-16-be")


def xmp(**properties: str) -> bytes:
    """A packet; a name is ``prefix_Name``, a value that begins with ``<`` becomes an element's content."""
    attributes = "".join(
        f' {k.replace("_", ":", 1)}="{v}"' for k, v in properties.items() if not v.startswith(("<", "{"))
    )
    elements = "".join(
        f"<{k.replace('_', ':', 1)}>{v}</{k.replace('_', ':', 1)}>"
        for k, v in properties.items()
        if v.startswith(("<", "{"))
    )
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
        f'<rdf:Description rdf:about=""{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def iptc(**fields: str) -> bytes:
    """JPEG with an IPTC block: names with _ for spaces, e.g. Special_Instructions."""
    from aigiscan.provenance.xmp import IIM_FIELDS

    numbers = {name: number for number, name in IIM_FIELDS.items()}
    record = b"".join(
        struct.pack(">BBBH", 0x1C, 2, numbers[name.replace("_", " ")], len(text.encode())) + text.encode()
        for name, text in fields.items()
    )
    block = b"8BIM" + struct.pack(">HBBI", 0x0404, 0, 0, len(record)) + record + b"\0" * (len(record) % 2)
    return jpeg_with(0xED, b"Photoshop 3.0\0" + block)


def jpeg_with(marker: int, body: bytes, plain: bytes | None = None) -> bytes:
    plain = plain or saved("JPEG")
    return plain[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + plain[2:]


def extended_xmp(main: bytes, extension: bytes, pieces: int = 2) -> bytes:
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    data = saved("JPEG")
    step = -(-len(extension) // pieces)
    for offset in reversed(range(0, len(extension), step)):
        head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(extension), offset)
        data = jpeg_with(0xE1, head + extension[offset : offset + step], data)
    packet = main.replace(b'rdf:about=""', b'rdf:about="" xmpNote:HasExtendedXMP="' + guid + b'"')
    return jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet, data)


def gif_with_xmp(packet: bytes) -> bytes:
    plain = saved("GIF")
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return plain[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + trailer + plain[-1:]


def samsung_trailer(name: bytes, data: bytes) -> bytes:
    block = b"\0\0\x01\x0a" + struct.pack("<I", len(name)) + name + data
    directory = b"SEFH" + struct.pack("<II", 107, 1) + struct.pack("<HHII", 0, 0x0A01, len(block), len(block))
    return saved("JPEG") + block + directory + struct.pack("<I", len(directory)) + b"SEFT"


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def jxl(exif_data: bytes = b"", packet: bytes = b"") -> bytes:
    """The container alone; the codestream is not one."""
    boxes = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    if exif_data:
        boxes += box(b"Exif", b"\0\0\0\0" + exif_data.removeprefix(b"Exif\0\0"))
    return boxes + (box(b"xml ", packet) if packet else b"") + box(b"jxlc", b"\xff\x0a")


def with_stealth(text: str, *, channels: str = "alpha", packed: bool = False) -> Image.Image:
    """A picture whose lowest bits hold a text: 15 bytes of signature, 32 bits of length, the text."""
    import gzip

    data = gzip.compress(text.encode()) if packed else text.encode()
    signature = f"stealth_{'png' if channels == 'alpha' else 'rgb'}{'comp' if packed else 'info'}".encode()
    bits = np.unpackbits(np.frombuffer(signature + struct.pack(">I", 8 * len(data)) + data, dtype=np.uint8))
    pixels = np.asarray(picture(96, 64, mode="RGBA")).copy()
    pixels[..., 3] = 255
    chosen = slice(3, 4) if channels == "alpha" else slice(0, 3)
    columns = pixels[:, :, chosen].transpose(1, 0, 2).copy()
    flat = columns.reshape(-1)
    flat[: len(bits)] = flat[: len(bits)] & 0xFE | bits
    pixels[:, :, chosen] = flat.reshape(columns.shape).transpose(1, 0, 2)
    return Image.fromarray(pixels, "RGBA")


# ---- C2PA


@lru_cache
def chain(common_name: str = "Test signer", first_day: float = -1, last_day: float = 30) -> tuple[bytes, bytes, bytes]:
    """PEM of signer and root, private key, root alone; valid from and to so many days from now."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text), x509.NameAttribute(NameOID.COMMON_NAME, text)]
        )

    def usage(**on: bool) -> x509.KeyUsage:
        flags = (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        )  # fmt: skip
        return x509.KeyUsage(**{flag: on.get(flag, False) for flag in flags})

    now = datetime.datetime.now(datetime.timezone.utc)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(subject: str, public: Any, days: tuple[float, float], authority: bool) -> x509.Certificate:
        made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("Test root"))
        made = made.public_key(public).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now + datetime.timedelta(days[0])).not_valid_after(
            now + datetime.timedelta(days[1])
        )
        made = made.add_extension(x509.BasicConstraints(authority, None), True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
        if authority:
            made = made.add_extension(usage(key_cert_sign=True, crl_sign=True), True)
        else:
            made = made.add_extension(usage(digital_signature=True), True)
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True)
        return made.sign(root_key, hashes.SHA256())

    root = certificate("Test root", root_key.public_key(), (-3000, 3000), True)
    leaf = certificate(common_name, key.public_key(), (first_day, last_day), False)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + root.public_bytes(pem), secret, root.public_bytes(pem)


def signed(
    data: bytes,
    mime: str = "image/jpeg",
    *,
    by: tuple[bytes, bytes, bytes] | None = None,
    action: str = "c2pa.created",
    source_type: str = "trainedAlgorithmicMedia",
    agent: str = "Test generator",
    parent: bytes | None = None,
    remote: str = "",
) -> bytes:
    import c2pa

    certificates, key, _ = by or chain()
    actions = {"actions": [{"action": action, "softwareAgent": {"name": agent}}]}
    if source_type:
        url = f"http://cv.iptc.org/newscodes/digitalsourcetype/{source_type}"
        actions["actions"][0]["digitalSourceType"] = url  # type: ignore[assignment]
    manifest = {
        "claim_generator_info": [{"name": "aigiscan-tests", "version": "1"}],
        "title": "picture",
        "format": mime,
        "assertions": [{"label": "c2pa.actions", "data": actions}],
    }
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, certificates, key, None)
    quiet = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
    builder = c2pa.Builder(json.dumps(manifest), context=c2pa.Context(c2pa.Settings.from_dict(quiet)))
    if parent is not None:
        builder.add_ingredient(json.dumps({"title": "parent", "relationship": "parentOf"}), mime, io.BytesIO(parent))
    if remote:
        builder.set_no_embed()
        builder.set_remote_url(remote)
    out = io.BytesIO()
    builder.sign(c2pa.Signer.from_info(info), mime, io.BytesIO(data), out)
    return out.getvalue()
