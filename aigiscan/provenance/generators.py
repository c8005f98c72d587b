"""What generators, editors and cameras write into files → claims. The table with sources: docs/provenance.md.

Three kinds of evidence, from strict to loose: formats of one program (:data:`_FORMATS`: a text that parses as its
parameters), controlled vocabularies (IPTC digital source types, the Chinese AIGC label), and names in fields that name
a tool or a credit (:mod:`aigiscan.provenance.names`). Descriptions and captions are searched for formats alone: a
photograph *about* AI claims nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aigiscan.provenance.claims import C2PA, CAMERA, EDIT, GENERATOR, SOFTWARE, SOURCE_TYPE, Claim, clean
from aigiscan.provenance.exif import Exif
from aigiscan.provenance.names import SOURCE_TYPES, generator_name
from aigiscan.provenance.source import Metadata
from aigiscan.provenance.xmp import iptc_fields, properties

_TYPE_URL = re.compile(rb"digitalsourcetype/([A-Za-z]{4,40})")

_XMP_NAMES = (
    "DigitalSourceType", "DigitalSourcefileType", "CreatorTool", "Credit", "Instructions", "Source", "AIGC",
    "UserComment", "description", "AISystemUsed", "AISystemVersionUsed", "AIPromptInformation", "AIPromptWriterName",
    "Software", "Make", "Model", "provenance",
)  # fmt: skip

_EDITS = re.compile(
    r"\bedited (with|by|using) (google )?ai\b|\bgalaxy ai\b|\bgenerative (fill|expand|edit)\b",
    re.IGNORECASE,
)
#: fields whose value names a tool, a maker or a credit
_TOOL_FIELDS = frozenset(
    {
        "EXIF Software", "EXIF Make", "EXIF Model", "EXIF HostComputer", "EXIF Artist", "PNG text Software",
        "PNG text Source", "PNG text Author", "PNG text Title", "PNG text Credit", "XMP CreatorTool", "XMP Software",
        "XMP Credit", "XMP Instructions", "XMP Source", "XMP Make", "XMP Model", "IPTC Credit", "IPTC Source",
        "IPTC Special Instructions", "IPTC Originating Program", "IPTC By-line", "JPEG comment", "GIF comment",
    }
)  # fmt: skip
_SOFTWARE_FIELDS = ("EXIF Software", "PNG text Software", "XMP CreatorTool", "IPTC Originating Program")


@dataclass(frozen=True, slots=True)
class _Field:
    """One text of a file and where it stands, e.g. ``EXIF Software``."""

    where: str
    text: str

    @property
    def json(self) -> Any:
        """The text as JSON, None if it is none."""
        if self.text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


def claims_of(metadata: Metadata, exif: Exif, *, personal: bool = False) -> Iterator[Claim]:
    """Every claim of a file's metadata; personal: also serial numbers and the position."""
    fields = list(_fields(metadata, exif))
    generators = list(_from_formats(fields))
    known = {claim.value.split(",")[0] for claim in generators}
    generators += (claim for claim in _from_names(fields) if claim.value.split(":")[0] not in known)
    generators += _from_samsung(metadata)
    yield from generators
    yield from _source_types(metadata, fields)
    for field in fields:
        if field.where == "XMP provenance" and field.text.startswith("http") and not metadata.c2pa:
            yield Claim(
                C2PA, f"manifest kept elsewhere, not fetched: {clean(field.text, 80)}", "XMP dcterms:provenance"
            )
    named = {claim.where for claim in generators}
    if not named & {"EXIF Make", "EXIF Model"}:
        yield from _camera(exif, personal=personal)
    for field in fields:
        if field.where in _SOFTWARE_FIELDS and field.where not in named and (value := clean(field.text, 60)):
            yield Claim(SOFTWARE, value, field.where)
        elif field.where == "PNG text hf-job-id":
            yield Claim(SOFTWARE, f"Hugging Face job {clean(field.text, 40)}", field.where)


def _fields(metadata: Metadata, exif: Exif) -> Iterator[_Field]:
    for name, text in exif.texts.items():
        yield _Field(f"EXIF {name}", text)
    for packet in metadata.xmp:
        for name, values in properties(packet, _XMP_NAMES).items():
            yield from (_Field(f"XMP {name}", value) for value in values)
    for record in metadata.iptc:
        yield from (_Field(f"IPTC {name}", text) for name, text in iptc_fields(record))
    for key, text in metadata.texts:
        yield _Field(f"PNG text {key[:80]}", text)
    container = "GIF" if metadata.format == "GIF" else "JPEG"
    for comment in metadata.comments:
        yield _Field(f"{container} comment", comment.decode("utf-8", "replace"))


