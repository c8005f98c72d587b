"""Encoder names: which class reads which name. A new encoder is one class in one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from aigiscan.encoders.base import Encoder, EncoderOptions
from aigiscan.errors import EncoderError


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the registry.

    target: ``"module:Class"``; the class is called as ``Class(argument, options)``, where ``argument`` is what
    follows the colon in the name ("" if nothing does). usage: how the name is written. about: one line for a list.
    """

    target: str
    usage: str
    about: str


ENCODERS: dict[str, Kind] = {
    "open_clip": Kind(
        "aigiscan.encoders.open_clip_encoder:OpenClipEncoder",
        "open_clip:NAME/PRETRAINED_OR_FILE",
        "any open_clip model, with attention heads",
    ),
    "mini": Kind("aigiscan.encoders.mini:MiniEncoder", "mini", "a small CLIP of our own (shipped)"),
    "lite": Kind("aigiscan.encoders.lite:LiteEncoder", "lite", "EfficientNet-Lite0 stage statistics (shipped)"),
    "lite:native": Kind(
        "aigiscan.encoders.lite_native:LiteNativeEncoder",
        "lite:native",
        "the same network on pixels that were not resized (shipped)",
    ),
    "lite:trained": Kind(
        "aigiscan.encoders.lite_trained:LiteTrainedEncoder",
        "lite:trained",
        "lite:native and the logits of small networks trained on labelled pictures (shipped)",
    ),
    "spam": Kind("aigiscan.encoders.spam:SpamEncoder", "spam", "pixel adjacency statistics (no weights)"),
    "timm": Kind(
        "aigiscan.encoders.timm_encoder:TimmEncoder", "timm:NAME[@SIDE][/FILE]", "any timm model, DINOv2 among them"
    ),
    "color": Kind("aigiscan.encoders.color:ColorEncoder", "color:rgb|hsv|ycbcr", "colour histograms (no weights)"),
    "spectrum": Kind(
        "aigiscan.encoders.spectrum:SpectrumEncoder",
        "spectrum",
        "radial spectrum of the high-pass residual (no weights)",
    ),
}


def create_encoder(spec: str, options: EncoderOptions | None = None) -> Encoder:
    """The encoder of that name; cheap: weights are read when they are first needed.

    spec: a name such as ``"lite"``, ``"open_clip:ViT-L-14/openai"`` (``open_clip:`` may be left out where a "/" tells
    it), ``"color:hsv"``, or several joined by "+". Raises EncoderError for an unknown name and for options that the
    encoder does not have (``heads`` where there are no attention heads).
    """
    options = options or EncoderOptions()
    parts = _parts(spec)
    if not all(parts):
        raise EncoderError(f"encoder name {spec!r} is empty or has an empty part; known: {_known()}")
    if len(parts) == 1:
        return _create_one(parts[0], options)
    from aigiscan.encoders.concat import ConcatEncoder

    able = [encoder_class(part).has_heads for part in parts]
    if options.heads and not any(able):
        raise EncoderError(f"--heads: no part of {spec} has attention heads; one open_clip vision transformer must")
    # What only a transformer has is asked of the parts that are one.
    plain = replace(options, heads=False, pooling="class", projection="projected")
    chosen = [options if yes or not any(able) else plain for yes in able]
    with_blocks = [encoder_class(part).has_blocks for part in parts]
    if options.blocks and any(with_blocks):
        first = with_blocks.index(True)
        chosen = [replace(each, blocks=i == first) for i, each in enumerate(chosen)]
    return ConcatEncoder([_create_one(part, opts) for part, opts in zip(parts, chosen, strict=True)])


def _parts(spec: str) -> list[str]:
    """Split at "+", except inside a path to a weights file."""
    parts: list[str] = []
    for piece in spec.split("+"):
        in_path = bool(parts) and "/" in parts[-1] and piece.split(":")[0] not in ENCODERS and "." in piece
        if in_path and not Path(parts[-1].split("/", 1)[1]).is_file():
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece.strip())
    return parts


def _split(part: str) -> tuple[str, str]:
    """Name of one encoder → registry key, argument."""
    kind, _, argument = (part, "", "") if part in ENCODERS else part.partition(":")
    if kind in ENCODERS:
        return kind, argument
    if "/" in part or kind in ("hf-hub", "local-dir"):
        return "open_clip", part
    raise EncoderError(f"no encoder is called {part!r}; known: {_known()}")


def encoder_class(part: str) -> type[Encoder]:
    """The class that reads this name of one encoder; imports its module, loads nothing."""
    kind, _ = _split(part)
    module, name = ENCODERS[kind].target.split(":")
    found: type[Encoder] = getattr(import_module(module), name)
    return found


def _create_one(part: str, options: EncoderOptions) -> Encoder:
    _, argument = _split(part)
    encoder: Encoder = encoder_class(part)(argument, options)  # type: ignore[call-arg]
    return encoder


def _known() -> str:
    return ", ".join(kind.usage for kind in ENCODERS.values())
