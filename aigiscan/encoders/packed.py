"""Linear layers whose bfloat16 weights lie as the processor's matrix product wants them.

``torch.nn.Linear`` hands the weights over as they are, oneDNN turns them in every call and adds the bias in a pass of
its own. With weights that were turned once the products of ViT-L/14 took 12 % less time (one core of an AMD EPYC, 2,056
rows). The two operators are those of torch's own compiler, without a promise to stay; where they are missing or do not
work nothing is packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


class PackedLinear(torch.nn.Module):
    """weight (outputs, inputs) bfloat16, bias (outputs,) or None, for inputs of about ``rows`` rows."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> None:
        super().__init__()
        self._bias = bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] → [..., outputs]"""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return out


def pack(blocks: Iterable[Any], rows: int) -> bool:
    """Pack the linear layers of open_clip's custom blocks in bfloat16 on a CPU; False if that cannot be done here.

    ``attn.in_proj`` takes the place of ``in_proj_weight``; the other layers keep their names, so that hooks on them
    still see what goes in.
    """
    if not usable():
        return False
    for block in blocks:
        attention, mlp = block.attn, block.mlp
        attention.in_proj = PackedLinear(attention.in_proj_weight, attention.in_proj_bias, rows)
        attention.in_proj_weight = None  # or the memory would be taken twice
        for parent, name in ((attention, "out_proj"), (mlp, "c_fc"), (mlp, "c_proj")):
            layer = getattr(parent, name)
            setattr(parent, name, PackedLinear(layer.weight, layer.bias, rows))
    return True


def usable() -> bool:
    """Whether this torch on this processor has the operators: they are tried."""
    weight = torch.ones(16, 16, dtype=torch.bfloat16)
    try:
        with torch.inference_mode():
            return bool((PackedLinear(weight, weight[0], 8)(weight[:8]) == 17).all())
    except (AttributeError, RuntimeError):
        return False
