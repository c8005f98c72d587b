"""The model `mini`: an open_clip CLIP, its initialisation, and how it is run on patches while it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mini_data import FRAME, PATCH
from mini_photos import Cache, Photo
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn

CONTEXT = 32
MEAN, STD = (0.48, 0.455, 0.41), (0.26, 0.255, 0.265)  # over the training pictures
TEACHER_HEAD = "teacher_head"  # reads the teachers' features off the embedding; not exported
MODEL_CFG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {
        "image_size": FRAME, "patch_size": PATCH, "layers": 8, "width": 256, "head_width": 64, "mlp_ratio": 2.0,
    },
    "text_cfg": {
        "context_length": CONTEXT, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 4, "mlp_ratio": 2.0,
    },
}  # fmt: skip
PREPROCESS_CFG: dict[str, Any] = {
    "size": [FRAME, FRAME], "mode": "RGB", "mean": list(MEAN), "std": list(STD), "interpolation": "bicubic",
    "resize_mode": "native", "fill_color": 0,
}  # fmt: skip


class Vocabulary:
    """The tokens that captions use, numbered densely: the table's other rows stay zero and need no step."""

    def __init__(self, texts: list[str]) -> None:
        self.tokenizer = SimpleTokenizer(context_length=CONTEXT)
        used = np.unique(self.tokenizer(texts).numpy())
        self.used = used  # [u] sorted, so the end token stays the largest, as argmax pooling needs
        self.dense = np.full(49408, -1, np.int64)
        self.dense[used] = np.arange(len(used))

    def __call__(self, texts: list[str]) -> Tensor:
        """Texts → (n, longest) dense token numbers; the context is cut to the longest text."""
        tokens = self.tokenizer(texts).numpy()
        tokens = tokens[:, : int(tokens.argmax(1).max()) + 1]
        dense = self.dense[tokens]
        if (dense < 0).any():
            raise ValueError(f"a caption uses a token outside the vocabulary: {texts[int(np.argmin(dense.min(1)))]!r}")
        return torch.from_numpy(dense)


def build(vocabulary: Vocabulary, seed: int) -> CLIP:
    """An untrained model whose token table has only the rows in use."""
    torch.manual_seed(seed)
    text = {**MODEL_CFG["text_cfg"], "vocab_size": len(vocabulary.used)}
    return CLIP(MODEL_CFG["embed_dim"], MODEL_CFG["vision_cfg"], text)


def dct_basis() -> np.ndarray:
    """Orthonormal 2-D DCT-II basis of a patch, (196, 14, 14), ordered by frequency."""
    n = np.arange(PATCH)
    one = np.cos(np.pi * (n[None] + 0.5) * n[:, None] / PATCH) * np.sqrt(2 / PATCH)
    one[0] /= np.sqrt(2)
    order = sorted(((u, v) for u in n for v in n), key=lambda uv: (uv[0] ** 2 + uv[1] ** 2, uv))
    return np.stack([np.outer(one[u], one[v]) for u, v in order])


