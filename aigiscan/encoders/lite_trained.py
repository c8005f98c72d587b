"""``lite:trained``: ``lite:native``, and the logits of small networks trained on photographs and generated pictures.

Columns that a network learnt on labelled pictures are no frozen features: on those pictures they know the answer. Five
networks were trained, each without two of ten folds over sources (``models/lite/train.py``), so that a detector fitted
on the same pictures can take each one's logit from the network that saw neither its source nor its group, as
``models/fit_builtin.py`` does. For any other picture all five are columns like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec
from aigiscan.encoders.device import torch_dtype
from aigiscan.encoders.lite import dimension, fold_batch_norms, shipped_file, statistics
from aigiscan.encoders.lite_native import LiteNativeEncoder
from aigiscan.encoders.weights import load_weights, weights_sha256

if TYPE_CHECKING:
    import torch

NETWORKS = 5
#: blocks of the network of `lite` whose outputs a network reads: 24 channels at a quarter of the picture's scale, four
#: neighbours side by side, and 40 at an eighth
READ = (1, 2)
CHANNELS, WIDTH, BLOCKS = 4 * 24 + 40, 96, 3


class LiteTrainedEncoder(LiteNativeEncoder):
    """``lite:native``'s 2,144 columns, then five logits; 2,149 columns.

    A logit is higher for what looks generated. Input and shapes as ``lite:native``.
    """

    name = "lite:trained"
    files: ClassVar[tuple[str, ...]] = ("weights.safetensors", "trained.safetensors")

    def channels(self) -> dict[str, ChannelSpec]:
        """One channel: ``embedding``."""
        return {CHANNEL_EMBEDDING: ChannelSpec((self.width,))}

    @property
    def width(self) -> int:
        """Columns."""
        return dimension(self.stages) + NETWORKS

    def columns(self) -> list[str]:
        """As of ``lite:native``, then ``lite:trained:logit:0`` …"""
        own = [f"{self.name}:{i}" for i in range(dimension(self.stages))]
        return own + [f"{self.name}:logit:{i}" for i in range(NETWORKS)]

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Encoder.fingerprint`; the weights of both files."""
        return {**super().fingerprint(), "weights": "+".join(weights_sha256(shipped_file(name)) for name in self.files)}

    def _columns(self, model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        import torch

        read: dict[int, torch.Tensor] = dict.fromkeys(READ, x)
        found = statistics(model, x, self.stages, read)
        maps = side_by_side(*(read[i] for i in READ))
        logits = [network(maps).float() for network in self._networks]
        return torch.cat([found, torch.stack(logits, 1)], 1)

    def _load(self, device: torch.device, precision: str) -> torch.nn.Module:
        import torch

        self._networks = torch.nn.ModuleList(networks(shipped_file("trained.safetensors")))
        fold_batch_norms(self._networks)
        self._networks.requires_grad_(False).to(memory_format=torch.channels_last)
        self._networks.to(device=device, dtype=torch_dtype(precision))
        return super()._load(device, precision)


def side_by_side(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Maps at a quarter [b, 24, 2h, 2w] and an eighth [b, 40, h, w] of the scale → [b, 136, h, w]."""
    import torch
    import torch.nn.functional as F

    h, w = coarse.shape[2:]
    # a picture whose sides are no multiples of 8 has one row or column less at the finer scale
    fine = F.pad(fine, (0, 2 * w - fine.shape[3], 0, 2 * h - fine.shape[2]), mode="replicate")
    return torch.cat([F.pixel_unshuffle(fine, 2), coarse], 1)


def network(drop: float = 0.0, drop_path: Sequence[float] = (0.0,) * BLOCKS) -> torch.nn.Module:
    """Maps [b, 136, h, w] → logit [b]: a residual network whose convolutions are wide and plain, which processors with
    matrix units run some ten times faster than the separable ones of the network below it. Starts at 0."""
    import torch
    from timm.layers import ConvNormAct, DropPath
    from torch import nn

    conv = partial(ConvNormAct, act_layer=nn.ReLU)

    class Block(nn.Module):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.first = conv(WIDTH, WIDTH, 3)
            self.second = conv(WIDTH, WIDTH, 3, apply_act=False)
            self.drop_path = DropPath(rate)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.drop_path(self.second(self.first(x))))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalise = nn.BatchNorm2d(CHANNELS, affine=False)
            self.entry = conv(CHANNELS, WIDTH, 1)
            self.down = conv(WIDTH, WIDTH, 3, stride=2)
            self.blocks = nn.Sequential(*(Block(rate) for rate in drop_path))
            self.drop = nn.Dropout(drop)
            self.logit = nn.Linear(WIDTH, 1)
            nn.init.zeros_(self.logit.weight)
            nn.init.zeros_(self.logit.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.blocks(self.down(self.entry(self.normalise(x))))
            return self.logit(self.drop(x.mean((2, 3))))[:, 0]

    return Network()


def networks(path: Path) -> list[torch.nn.Module]:
    """The networks of a file whose keys begin with their numbers, in evaluation mode."""
    state = {key: value.float() for key, value in load_weights(path).items()}
    made = []
    for i in range(NETWORKS):
        made.append(network())
        own = {key.removeprefix(f"{i}."): value for key, value in state.items() if key.startswith(f"{i}.")}
        made[-1].load_state_dict(own | {k: v for k, v in made[-1].state_dict().items() if "num_batches" in k})
        made[-1].eval()
    return made
