"""Which open_clip model a name means: architecture, preprocessing, weights file. Nothing is loaded here.

Activation, preprocessing and a missing file are settled here: open_clip warns of the first, the second belongs to the
pretrained tag and not to the architecture, and the third is one line that says which file to put where.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigiscan.encoders.hub import Remote, find_on_hub
from aigiscan.encoders.notices import notice
from aigiscan.encoders.weights import one_line
from aigiscan.errors import EncoderError

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".npz")
CONFIG_NAME = "open_clip_config.json"
QUICK = "-quickgelu"
#: what a folder may call its weights, best first
WEIGHT_NAMES = (
    "open_clip_model.safetensors",
    "weights.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
)


@dataclass(frozen=True)
class ClipSource:
    """One open_clip model, found but not loaded.

    name: canonical encoder name. config: open_clip's model configuration. preprocess: mean, std, interpolation,
    resize_mode, size, fill_color. tag: open_clip's entry for the pretrained tag ({} for a file). file: the weights
    given as a file or found in a folder, else None. tokenizer: what :func:`open_clip.get_tokenizer` is asked for.
    """

    name: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    tag: dict[str, Any]
    file: Path | None
    tokenizer: str

    def config_digest(self) -> str:
        """Short digest of the architecture: weights under another configuration give other numbers."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    def weights(self) -> Path:
        """The weights file; downloaded if it must be and can be. EncoderError (one line) if it cannot be had."""
        if self.file is not None:
            return self.file
        remote = self.remote()
        assert remote is not None
        short = self.name.removeprefix("open_clip:")
        return remote.get(short, f"open_clip:{short.split('/')[0]}")

    def remote(self) -> Remote | None:
        """Where the weights of a pretrained tag come from; None for a file that is here."""
        if self.file is not None:
            return None
        if hub := self.tag.get("hf_hub", ""):
            from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

            repo, file = os.path.split(hub)
            plain = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
            return Remote(repo, (str(Path(file).with_suffix(WEIGHT_SUFFIXES[0])), file) if file else plain)
        return Remote(url=self.tag.get("url", ""))


def find_source(argument: str) -> ClipSource:
    """What follows ``open_clip:`` → the model meant. EncoderError (one line) for what does not exist."""
    if not argument:
        raise EncoderError("open_clip needs a model, such as open_clip:ViT-L-14-quickgelu/openai")
    if argument.startswith("local-dir:"):
        folder = _absolute(argument.removeprefix("local-dir:"))
        return folder_source(folder, f"open_clip:local-dir:{folder}")
    if argument.startswith("hf-hub:"):
        repo = argument.removeprefix("hf-hub:")
        give = "open_clip:local-dir:FOLDER (with both files)"
        config = find_on_hub(argument, repo, [CONFIG_NAME], give=give)
        weights = find_on_hub(argument, repo, list(WEIGHT_NAMES), give=give)
        return folder_source(config.parent, f"open_clip:{argument}", weights)
    architecture, slash, rest = argument.partition("/")
    if not slash or not rest:
        raise EncoderError(f"open_clip:{argument}: give NAME/PRETRAINED or NAME/FILE; {_tags(architecture)}")
    if rest.endswith(WEIGHT_SUFFIXES) or Path(rest).is_file():
        return _file_source(architecture, _absolute(rest))
    return _tag_source(architecture, rest)


def _absolute(path: str) -> Path:
    # Not resolve(): a link into a cache keeps its readable name.
    return Path(os.path.abspath(Path(path).expanduser()))


def folder_source(folder: Path, name: str, weights: Path | None = None) -> ClipSource:
    """A folder with ``open_clip_config.json`` and weights."""
    config, preprocess = _read_config(folder / CONFIG_NAME)
    if weights is None:
        weights = next((folder / n for n in WEIGHT_NAMES if (folder / n).is_file()), None)
    if weights is None:
        raise EncoderError(f"{folder}: no weights beside {CONFIG_NAME}; one of {', '.join(WEIGHT_NAMES)} is needed")
    # Only a configuration that names a tokenizer of its own has its files in the folder.
    own = config.get("text_cfg", {}).get("hf_tokenizer_name")
    return ClipSource(name, config, _preprocess(config, preprocess), {}, weights, f"local-dir:{folder}" if own else "")