def _sample_patches(cache: Cache, photos: list[Photo], seed: int, count: int = 20000) -> np.ndarray:
    """(count, 3, 14, 14) normalised patches of photographs at native resolution."""
    rng = np.random.default_rng(seed)
    patches = np.empty((count, PATCH, PATCH, 3), np.float32)
    for i in range(count):
        photo = photos[int(rng.integers(len(photos)))]
        top, left = int(rng.integers(photo.height - PATCH + 1)), int(rng.integers(photo.width - PATCH + 1))
        patches[i] = cache.picture(photo)[top : top + PATCH, left : left + PATCH]
    patches = (patches / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return patches.transpose(0, 3, 1, 2)


@torch.no_grad()
def initialise(model: CLIP, cache: Cache, photos: list[Photo], seed: int, *, rectify: bool = True) -> None:
    """Whitened DCT patch embedding, halved positional embedding, and a first MLP that rectifies.

    All 196 luma components and the lowest chroma ones, each with unit variance over photographs: from random weights
    the patch embedding averages fine detail away and noise, JPEG and enlargement are not learned (TRAINING_LOG.md).
    rectify: the first MLP starts as |x| of every channel, since it is the size of a component that tells how a
    picture was treated, not its sign.
    """
    visual = model.visual
    width = visual.conv1.weight.shape[0]
    basis = dct_basis()
    # times the deviations: the input is normalised by channel, and a grey picture is to have no chroma at all
    luma, cb, cr = (np.array(STD) * c for c in ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081)))
    chroma = min(22, (width - 200) // 2)
    filters = [np.multiply.outer(luma, b) for b in basis]
    for c in (cb, cr):
        filters += [np.multiply.outer(c, b) for b in basis[:chroma]]
    kernels = torch.from_numpy(np.stack(filters).astype(np.float32))  # [f, 3, 14, 14]
    patches = torch.from_numpy(_sample_patches(cache, [p for p in photos if p.label == 0], seed))
    spread = (patches.flatten(1) @ kernels.flatten(1).T).std(0)
    visual.conv1.weight.mul_(0.2)
    visual.conv1.weight[: len(kernels)] = kernels / spread.clamp_min(1e-3)[:, None, None, None]
    visual.positional_embedding.mul_(0.5)
    if rectify:
        mlp = visual.transformer.resblocks[0].mlp
        eye = torch.eye(width)
        mlp.c_fc.weight.copy_(torch.cat([eye, -eye]))
        mlp.c_fc.bias.zero_()
        turn = torch.linalg.qr(torch.randn(width, width)).Q
        mlp.c_proj.weight.copy_(torch.cat([turn, turn], 1))
        mlp.c_proj.bias.zero_()
    model.positional_embedding.mul_(0.5)


def image_features(model: CLIP, patches: Tensor, positions: Tensor) -> Tensor:
    """uint8 patches (n, t, 588) at grid positions (n, t) → (n, d); equals the model on the picture when t is all."""
    visual = model.visual
    weight = visual.conv1.weight
    dtype, device = weight.dtype, weight.device
    mean = torch.tensor(MEAN, device=device).repeat_interleave(PATCH * PATCH) * 255
    std = torch.tensor(STD, device=device).repeat_interleave(PATCH * PATCH) * 255
    # Normalised in the weights: grey levels are whole numbers, which bfloat16 holds exactly; normalised pixels it
    # rounds by up to half a grey level, which is as much as the traces that are looked for.
    weight = (weight.flatten(1).float() / std).to(dtype)
    bias = -(weight.float() @ mean)
    x = F.linear(patches.to(device).to(dtype), weight, bias.to(dtype))  # [n, t, width]
    place = visual.positional_embedding
    x = x + F.embedding(positions.to(device) + 1, place)
    start = (visual.class_embedding + place[0]).expand(len(x), 1, -1)
    x = visual.transformer(visual.ln_pre(torch.cat([start, x], 1)))
    return visual.ln_post(x[:, 0]) @ visual.proj


def text_features(model: CLIP, tokens: Tensor) -> Tensor:
    """Tokens (n, t), t at most the context → (n, d)."""
    tokens = tokens.to(model.positional_embedding.device)
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length].to(x.dtype))
    x = model.ln_final(x)[torch.arange(len(x)), tokens.argmax(-1)]
    return x @ model.text_projection


def full_state(state: dict[str, Tensor], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """The state dict with the standard token table, in half precision; rows of unused tokens are zero."""
    kept = {name: value for name, value in state.items() if not name.startswith(TEACHER_HEAD)}
    result = {name: value.detach().cpu().half().contiguous() for name, value in kept.items()}
    table = torch.zeros(49408, result["token_embedding.weight"].shape[1], dtype=torch.float16)
    table[torch.from_numpy(vocabulary.used)] = result["token_embedding.weight"]
    result["token_embedding.weight"] = table
    return result


def export(state: dict[str, Tensor], vocabulary: Vocabulary, folder: Path) -> None:
    """weights.safetensors and open_clip_config.json, each complete or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(full_state(state, vocabulary), folder / "weights.tmp")
    (folder / "weights.tmp").replace(folder / "weights.safetensors")
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Named parameters that a step changes, in a fixed order."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]
