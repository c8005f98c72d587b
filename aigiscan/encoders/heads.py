"""Attention heads: what a store keeps of them, and the exact algebra from there to the embedding.

With the residual stream of the pooled token ``x_L = x_0 + Σ_l Σ_h z_{l,h} W_{l,h} + Σ_l b_l + Σ_l mlp_l`` and the
embedding ``e = LN(x_L) P`` (Gandelsman et al., "Interpreting CLIP's Image Representation via Text-Based
Decomposition", ICLR 2024),

    E_{l,h} = (1/σ) · z_{l,h} · M_{l,h},     M_{l,h} = W_{l,h} Π diag(γ) P,     Π = I − 11ᵀ/D

is what head h of layer l adds to the embedding. ``z`` is the channel ``heads``, σ the channel ``sigma``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.device import exact_products
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    import torch

    from aigiscan.encoders.clip_vision import VisionTower
    from aigiscan.encoders.open_clip_encoder import OpenClipEncoder


@dataclass(frozen=True)
class HeadMatrices:
    """What belongs to the encoder, float32.

    M (layers, heads, d_head, d): z / σ → contribution to the raw embedding.
    R (layers, heads, d_head, k) and Q (layers, heads, k, d), k = min(d_head, d): M = R Q, the rows of Q orthonormal.
    An L2-penalised linear model on ``z R / σ`` has the same optimum as one on the contributions themselves; its
    weights u (k,) mean the direction ``u Q`` (d,) of the embedding space.
    """

    M: np.ndarray
    R: np.ndarray
    Q: np.ndarray


@dataclass(frozen=True)
class Decomposition:
    """The embeddings of n images taken apart, float32; the parts sum to ``embedding``.

    embedding (n, d); heads (n, layers, heads, d); mlps (n, layers, d); attn_bias (n, layers, d), the biases of the
    attention output projections; initial (n, d), class token, patch and position embeddings before the first layer;
    ln_bias (n, d), the bias of the final layer norm; sigma (n,), its standard deviation (with epsilon).
    If the encoder normalises, every part is divided by the embedding's length.
    z (n, layers, heads, d_head): the channel ``heads``. tokens (n, layers, heads, tokens): see
    :func:`patch_contributions`; None unless a direction was given.
    """

    embedding: np.ndarray
    heads: np.ndarray
    mlps: np.ndarray
    attn_bias: np.ndarray
    initial: np.ndarray
    ln_bias: np.ndarray
    sigma: np.ndarray
    z: np.ndarray
    tokens: np.ndarray | None = None

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and contribution (n, d) of every part: ``head:L:H``, ``mlp:L``, ``bias:L``, ``initial``, ``ln_bias``."""
        _, layers, heads, _ = self.heads.shape
        for layer in range(layers):
            for head in range(heads):
                yield f"head:{layer}:{head}", self.heads[:, layer, head]
        for layer in range(layers):
            yield f"mlp:{layer}", self.mlps[:, layer]
            yield f"bias:{layer}", self.attn_bias[:, layer]
        yield "initial", self.initial
        yield "ln_bias", self.ln_bias


def head_matrices(encoder: OpenClipEncoder) -> HeadMatrices:
    """The maps from head outputs to the embedding, from float32 weights."""
    import torch

    twin = encoder.exact()
    maps = []
    with torch.inference_mode():
        for block in twin.tower.blocks:
            out = block.attn.out_proj.weight.T  # [h * dh, D]
            scaled = _after(block.ls_1, out)
            maps.append(twin.tower.through_norm(scaled).reshape(block.attn.num_heads, -1, twin.width))  # [h, dh, d]
        m = torch.stack(maps)  # [l, h, dh, d]
        q, r = torch.linalg.qr(m.cpu().mT)  # [l, h, d, k], [l, h, k, dh]
        # QR leaves the signs open; a non-negative diagonal makes R one and the same with every LAPACK.
        signs = torch.where(torch.diagonal(r, dim1=-2, dim2=-1) < 0, -1.0, 1.0).unsqueeze(-1)
        return HeadMatrices(m.cpu().numpy(), (r * signs).mT.numpy(), (q.mT * signs).numpy())