def _file_source(architecture: str, file: Path) -> ClipSource:
    import open_clip

    config = _architecture(architecture)
    if not file.is_file():
        raise EncoderError(f"weights file {file} does not exist")
    name = f"open_clip:{architecture}/{file}"
    beside = file.with_name(CONFIG_NAME)
    if beside.is_file():
        theirs, preprocess = _read_config(beside)
        if theirs.get("quick_gelu", False) != config.get("quick_gelu", False):
            config["quick_gelu"] = bool(theirs.get("quick_gelu", False))
            notice(f"{architecture}: quick_gelu={config['quick_gelu']}, as {beside} says")
        return ClipSource(name, config, _preprocess(config, preprocess), {}, file, architecture)
    # A file tells nothing of how its model was fed; the pretrained tags of its architecture do, if they agree.
    fed = []
    for tag in open_clip.list_pretrained_tags_by_model(architecture):
        one = _preprocess(config, open_clip.get_pretrained_cfg(architecture, tag))
        fed += [one] if one not in fed else []
    chosen = fed[0] if fed else _preprocess(config, {})
    if len(fed) > 1:
        notice(
            f"{file.name}: the tags of {architecture} are fed in {len(fed)} ways; taking mean {chosen['mean']}; "
            f"put the model's {CONFIG_NAME} beside the file to say otherwise"
        )
    if not config.get("quick_gelu") and open_clip.get_model_config(architecture + QUICK):
        notice(f"{file.name}: taken as a GELU model; weights by OpenAI need {architecture}{QUICK}/{file.name}")
    return ClipSource(name, config, chosen, {}, file, architecture)


def _tag_source(architecture: str, tag: str) -> ClipSource:
    import open_clip

    asked = f"{architecture}/{tag}"
    entry = open_clip.get_pretrained_cfg(architecture, tag)
    if not entry and architecture.endswith(QUICK):
        # open_clip lists only the tags trained with QuickGELU under these names.
        plain = architecture.removesuffix(QUICK)
        entry = open_clip.get_pretrained_cfg(plain, tag)
        architecture = plain if entry else architecture
    config = _architecture(architecture)
    if not entry:
        raise EncoderError(f"open_clip:{asked}: no such pretrained tag, nor a file; {_tags(architecture)}")
    if entry.get("quick_gelu") and not config.get("quick_gelu"):
        # The other way round (configuration says QuickGELU, tag says nothing) the configuration is right: it is that
        # of one model (roberta-ViT-B-32), and the tag merely lacks the note.
        if open_clip.get_model_config(architecture + QUICK):
            architecture += QUICK
            config = _architecture(architecture)
        else:
            config["quick_gelu"] = True
            notice(f"{asked} was trained with QuickGELU; built so")
    tag = tag.lower().replace("-", "_")  # as open_clip looks tags up
    if f"{architecture}/{tag}" != asked:
        notice(f"{asked} means {architecture}/{tag} (the activation these weights were trained with)")
    return ClipSource(
        f"open_clip:{architecture}/{tag}", config, _preprocess(config, entry), dict(entry), None, architecture
    )


def _architecture(name: str) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise EncoderError(f"open_clip has no model {name!r}{hint}")
    return config


def _tags(architecture: str) -> str:
    import open_clip

    _architecture(architecture)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return f"pretrained tags of {architecture}: {', '.join(tags) or 'none'}"


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """``open_clip_config.json`` → model configuration, preprocessing entries."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = content.get("model_cfg", content)
        if not all(key in config for key in ("embed_dim", "vision_cfg", "text_cfg")):
            raise ValueError("no model_cfg with embed_dim, vision_cfg and text_cfg")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise EncoderError(f"{path}: not a usable open_clip configuration: {one_line(error)}") from error
    return config, content.get("preprocess_cfg", {})


def _preprocess(config: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """open_clip's defaults, overlaid with what the tag or the configuration states; the size is the model's own."""
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged = merge_preprocess_dict(asdict(PreprocessCfg()), entry)
    size = config["vision_cfg"].get("image_size", 224)
    merged["size"] = list(size) if isinstance(size, (list, tuple)) else size
    merged["mean"], merged["std"] = list(merged["mean"]), list(merged["std"])
    return {key: merged[key] for key in ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")}