# ---- formats of one program


def _from_formats(fields: list[_Field]) -> Iterator[Claim]:
    seen: set[str] = set()
    by_place = {field.where: field for field in reversed(fields)}
    for read in _FORMATS:
        for field in fields:
            if (found := read(field, by_place)) and found.value.split(",")[0] not in seen:
                seen.add(found.value.split(",")[0])
                yield found


def _generator(name: str, field: _Field, **details: object) -> Claim:
    said = [
        f"{key.replace('_', ' ')} {clean(str(value), 60)}"
        for key, value in details.items()
        if value not in (None, "", 0)
    ]
    return Claim(GENERATOR, clean(", ".join([name, *said])), field.where, ai=True)


_WEB_UI = re.compile(r"(?:^|\n)\s*Steps: (\d+), ")
_WEB_UI_ITEM = re.compile(r"(?:^|, |\n)(Sampler|Seed|Model|Version|Civitai resources): ([^,\n]{1,80})")


def _web_ui(field: _Field, _: dict[str, _Field]) -> Claim | None:
    """AUTOMATIC1111, Forge, Civitai, and the many that write their line of parameters."""
    match = _WEB_UI.search(field.text[:200_000])
    if not match or "Sampler: " not in field.text:
        return None
    items = dict(_WEB_UI_ITEM.findall(field.text[match.start() : match.start() + 5000]))
    version = items.get("Version", "")
    name = "Stable Diffusion web UI"
    if "fooocus" in version.lower():
        name = "Fooocus"
    elif version == "ComfyUI":
        name = "ComfyUI"
    elif re.match(r"f\d", version):
        name = "Stable Diffusion web UI Forge"
    elif "Civitai resources" in items:
        name = "Civitai"
    return _generator(
        name,
        field,
        model=items.get("Model"),
        seed=items.get("Seed"),
        steps=match.group(1),
        sampler=items.get("Sampler"),
    )


def _comfy_ui(field: _Field, _: dict[str, _Field]) -> Claim | None:
    """The graph as it ran (``prompt``) or as it was drawn (``workflow``); WebP keeps them in EXIF as ``prompt:{…}``."""
    key, text = field.where.rpartition(" ")[2], field.text
    if field.where.startswith(("EXIF ", "XMP ")):
        match = re.match(r"\s*(prompt|workflow):\s*(?=\{)", text, re.IGNORECASE)
        if not match:
            return None
        key, text = match.group(1).lower(), text[match.end() :]
    if key not in ("prompt", "workflow"):
        return None
    graph = _Field("", text).json
    nodes = graph.get("nodes", graph.values()) if isinstance(graph, dict) else []
    known = (
        [node for node in nodes if isinstance(node, dict) and ("class_type" in node or "type" in node)]
        if isinstance(nodes, (list, type({}.values())))
        else []
    )
    if not known:
        return None
    inputs: dict[str, Any] = {}
    for node in known:
        given = node.get("inputs")
        for name, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, (str, int, float)):
                inputs.setdefault(name, value)
        widgets = node.get("widgets_values")
        for value in widgets if isinstance(widgets, list) else ():
            if isinstance(value, str) and value.endswith((".safetensors", ".ckpt", ".gguf", ".sft")):
                inputs.setdefault("ckpt_name", value)
    model = next((inputs[k] for k in ("ckpt_name", "unet_name", "model_name") if k in inputs), None)
    seed = inputs.get("seed", inputs.get("noise_seed"))
    return _generator(
        "ComfyUI", field, model=model, seed=seed, steps=inputs.get("steps"), sampler=inputs.get("sampler_name")
    )


def _invoke_ai(field: _Field, _: dict[str, _Field]) -> Claim | None:
    key = field.where.removeprefix("PNG text ")
    if key not in ("invokeai_metadata", "sd-metadata", "invokeai_graph", "Dream", "dream"):
        return None
    found = field.json if isinstance(field.json, dict) else {}
    model = found.get("model")
    name = model.get("model_name", model.get("name")) if isinstance(model, dict) else found.get("model_weights", model)
    return _generator(
        "InvokeAI",
        field,
        version=found.get("app_version"),
        model=name,
        seed=found.get("seed"),
        steps=found.get("steps"),
    )


