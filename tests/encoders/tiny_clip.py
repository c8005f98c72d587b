"""A tiny random open_clip model in a folder: what the tests use instead of downloaded weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
}


def tiny_config(quick_gelu: bool = False, text: dict[str, Any] | None = None, **vision: Any) -> dict[str, Any]:
    config = copy.deepcopy(TINY)
    config["vision_cfg"].update(vision)
    config["text_cfg"].update(text or {})
    if quick_gelu:
        config["quick_gelu"] = True
    return config


def random_model(config: dict[str, Any], seed: int = 0) -> Any:
    """open_clip's own stock model (not our custom blocks) with random weights, norms included."""
    import open_clip
    import torch

    torch.manual_seed(seed)
    config = copy.deepcopy(config)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    model = kind(**config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "ln_" in name or name.endswith(("bias", "gamma")) or "class_embedding" in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
        if "in_proj" in name or "token_embedding" in name:
            parameter.mul_(3)  # sharp attention: heads differ
    return model


def save_model(
    folder: Path, config: dict[str, Any], seed: int = 0, preprocess: dict[str, Any] | None = None
) -> tuple[str, Any]:
    """Folder with configuration and weights → encoder name, stock model."""
    from safetensors.torch import save_file

    model = random_model(config, seed)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_cfg": config, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"open_clip:local-dir:{folder}", model


def pictures(count: int = 3, size: tuple[int, int] = (50, 40)) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(count)]
