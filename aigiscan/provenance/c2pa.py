"""C2PA manifests ("Content Credentials"): read and verified with c2pa-python, the reference implementation's binding.

Offline unless asked otherwise: no OCSP, no remote manifests. What verification decides and what not: the hashes bind
the manifest to these very bytes and the signature to a certificate; whether the signer is who it says depends on the
trust list given. Specification: C2PA 2.2, sections 15 (validation) and 14.4 (trust lists).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from aigiscan.errors import InputError, MissingDependencyError
from aigiscan.provenance.claims import C2PA, CONFLICT, GENERATOR, SOURCE_TYPE, Claim, clean
from aigiscan.provenance.names import SOURCE_TYPES, generator_name

EXTRA = "pip install 'aigiscan[c2pa]'"
#: deeper ingredient chains are not followed
_DEEPEST = 32
_MIME = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "TIFF": "image/tiff",
    "JXL": "image/jxl", "PDF": "application/pdf",
}  # fmt: skip
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
}
#: codes that say that the manifest was made for other bytes than these
_OTHER_BYTES = ("assertion.dataHash.mismatch", "assertion.bmffHash.mismatch", "assertion.boxesHash.mismatch")


def available() -> bool:
    """Whether c2pa-python is installed."""
    import importlib.util

    return importlib.util.find_spec("c2pa") is not None


@dataclass(frozen=True)
class Verifier:
    """Reads and verifies manifests.

    trust: PEM files of certificates that are trusted (the C2PA trust list and the interim list can be given so).
    online: also fetch remote manifests and ask for revocations. MissingDependencyError without c2pa-python, InputError
    for a trust file that cannot be read.
    """

    trust: Sequence[Path] = field(default_factory=tuple)
    online: bool = False

    @cached_property
    def _context(self) -> Any:
        try:
            from c2pa import C2paError, Context, Settings
        except ImportError as error:
            raise MissingDependencyError(f"verifying C2PA manifests needs: {EXTRA}") from error
        verify = {"remote_manifest_fetch": self.online, "ocsp_fetch": self.online, "verify_trust": True}
        settings: dict[str, Any] = {"verify": verify}
        pems = []
        for path in self.trust:
            try:
                pems.append(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"--c2pa-trust {path}: cannot be read as PEM certificates: {error}") from None
            if "-----BEGIN CERTIFICATE-----" not in pems[-1]:
                raise InputError(f"--c2pa-trust {path} holds no PEM certificate (-----BEGIN CERTIFICATE-----)")
        if pems:
            settings["trust"] = {"trust_anchors": "\n".join(pems)}
        try:
            return Context(Settings.from_dict(settings))
        except C2paError as error:
            raise InputError(f"--c2pa-trust {', '.join(map(str, self.trust))}: {clean(str(error))}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"trust": self.trust, "online": self.online}  # without the library's context, which is made anew

    def check(self) -> Verifier:
        """Itself; raises now what it would raise at the first file."""
        _ = self._context
        return self

    def claims(self, file: BinaryIO, container: str) -> list[Claim]:
        """What the manifest of an open file says and whether it holds; [] if there is none.

        container: the format that :func:`~aigiscan.provenance.containers.read_metadata` gave.
        """
        context = self._context
        from c2pa import C2paError, Reader

        mime = _mime(file, container)
        if not mime:
            return []
        file.seek(0)
        try:
            with Reader(mime, file, context=context) as reader:
                store = json.loads(reader.json())
        except C2paError.ManifestNotFound:
            return []
        except C2paError as error:
            return [Claim(C2PA, f"damaged manifest: {clean(str(error), 80)}", "C2PA manifest", verified=False)]
        return list(_claims(store))


def _mime(file: BinaryIO, container: str) -> str:
    if container == "ISOBMFF":
        file.seek(8)
        return _BRANDS.get(file.read(4), "video/mp4")
    return _MIME.get(container, "")


def _claims(store: dict[str, Any]) -> Iterator[Claim]:
    manifests = store.get("manifests") or {}
    active = manifests.get(store.get("active_manifest")) or {}
    state = str(store.get("validation_state") or "Invalid")
    failures = list(_failures(store))
    verified = {"Trusted": True, "Valid": None}.get(state, False)
    signature = active.get("signature_info") or {}
    signer = clean(signature.get("issuer") or signature.get("common_name") or "unknown", 60)
    time = clean(signature.get("time") or "", 30)
    actions = list(_actions(active))
    detail = {
        "state": state.lower(),
        "signer": signer,
        "common_name": clean(signature.get("common_name") or "", 60),
        "time": time,
        "claim_generator": _generator(active),
        "actions": actions,
        "ingredients": list(_ingredients(active, manifests)),
        "failures": failures,
    }
    words = {
        "Trusted": "verified, signer on the trust list",
        "Valid": "intact, signer on no given trust list",
    }.get(state, f"INVALID ({', '.join(failures) or 'not valid'})")
    said = [words, f"signed by {signer}" + (f" at {time}" if time else "")]
    if detail["claim_generator"]:
        said.append(f"with {detail['claim_generator']}")
    if actions:
        said.append("actions " + " ".join(dict.fromkeys(action["action"] for action in actions)))
    line = clean(", ".join(said), 200)
    yield Claim(C2PA, line, "C2PA manifest", verified, detail=json.dumps(detail, ensure_ascii=False))
    if any(code in _OTHER_BYTES for code in failures):
        yield Claim(CONFLICT, "the C2PA manifest was made for other pixels than these", "C2PA manifest", False)
    yield from _ai_claims(active, manifests, verified)


def _ai_claims(active: dict[str, Any], manifests: dict[str, Any], verified: bool | None) -> Iterator[Claim]:
    """Source types and generators, of the active manifest and of those of its ingredients."""
    chain: list[dict[str, Any]] = []
    waiting = [active]
    while waiting and len(chain) < _DEEPEST:
        manifest = waiting.pop(0)
        chain.append(manifest)
        labels = (i.get("active_manifest") for i in manifest.get("ingredients") or () if isinstance(i, dict))
        waiting += [manifests[label] for label in labels if label in manifests and manifests[label] not in chain]
    for depth, manifest in enumerate(chain):
        place = "" if depth == 0 else " of an ingredient"
        for action in _actions(manifest):
            word = action["source_type"]
            if word in SOURCE_TYPES:
                meaning, ai = SOURCE_TYPES[word]
                yield Claim(SOURCE_TYPE, f"{meaning} ({word})", f"C2PA {action['action']}{place}", verified, ai)
            name = generator_name(action["agent"]) or generator_name(_generator(manifest))
            if action["action"] == "c2pa.created" and name:
                yield Claim(GENERATOR, name, f"C2PA {action['action']}{place}", verified, ai=True)


def _actions(manifest: dict[str, Any]) -> Iterator[dict[str, str]]:
    for assertion in manifest.get("assertions") or ():
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        data = assertion.get("data")
        for action in (data.get("actions") or ()) if isinstance(data, dict) else ():
            agent = action.get("softwareAgent")
            yield {
                "action": clean(action.get("action"), 60),
                "source_type": clean(action.get("digitalSourceType")).rpartition("/")[2],
                "agent": clean(agent.get("name") if isinstance(agent, dict) else agent, 60),
                "when": clean(action.get("when"), 30),
            }


def _ingredients(manifest: dict[str, Any], manifests: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in manifest.get("ingredients") or ():
        with_manifest = entry.get("active_manifest") in manifests
        yield {
            "title": clean(entry.get("title"), 80),
            "relationship": clean(entry.get("relationship"), 30),
            "manifest": with_manifest,
        }


def _generator(manifest: dict[str, Any]) -> str:
    infos = manifest.get("claim_generator_info") or ()
    names = [
        " ".join(filter(None, (clean(i.get("name")), clean(i.get("version"))))) for i in infos if isinstance(i, dict)
    ]
    return clean(", ".join(filter(None, names)) or manifest.get("claim_generator") or "", 80)


def _failures(store: dict[str, Any]) -> Iterator[str]:
    """Codes of the active manifest and of its ingredients that make it invalid; an unknown signer is no damage."""
    results = store.get("validation_results") or {}
    parts = [results.get("activeManifest") or {}]
    parts += [delta.get("validationDeltas") or {} for delta in results.get("ingredientDeltas") or ()]
    codes = (entry.get("code", "") for part in parts for entry in part.get("failure") or ())
    yield from dict.fromkeys(code for code in codes if code and code != "signingCredential.untrusted")
