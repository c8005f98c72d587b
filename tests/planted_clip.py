"""A tiny open_clip model whose answers are known: pictures and texts share three planted axes, red, green and blue.

Image tower: patch channels 0–2 are the mean red, green and blue of a patch; head 1 of layer 0 looks at all patches
alike and copies these channels to the class token. Text tower: the tokens "red", "green" and "blue" are axes, every
other token is noise off these axes; its first layer averages over the words. Everything else is small noise, so that
no part of a decomposition is zero.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aigiscan.classifiers import make_classifier
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.card import Card
from aigiscan.detector.detector import Detector
from aigiscan.detector.table import encoder_entry
from aigiscan.features.base import FeatureView
from aigiscan.features.views import EmbeddingView

FP32 = {"device": "cpu", "precision": "fp32"}

WIDTH, HEADS, LAYERS, D_HEAD, JOINT, SIZE, PATCH = 64, 4, 3, 16, 32, 32, 8
CONFIG = {
    "embed_dim": JOINT,
    "vision_cfg": {"image_size": SIZE, "patch_size": PATCH, "width": WIDTH, "layers": LAYERS, "head_width": D_HEAD},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": JOINT, "heads": 2, "layers": 1},
}
PLANTED_HEAD = (0, 1)
COLOURS = ("red", "green", "blue")


def write_planted_clip(folder: Path) -> str:
    """Write configuration and weights into ``folder``; returns the encoder's name."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG)
    tokenizer = open_clip.SimpleTokenizer()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "ln_" not in name:
                value.normal_(0, 0.02)
        visual = model.visual
        visual.conv1.weight[:3] = 0
        for k in range(3):
            visual.conv1.weight[k, k] = 1.0 / PATCH**2
        attn = visual.transformer.resblocks[0].attn
        low = PLANTED_HEAD[1] * D_HEAD
        for k in range(3):
            attn.in_proj_weight[2 * WIDTH + low + k] = 0
            attn.in_proj_weight[2 * WIDTH + low + k, k] = 1.0
            attn.out_proj.weight[:, low + k] = 0
            attn.out_proj.weight[20 + k, low + k] = 1.0
        visual.proj[20:23] = 0
        for k in range(3):
            visual.proj[20 + k, k] = 1.0
        model.token_embedding.weight.normal_(0, 1)
        model.token_embedding.weight[:, :3] = 0  # among 49,408 random words some would be redder than red
        for k, colour in enumerate(COLOURS):
            (token,) = tokenizer.encode(colour)
            model.token_embedding.weight[token] = 0
            model.token_embedding.weight[token, k] = 10.0
        text = model.transformer.resblocks[0].attn
        text.in_proj_weight[2 * JOINT :] = torch.eye(JOINT)
        text.out_proj.weight.copy_(3 * torch.eye(JOINT))
        model.text_projection.copy_(torch.eye(JOINT))
        model.token_embedding.weight[-2:] *= 0.05  # begin and end of text say nothing
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"}
    content = {"model_cfg": CONFIG, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return f"open_clip:local-dir:{folder}"


def coloured(rng: np.random.Generator, colour: str, size: int = SIZE) -> Image.Image:
    """A noisy picture with more of one colour than of the others."""
    values = rng.normal(110, 30, (size, size, 3))
    values[..., COLOURS.index(colour)] += 60
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def make_detector(
    encoder: Any,
    pictures: tuple[list, np.ndarray],
    *,
    classifier: str = "logistic",
    view: FeatureView | None = None,
    equalization: str = "",
    **params: Any,
) -> Detector:
    """A detector fitted on the pictures, as `fit` would make it."""
    images, labels = pictures
    view = view or EmbeddingView()
    channels = encoder.encode([encoder.prepare(image) for image in images])
    X = view.transform(channels)
    fitted = make_classifier(classifier, **params).fit(X, labels)
    scores = fitted.decision_function(X)
    card = Card(
        name="planted",
        encoder=encoder_entry(encoder.name, encoder.fingerprint()),
        view=view.params(),
        classifier={"name": classifier, "params": params},
        equalization=equalization,
    )
    return Detector(card, view, fitted, Calibration.from_scores(scores[labels == 0], scores[labels == 1]))