def _swarm_ui(field: _Field, _: dict[str, _Field]) -> Claim | None:
    found = field.json if "sui_image_params" in field.text else None
    given = found.get("sui_image_params") if isinstance(found, dict) else None
    if not isinstance(given, dict):
        return None
    return _generator("SwarmUI", field, model=given.get("model"), seed=given.get("seed"), steps=given.get("steps"))


def _fooocus(field: _Field, fields: dict[str, _Field]) -> Claim | None:
    """Its own scheme: JSON with ``base_model``; the web UI's scheme names it as the version."""
    found = field.json if '"base_model"' in field.text else None
    if isinstance(found, dict) and (
        "fooocus" in str(found.get("version", "")).lower() or "PNG text fooocus_scheme" in fields
    ):
        return _generator(
            "Fooocus", field, model=found.get("base_model"), seed=found.get("seed"), steps=found.get("steps")
        )
    return _generator("Fooocus", field) if field.where == "PNG text fooocus_scheme" else None


def _novel_ai(field: _Field, fields: dict[str, _Field]) -> Claim | None:
    title = field.where == "PNG text Title" and field.text.strip() in ("NovelAI generated image", "AI generated image")
    if not title and not (field.where == "PNG text Software" and field.text.strip() == "NovelAI"):
        return None
    comment = fields["PNG text Comment"].json if "PNG text Comment" in fields else None
    given = comment if isinstance(comment, dict) else {}
    source = fields["PNG text Source"].text if "PNG text Source" in fields else None
    return _generator(
        "NovelAI", field, model=source, seed=given.get("seed"), steps=given.get("steps"), sampler=given.get("sampler")
    )


def _easy_diffusion(field: _Field, fields: dict[str, _Field]) -> Claim | None:
    """Keys of its own as PNG texts, or the same as one JSON text in the user comment of a JPEG."""
    keys = ("use_stable_diffusion_model", "Stable Diffusion model")
    found = field.json if any(f'"{key}"' in field.text for key in keys) else None
    if isinstance(found, dict):
        model, seed = next((found[key] for key in keys if key in found), None), found.get("seed", found.get("Seed"))
        return _generator("Easy Diffusion", field, model=model, seed=seed)
    if field.where in {f"PNG text {key}" for key in keys}:
        seed = fields.get("PNG text seed", fields.get("PNG text Seed"))
        return _generator("Easy Diffusion", field, model=field.text, seed=seed.text if seed else None)
    return None


def _draw_things(field: _Field, fields: dict[str, _Field]) -> Claim | None:
    """XMP ``exif:UserComment`` with JSON beside ``xmp:CreatorTool`` "Draw Things"."""
    tool = fields.get("XMP CreatorTool")
    if field.where != "XMP CreatorTool" or not tool or "draw things" not in tool.text.lower():
        return None
    comment = fields["XMP UserComment"].json if "XMP UserComment" in fields else None
    given = comment if isinstance(comment, dict) else {}
    return _generator("Draw Things", field, model=given.get("model"), seed=given.get("seed"), steps=given.get("steps"))


