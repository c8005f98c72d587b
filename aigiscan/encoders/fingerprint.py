"""Fingerprints: whether two sets of embeddings can be compared."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aigiscan.encoders.base import Encoder, EncoderOptions, captures

#: what the keys of a fingerprint mean to a person; keys not listed are shown as they are
_WORDS = {"name": "encoder", "weights": "weights (sha256)", "parts": "parts"}
#: what is encoded beside the picture → the channels that depend on it (:mod:`aigiscan.encoders.companions`)
COMPANIONS = {
    "captions": frozenset(["text", "local", "local_raw", "objects"]),
    "objects": frozenset(["local", "local_raw", "objects"]),
    "twins": frozenset(["twin"]),
}


#: field of a record → what is encoded of it
_FIELDS = {"caption": "captions", "objects": "objects", "twin": "twins"}


def record_fields(channels: Iterable[str]) -> tuple[str, ...]:
    """The fields of a record that those channels depend on, beside the picture."""
    wanted = set(channels)
    return tuple(field for field, what in _FIELDS.items() if COMPANIONS[what] & wanted)


def for_channels(fingerprint: Mapping[str, Any], channels: Iterable[str]) -> dict[str, Any]:
    """The fingerprint of what those channels depend on: no captions, objects or twins that no channel needs."""
    wanted = set(channels)
    return {key: value for key, value in fingerprint.items() if key not in COMPANIONS or COMPANIONS[key] & wanted}


def compare_fingerprints(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, one readable line per key; an empty list if nothing does.

    Weights of the same sha256 are the same weights wherever the file lies, so a differing path alone is no
    difference: two names are equal if they agree up to the weights' file and the sha256 agrees.
    A line starts with the key: ``"precision: bf16 v. fp32"``.
    """
    lines = []
    for key in sorted(set(a) | set(b), key=lambda k: (k != "name", k)):
        left, right = a.get(key), b.get(key)
        if left == right or (key == "name" and _same_model(a, b)) or _same_describing(left, right):
            continue
        if key == "parts" and isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            for one, other in zip(left, right, strict=True):
                lines += [f"parts: {one.get('name')}: {line}" for line in compare_fingerprints(one, other)]
            continue
        lines.append(f"{_WORDS.get(key, key)}: {_short(left)} v. {_short(right)}")
    return lines


#: option → the channels that it brings
_OPTIONS = {
    "--heads": frozenset(["heads", "sigma"]),
    "--blocks": frozenset(["blocks"]),
    "--captions": frozenset(["text"]),
    "--objects": COMPANIONS["objects"],
    "--twins": COMPANIONS["twins"],
}


def options_for(channels: Iterable[str]) -> list[str]:
    """The options of ``embed`` that bring those channels."""
    wanted = set(channels)
    return [option for option, made in _OPTIONS.items() if made & wanted]


def how_to_get(channels: Iterable[str]) -> str:
    """How a store comes to have those channels, to be put behind a message; "" for others."""
    options = options_for(channels)
    return f"; embed again with {' '.join(options)} into a new store" if options else ""


def encoder_from_fingerprint(
    fingerprint: Mapping[str, Any], *, device: str = "auto", heads: bool = False, blocks: bool = False, depth: int = 0
) -> Encoder:
    """The encoder that gives the numbers of that fingerprint, at its precision; EncoderError if it cannot be had here.

    heads, blocks: also capture these, of the part that has them. depth: run so many layers only (a concatenation
    runs all). They change no number, so no fingerprint tells them.
    The caller compares the new encoder's fingerprint with the old one: its weights may be others under the same name.
    """
    from aigiscan.encoders.concat import ConcatEncoder
    from aigiscan.encoders.registry import create_encoder, encoder_class

    if fingerprint.get("apart"):
        return encoder_for(fingerprint, (), device=device)
    if COMPANIONS.keys() & fingerprint.keys():
        from aigiscan.encoders.companions import from_fingerprint

        return from_fingerprint(
            encoder_from_fingerprint(for_channels(fingerprint, ()), device=device, heads=heads, blocks=blocks),
            fingerprint,
        )
    parts = fingerprint.get("parts")
    if parts:
        classes = [encoder_class(part["name"]) for part in parts]
        with_heads = _first([cls.has_heads for cls in classes], heads)
        with_blocks = _first([cls.has_blocks for cls in classes], blocks)
        return ConcatEncoder(
            [
                encoder_from_fingerprint(part, device=device, heads=h, blocks=b)
                for part, h, b in zip(parts, with_heads, with_blocks, strict=True)
            ]
        )
    chosen = {key: fingerprint[key] for key in _OPTION_KEYS if fingerprint.get(key)}
    options = EncoderOptions(device=device, heads=heads, blocks=blocks, depth=depth, **chosen)
    return create_encoder(fingerprint["name"], options)


def encoder_for(
    fingerprint: Mapping[str, Any], channels: Collection[str], *, device: str = "auto", depth: int = 0
) -> Encoder:
    """As :func:`encoder_from_fingerprint`, with what brings these channels, of encoders kept apart too."""
    from aigiscan.encoders.apart import ApartEncoder

    if not fingerprint.get("apart"):
        return encoder_from_fingerprint(fingerprint, device=device, depth=depth, **captures(channels))
    parts = []
    for i, part in enumerate(fingerprint["parts"]):
        own = [name.removeprefix(f"{i}.") for name in channels if name.startswith(f"{i}.")]
        parts.append(encoder_for(part, own, device=device))
    return ApartEncoder(parts, [str(part.get("equalization") or "") for part in fingerprint["parts"]])


def _first(able: list[bool], wanted: bool) -> list[bool]:
    """Whom to ask: the first that is able, or the first, whose message says that none is."""
    chosen = able.index(True) if any(able) else 0
    return [wanted and i == chosen for i in range(len(able))]


_OPTION_KEYS = ("precision", "pooling", "projection", "normalize")


def _same_model(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two names mean the same weights, seen in two places."""
    if a.get("parts") and b.get("parts"):
        return len(a["parts"]) == len(b["parts"])  # the parts are compared one by one
    same_weights = bool(a.get("weights")) and a.get("weights") == b.get("weights")
    return same_weights and str(a.get("name")).split("/")[0] == str(b.get("name")).split("/")[0]


def _same_describing(left: Any, right: Any) -> bool:
    """Whether two describing models (captions, objects) are the same one, seen in two places."""
    if not (isinstance(left, dict) and isinstance(right, dict) and left.get("weights")):
        return False
    return {**left, "source": ""} == {**right, "source": ""}


def _short(value: Any) -> str:
    if value is None:
        return "(not stated)"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else text[:77] + "…"
