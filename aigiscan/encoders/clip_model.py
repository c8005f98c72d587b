"""Build an open_clip model from its configuration and weights, with attention whose heads can be seen."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.encoders.weights import one_line
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    import torch


def build(config: dict[str, Any]) -> torch.nn.Module:
    """open_clip configuration → model with random weights, float32, on the CPU.

    Vision transformers are built of open_clip's own custom blocks, whose state dict is that of the stock blocks and
    whose ``attn.out_proj`` is a module of its own: a hook on it sees every head before the output projection.
    They are used whether or not heads are captured, so that an embedding does not depend on that.
    """
    import open_clip

    config = copy.deepcopy(config)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False  # the weights come from our file
    elif not isinstance(vision.get("layers", 12), (list, tuple)):
        vision["block_type"] = "custom"
    custom_text = config.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    kind = open_clip.CLIP
    if custom_text:
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        return kind(**config).eval().requires_grad_(False)
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, ImportError, OSError) as error:
        raise EncoderError(f"open_clip cannot build this configuration: {one_line(error)}") from error


def load(config: dict[str, Any], weights: Path, name: str) -> torch.nn.Module:
    """Model with its weights, float32, on the CPU, ready for inference. EncoderError if they do not fit."""
    import open_clip
    from safetensors import SafetensorError

    model = _build_without_values(config) or build(config)
    try:
        # torch checkpoints are read with weights_only=True: no code of the file is run
        open_clip.load_checkpoint(model, str(weights), strict=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise EncoderError(
            f"{name}: weights file {weights} cannot be read or does not fit: {one_line(error)}"
        ) from error
    return model


def _build_without_values(config: dict[str, Any]) -> torch.nn.Module | None:
    """As :func:`build`, all parameters left unset; None where something but a strict state dict has to set them.

    Drawing random values that the weights overwrite takes 7 s for ViT-L/14, this 0.1 s.
    """
    import torch

    if "timm_model_name" in config["vision_cfg"] or "hf_model_name" in config["text_cfg"]:
        return None
    with torch.device("meta"):
        model = build(config)
    kept = set(model.state_dict())
    computed = {name: buffer.shape for name, buffer in model.named_buffers() if name not in kept}
    if not all(name.endswith("attn_mask") for name in computed):
        return None
    model = model.to_empty(device="cpu")
    for name, shape in computed.items():
        owner, _, attribute = name.rpartition(".")
        # open_clip's causal mask: no token sees a later one
        mask = torch.full(shape, float("-inf")).triu_(1)
        model.get_submodule(owner).register_buffer(attribute, mask, persistent=False)
    return model