def decompose(encoder: OpenClipEncoder, inputs: Sequence[Any], direction: np.ndarray | None = None) -> Decomposition:
    """Take the embeddings of ``encoder.prepare`` results apart, in float32 whatever the encoder's precision.

    direction: also take the heads apart by tokens (:func:`patch_contributions`), in the same pass.
    Raises EncoderError where the embedding is no such sum (see :func:`aigiscan.encoders.clip_vision.why_no_heads`).
    """
    import torch

    twin = encoder.exact()
    twin.check_heads()
    tower = twin.tower
    blocks = tower.blocks
    if direction is not None:
        _check_attention(twin.name, blocks)
    with (
        torch.inference_mode(),
        exact_products("fp32"),
        _watched(blocks, tower.pool, attention_inputs=direction is not None) as seen,
    ):
        x0, pooled = tower.residual(twin.pixels(inputs))  # [b, D], [b, D]
        sigma = tower.sigma(pooled)  # [b]

        def share(stream: torch.Tensor) -> torch.Tensor:
            """[b, ..., D] → [b, ..., d]"""
            return tower.through_norm(stream) / sigma.reshape(-1, *[1] * (stream.dim() - 1))

        zs, heads, mlps, biases = [], [], [], []
        for block, z, mlp in zip(blocks, seen.z, seen.mlp, strict=True):
            weight = _after(block.ls_1, block.attn.out_proj.weight.T)
            weight = weight.reshape(block.attn.num_heads, -1, weight.shape[1])  # [h, dh, D]
            zs.append(z.reshape(len(z), block.attn.num_heads, -1))  # [b, h, dh]
            heads.append(share(torch.einsum("bhk,hkd->bhd", zs[-1], weight)))
            mlps.append(share(_after(block.ls_2, mlp)))
            biases.append(share(_after(block.ls_1, block.attn.out_proj.bias).expand(len(z), -1)))
        embedding = tower.embed(pooled)  # [b, d]
        length = tower.length(embedding)  # [b, 1]; ones if the encoder does not normalise
        bias = tower.norm_bias().expand(len(embedding), -1)
        tokens = None
        if direction is not None:
            tokens = _by_token(tower, seen, direction) / (sigma * length.squeeze(1))[:, None, None, None]
        return Decomposition(
            (embedding / length).cpu().numpy(),
            (torch.stack(heads, 1) / length[:, :, None, None]).cpu().numpy(),
            (torch.stack(mlps, 1) / length[:, :, None]).cpu().numpy(),
            (torch.stack(biases, 1) / length[:, :, None]).cpu().numpy(),
            (share(x0) / length).cpu().numpy(),
            (bias / length).cpu().numpy(),
            sigma.cpu().numpy(),
            torch.stack(zs, 1).cpu().numpy(),
            None if tokens is None else tokens.cpu().numpy(),
        )


def patch_contributions(encoder: OpenClipEncoder, inputs: Sequence[Any], direction: np.ndarray) -> np.ndarray:
    """What every token adds, through every head, to the embedding's dot product with ``direction`` (d,).

    direction may also be (layers, heads, d), one for each head.
    Returns (n, layers, heads, tokens) float32; token 0 is the class token, token 1 + r · columns + c the patch in row
    r and column c of ``encoder.grid``. Since ``z = Σ_i α_i v_i``, the sum over tokens is the head's contribution,
    ``decompose(…).heads @ direction``. For mean pooling α_i is the mean attention that token i receives.
    """
    tokens = decompose(encoder, inputs, direction).tokens
    assert tokens is not None
    return tokens


def _check_attention(name: str, blocks: Any) -> None:
    import torch

    for block in blocks:
        if block.attn.logit_scale is not None or not isinstance(block.attn.ln_inner, torch.nn.Identity):
            raise EncoderError(f"{name}: its attention is scaled or normalised; no contribution per patch")


def _by_token(tower: VisionTower, seen: _Seen, direction: np.ndarray) -> torch.Tensor:
    """Contributions of all tokens before the division by σ, [b, l, h, t]."""
    import torch

    shape = (len(tower.blocks), tower.blocks[0].attn.num_heads, np.shape(direction)[-1])
    device = seen.attention_input[0].device
    toward = torch.tensor(np.broadcast_to(direction, shape), dtype=torch.float32, device=device)  # [l, h, d]
    shares = []
    for block, x, own in zip(tower.blocks, seen.attention_input, toward, strict=True):
        attention = block.attn
        n, tokens, _ = x.shape
        qkv = torch.nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.reshape(n, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)  # each [b, h, t, dh]
        q, k = attention.ln_q(q[:, :, tower.wanted]), attention.ln_k(k)
        alpha = (q @ k.mT * attention.scale).softmax(-1).mean(2)  # [b, h, t]
        if attention.head_scale is not None:
            alpha = alpha * attention.head_scale.reshape(1, -1, 1)
        weight = _after(block.ls_1, attention.out_proj.weight.T)
        maps = tower.through_norm(weight).reshape(attention.num_heads, -1, own.shape[-1])  # [h, dh, d]
        u = torch.einsum("hkd,hd->hk", maps, own)  # [h, dh]
        shares.append(alpha * torch.einsum("bhtk,hk->bht", v, u))
    return torch.stack(shares, 1)


@dataclass
class _Seen:
    """What the hooks caught, one entry per layer: pooled z [b, h * dh], pooled MLP output [b, D], inputs [b, t, D]."""

    z: list[torch.Tensor]
    mlp: list[torch.Tensor]
    attention_input: list[torch.Tensor]


@contextmanager
def _watched(blocks: Any, pool: Any, *, attention_inputs: bool = False) -> Iterator[_Seen]:
    seen = _Seen([], [], [])
    handles = []
    for block in blocks:
        handles.append(block.attn.out_proj.register_forward_pre_hook(lambda _, args: seen.z.append(pool(args[0]))))
        handles.append(block.mlp.register_forward_hook(lambda _, args, out: seen.mlp.append(pool(out))))
        if attention_inputs:
            handles.append(block.ln_1.register_forward_hook(lambda _, args, out: seen.attention_input.append(out)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _after(scale: Any, stream: torch.Tensor) -> torch.Tensor:
    """Through a LayerScale (or nothing), which is linear, without its in-place variant."""
    gamma = getattr(scale, "gamma", None)
    return stream if gamma is None else stream * gamma
