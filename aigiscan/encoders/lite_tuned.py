"""``lite:tuned``: the network of ``lite``, fine-tuned here to tell photographs from generated images at native scale.

How it was trained, and on which pictures: ``models/tuned``. It has seen the development pictures; what it says of them is
no measure of anything, so fits use scores of networks that did not (``models/tuned/out_of_fold.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec, EncoderOptions
from aigiscan.encoders.lite import network
from aigiscan.encoders.lite_native import CROP, LiteNativeEncoder
from aigiscan.encoders.weights import shipped_models_dir

if TYPE_CHECKING:
    import torch

#: of the logits over the picture
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class LiteTunedEncoder(LiteNativeEncoder):
    """Local evidence of a fine-tuned EfficientNet-Lite0, 7 columns; higher = more likely AI-generated.

    The last layer's logit at every position of its 1/32 grid; columns: their mean (the network's own logit), their
    standard deviation, and their 5, 25, 50, 75 and 95 % quantiles over the picture.
    """

    name = "lite:tuned"
    preprocessing: ClassVar[dict[str, Any]] = {"crop": CROP, "resize_mode": "none", "interpolation": "", "version": 1}

    def __init__(
        self, argument: str = "", options: EncoderOptions | None = None, weights: Path | None = None
    ) -> None:
        super().__init__(argument, options)
        self._weights = weights

    @property
    def weights(self) -> Path:
        """Of the fine-tuned network."""
        return self._weights or shipped_models_dir() / "tuned" / "weights.safetensors"

    @property
    def dimension(self) -> int:
        """Number of columns."""
        return 2 + len(QUANTILES)

    def statistics(self, model: Any, x: torch.Tensor) -> torch.Tensor:
        """Normalised pixels [b, 3, h, w] → float32 [b, 7]."""
        import torch

        x = model.bn2(model.conv_head(model.blocks(model.bn1(model.conv_stem(x)))))
        logits = torch.nn.functional.conv2d(
            x, model.classifier.weight[:, :, None, None].to(x.dtype), model.classifier.bias.to(x.dtype)
        )
        values = logits.float().flatten(1)  # [b, positions]
        levels = torch.tensor(QUANTILES, device=values.device)
        spread = values.std(1, correction=0, keepdim=True)
        return torch.cat([values.mean(1, keepdim=True), spread, values.quantile(levels, 1).T], 1)