_JOB = re.compile(r"\bJob ID: ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)


def _midjourney(field: _Field, _: dict[str, _Field]) -> Claim | None:
    match = _JOB.search(field.text[:20_000])
    if not match:
        return None
    version = re.search(r"--(?:v|version|niji) ([\d.]+)", field.text[:20_000])
    return _generator("Midjourney", field, version=version.group(1) if version else None, job=match.group(1))


_SIGNATURE = re.compile(r"Signature:\s*[A-Za-z0-9+/=]{64,}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _grok(field: _Field, fields: dict[str, _Field]) -> Claim | None:
    """``ImageDescription`` "Signature: …" beside a UUID as ``Artist``; the signature itself cannot be checked here."""
    artist = fields.get("EXIF Artist")
    if field.where != "EXIF ImageDescription" or artist is None:
        return None
    if not _SIGNATURE.match(field.text) or not _UUID.fullmatch(artist.text.strip()):
        return None
    return _generator("xAI Grok", field, image=artist.text.strip())


def _open_ai_labs(field: _Field, _: dict[str, _Field]) -> Claim | None:
    """DALL·E 2's downloads: both notes stand in the first directory."""
    if field.text.startswith("OpenAI--ImageGeneration") or "Made with OpenAI Labs" in field.text[:200]:
        return _generator("OpenAI DALL·E", field)
    return None


_AIGC_WORDS = {"1": "AI-generated", "2": "possibly AI-generated", "3": "suspected AI-generated"}
_AIGC_KEYS = {"Label", "ContentProducer", "ProduceID", "ContentPropagator", "PropagateID"}


def _aigc_label(field: _Field, _: dict[str, _Field]) -> Claim | None:
    """The implicit label of GB 45438-2025 (TC260): XMP ``TC260:AIGC``, a PNG text ``AIGC``, or JSON in EXIF."""
    if "AIGC" not in field.where and '"AIGC"' not in field.text:
        return None
    found = field.json
    found = found.get("AIGC", found) if isinstance(found, dict) else None
    if isinstance(found, str):
        found = _Field("", found).json
    if not isinstance(found, dict) or not _AIGC_KEYS & set(found):
        return None
    said = [f"AIGC label: {_AIGC_WORDS.get(str(found.get('Label')), 'labelled')}"]
    if producer := clean(str(found.get("ContentProducer") or ""), 60):
        said.append(f"producer {producer}")
    return Claim(GENERATOR, ", ".join(said), field.where, ai=True)


def _iptc_ai(field: _Field, fields: dict[str, _Field]) -> Claim | None:
    """IPTC Photo Metadata 2025.1: properties that disclose the AI system, its version, the prompt and its writer."""
    if not field.where.startswith("XMP AI") or field.where == "XMP AIGC":
        return None
    system = fields.get("XMP AISystemUsed")
    version = fields.get("XMP AISystemVersionUsed")
    name = clean(system.text, 60) if system else ""
    return _generator(name or "AI, unnamed", field, version=version.text if version else None)


#: one reader per program: a field (and all fields by place) → a claim or None
_FORMATS: tuple[Callable[[_Field, dict[str, _Field]], Claim | None], ...] = (
    _open_ai_labs, _grok, _midjourney, _aigc_label, _novel_ai, _fooocus, _swarm_ui, _comfy_ui, _invoke_ai,
    _easy_diffusion, _draw_things, _web_ui, _iptc_ai,
)  # fmt: skip


# ---- names, vocabularies, cameras


def _from_names(fields: list[_Field]) -> Iterator[Claim]:
    for field in fields:
        text = field.text[:500]
        if field.where not in _TOOL_FIELDS or text.lstrip()[:1] == "{":
            continue
        if _EDITS.search(text):
            yield Claim(EDIT, clean(text, 80), field.where, ai=True)
        elif name := generator_name(text):
            said = clean(text, 60)
            yield Claim(GENERATOR, name if name.lower() == said.lower() else f"{name}: {said}", field.where, ai=True)


_SAMSUNG_AI = re.compile(rb'genAIType\\?"\s*:\s*(-?\d+)')


def _from_samsung(metadata: Metadata) -> Iterator[Claim]:
    match = _SAMSUNG_AI.search(metadata.samsung.get("PhotoEditor_Re_Edit_Data", b""))
    if match and int(match.group(1)):
        yield Claim(EDIT, f"Samsung Galaxy AI (genAIType {int(match.group(1))})", "Samsung trailer", ai=True)


def _source_types(metadata: Metadata, fields: list[_Field]) -> Iterator[Claim]:
    said = [
        (field.where, field.text.rstrip("/").rpartition("/")[2])
        for field in fields
        if field.where.startswith("XMP DigitalSource")
    ]
    said += [("C2PA, not verified", kind.decode()) for kind in dict.fromkeys(_TYPE_URL.findall(metadata.c2pa))]
    for where, word in dict.fromkeys(said):
        if word in SOURCE_TYPES:
            words, ai = SOURCE_TYPES[word]
            yield Claim(SOURCE_TYPE, f"{words} ({word})", where, ai=ai)


def _camera(exif: Exif, *, personal: bool) -> Iterator[Claim]:
    make, model = (clean(exif.texts.get(name), 60) for name in ("Make", "Model"))
    if make or model:
        # Most makers repeat their name in the model: "Canon", "Canon EOS 5D".
        said = (
            model
            if model and (not make or model.lower().startswith(make.split()[0].lower()))
            else f"{make} {model}".strip()
        )
        lens = clean(exif.texts.get("LensModel"), 40)
        yield Claim(CAMERA, f"{said}, lens {lens}" if lens else said, "EXIF Model" if model else "EXIF Make")
    if personal and (serial := clean(exif.texts.get("BodySerialNumber"), 40)):
        yield Claim(CAMERA, f"serial number {serial}", "EXIF BodySerialNumber")
    if personal and exif.gps:
        yield Claim(CAMERA, "position {:.5f}, {:.5f}".format(*exif.gps), "EXIF GPS")
