"""A block of open_clip's vision transformer for those tokens alone that are wanted, with the faster of two attentions.

torch's fused attention is the fastest on most machines, not in bfloat16 on a CPU without AMX: there two plain matrix
products and a softmax took 15 ms where it took 35 (8 images, 16 heads, 257 tokens, one core of an AMD EPYC). Which one
is taken is measured once per machine and remembered, so that a second run gives the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aigiscan.encoders.device import fastest, torch_dtype

if TYPE_CHECKING:
    import torch

#: queries [b, h, t', dh], keys and values [b, h, t, dh] → [b, h, t', dh]
Attend = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]
ALL = slice(None)


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention outputs [b, h, t', dh] from queries [b, h, t', dh] and keys and values [b, h, t, dh], by torch."""
    import torch

    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def by_products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The same as two matrix products with a softmax between them."""
    import torch

    b, h, t, d_head = q.shape
    q, k, v = (x.reshape(b * h, -1, d_head) for x in (q, k, v))
    logits = torch.baddbmm(q.new_empty(1, 1, 1), q, k.mT, beta=0, alpha=d_head**-0.5)  # [b * h, t', t]
    return torch.bmm(logits.softmax(-1), v).reshape(b, h, t, d_head)


def choose_attention(device: torch.device, precision: str, heads: int, tokens: int, d_head: int) -> Attend:
    """The faster of the two for this machine and shape; timed where there is a doubt, and remembered on disk."""
    if device.type != "cpu" or precision == "fp32":
        return fused
    ways = {attend.__name__: attend for attend in (fused, by_products)}
    name = f"{precision} {heads} {tokens} {d_head}"
    return ways[
        fastest("attention", list(ways), device, name, lambda: time_attention(precision, heads, tokens, d_head))
    ]


def time_attention(precision: str, heads: int, tokens: int, d_head: int) -> dict[str, float]:
    """Seconds of the best of three passes over four images, after one to warm up."""
    import torch

    x = torch.randn(4, heads, tokens, d_head).to(torch_dtype(precision))
    seconds = {}
    with torch.inference_mode():
        for attend in (fused, by_products):
            passes = []
            for _ in range(4):
                start = time.perf_counter()
                attend(x, x, x)
                passes.append(time.perf_counter() - start)
            seconds[attend.__name__] = min(passes[1:])
    return seconds


def through_block(block: Any, x: torch.Tensor, attend: Attend, wanted: slice = ALL) -> torch.Tensor:
    """open_clip's ``CustomResidualAttentionBlock`` on tokens [b, t, D] → its output for the wanted tokens, [b, t', D].

    Only keys and values are needed of the others. Hooks on ``ln_1`` (its output is what attention sees),
    ``attn.out_proj`` and ``mlp`` run as in the block's own forward.
    """
    attention = block.attn
    if attention.logit_scale is not None:  # cosine attention, which no pretrained vision tower has
        return block(x)[:, wanted]
    z = attention.ln_inner(head_outputs(attention, block.ln_1(x), attend, wanted))
    x = x[:, wanted] + block.ls_1(block.ln_attn(attention.out_proj(z)))
    out: torch.Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def head_outputs(attention: Any, x: torch.Tensor, attend: Attend, wanted: slice = ALL) -> torch.Tensor:
    """Tokens after the first norm [b, t, D] → outputs of all heads, side by side, of the wanted tokens [b, t', D]."""
    import torch

    weight, bias, width = attention.in_proj_weight, attention.in_proj_bias, x.shape[-1]

    def apart(out: torch.Tensor) -> torch.Tensor:
        """[b, t, n * D] → [n, b, h, t, dh]"""
        return out.reshape(*out.shape[:2], -1, attention.num_heads, width // attention.num_heads).permute(2, 0, 3, 1, 4)

    def project(tokens: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Queries (0), keys (1) and values (2) from ``first`` to ``last``: [last - first, b, h, t, dh]."""
        part = slice(first * width, last * width)
        return apart(torch.nn.functional.linear(tokens, weight[part], None if bias is None else bias[part]))

    if weight is None:  # packed (aigiscan.encoders.packed)
        q, k, v = apart(attention.in_proj(x))
        q = q[:, :, wanted]
    elif wanted == ALL:
        q, k, v = project(x, 0, 3)
    else:
        (q,), (k, v) = project(x[:, wanted], 0, 1), project(x, 1, 3)
    z = attend(attention.ln_q(q), attention.ln_k(k), v)
    if attention.head_scale is not None:
        z = z * attention.head_scale
    return z.transpose(1, 2).reshape(x.shape[0], -1, width)
