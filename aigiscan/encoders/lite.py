"""``lite``: stage statistics of an ImageNet EfficientNet-Lite0, shipped with the package.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite variant is
by the TensorFlow authors. The weights and where they come from: ``models/lite/NOTICE``.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from aigiscan.encoders.base import CHANNEL_EMBEDDING, ChannelSpec, Encoder, EncoderOptions
from aigiscan.encoders.device import check_precision, choose_device, exact_products, torch_dtype
from aigiscan.encoders.options import plain_options, unit_length
from aigiscan.encoders.pixels import chw, resize_and_crop
from aigiscan.encoders.weights import load_weights, shipped_models_dir, weights_sha256
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    import torch

SIZE = 224
# Pixels that go through the network at once: on a CPU so many that its activations stay in the cache (1.3 times as fast
# as 32 pictures of 224), on a GPU so many that it has work.
CPU_PIXELS, GPU_PIXELS = 512 * 512, 32 * 512 * 512
# The weights come from TensorFlow, which fed (x − 127) / 128 and used epsilon 0.001 in batch normalisation. Top-1 on
# 340 ImageNet pictures of 340 classes: 0.82 so; 0.81 with torch's epsilon 1e-5; 0.72 with timm's own mean and
# deviation for this architecture, which belong to other weights.
MEAN, STD = 127 / 255, 128 / 255
BN_EPSILON = 1e-3
#: the blocks after which timm's ``feature_info`` ends a stage, and their channels
STAGES = {0: 16, 1: 24, 2: 40, 4: 112, 6: 320}


class LiteEncoder(Encoder):
    """EfficientNet-Lite0 stage statistics, 2,304 columns.

    Columns: for each of the five stages (16, 24, 40, 112, 320 channels) the means over space, then the standard
    deviations over space; then the 1,280 spatial means after the last convolution. Input: shorter side to 224 pixels
    (bicubic, antialiased), central square. Demonstration grade.
    """

    name = "lite"
    #: blocks whose statistics are columns
    stages: ClassVar[tuple[int, ...]] = tuple(STAGES)
    preprocessing: ClassVar[dict[str, Any]] = {"size": SIZE, "resize_mode": "shortest", "interpolation": "bicubic"}

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        self.options = plain_options(self.name, argument, options)
        self._lock = threading.Lock()
        self._model: tuple[torch.nn.Module, torch.device] | None = None

    @property
    def precision(self) -> str:
        """``auto`` is fp32: the network is small and half precision moves its statistics more than it saves time."""
        wanted = self.options.precision
        return "fp32" if wanted == "auto" else wanted

    def channels(self) -> dict[str, ChannelSpec]:
        """One channel: ``embedding``."""
        return {CHANNEL_EMBEDDING: ChannelSpec((self.width,))}

    @property
    def width(self) -> int:
        """Columns."""
        return dimension(self.stages)

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Encoder.fingerprint`."""
        return self._described(
            weights=weights_sha256(shipped_file("weights.safetensors")),
            preprocessing={**self.preprocessing, "mean": [MEAN] * 3, "std": [STD] * 3},
            precision=self.precision,
        )

    def prepare(self, image: Image.Image) -> np.ndarray:
        """uint8 (3, 224, 224)."""
        return chw(resize_and_crop(image, SIZE, Image.Resampling.BICUBIC))

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """uint8 (3, h, w), for ``lite`` itself 224 both, → ``embedding`` (n, width), in their order."""
        matrix = np.zeros((len(inputs), self.width), np.float32)
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, pixels in enumerate(inputs):
            by_shape[pixels.shape].append(i)
        for shape, rows in by_shape.items():
            model, device = self._loaded()
            pixels_at_once = CPU_PIXELS if device.type == "cpu" else GPU_PIXELS
            at_once = max(1, pixels_at_once // (shape[1] * shape[2]))
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                matrix[some] = self._run(model, device, np.stack([inputs[i] for i in some]))
        return {CHANNEL_EMBEDDING: unit_length(matrix) if self.options.normalize else matrix}

    def _run(self, model: torch.nn.Module, device: torch.device, pixels: np.ndarray) -> np.ndarray:
        """uint8 [b, 3, h, w] → float32 [b, d]."""
        import torch

        x = torch.from_numpy(pixels).to(device)
        x = ((x.float() / 255 - MEAN) / STD).to(torch_dtype(self.precision))
        with torch.inference_mode(), exact_products(self.precision):
            found = self._columns(model, x.contiguous(memory_format=torch.channels_last))
        matrix: np.ndarray = found.cpu().numpy()
        return matrix

    def _columns(self, model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Normalised pixels [b, 3, h, w] → float32 [b, d]."""
        return statistics(model, x, self.stages)

    def _load(self, device: torch.device, precision: str) -> torch.nn.Module:
        return load_network(device, precision)

    def _loaded(self) -> tuple[torch.nn.Module, torch.device]:
        with self._lock:
            if self._model is None:
                device = choose_device(self.options.device)
                check_precision(self.precision, device)
                self._model = self._load(device, self.precision), device
            return self._model


def dimension(stages: Sequence[int]) -> int:
    """Columns: means and deviations of these stages, and the means after the last convolution."""
    return 2 * sum(STAGES[i] for i in stages) + 1280


def shipped_file(name: str) -> Path:
    """A file of ``models/lite``; EncoderError if this installation lacks it."""
    path = shipped_models_dir() / "lite" / name
    if not path.is_file():
        raise EncoderError(f"the weights of 'lite' are missing from this installation: {path}; install aigiscan again")
    return path


def load_network(device: torch.device, precision: str) -> torch.nn.Module:
    """The shipped network in evaluation mode, normalisations folded into its convolutions."""
    import timm
    import torch

    model = timm.create_model("efficientnet_lite0", pretrained=False, bn_eps=BN_EPSILON)
    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_weights(shipped_file("weights.safetensors")).items()
    }
    model.load_state_dict(state)
    model = model.eval().requires_grad_(False)
    fold_batch_norms(model)
    model = model.to(memory_format=torch.channels_last)
    return model.to(device=device, dtype=torch_dtype(precision))


def fold_batch_norms(model: torch.nn.Module) -> None:
    """Put every batch normalisation into the convolution before it: the same numbers up to rounding, 1.4× faster."""
    from timm.layers import BatchNormAct2d
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for parent in model.modules():
        convolution = ""
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                convolution = name
            elif isinstance(child, BatchNormAct2d):
                # timm lists each normalisation right after its convolution, and keeps the activation inside it
                setattr(parent, convolution, fuse_conv_bn_eval(getattr(parent, convolution), child))
                setattr(parent, name, child.act)


def statistics(
    model: Any,
    x: torch.Tensor,
    stages: Sequence[int] = tuple(STAGES),
    read: dict[int, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Normalised pixels [b, 3, h, w] → float32 [b, d]; the maps after the blocks that ``read`` names are put there."""
    import torch

    columns = []
    x = model.bn1(model.conv_stem(x))
    for i, block in enumerate(model.blocks):
        x = block(x)  # [b, c, h, w]
        if read is not None and i in read:
            read[i] = x
        if i in stages:
            values = x.float().permute(0, 2, 3, 1).flatten(1, 2)  # as they lie in memory: twice as fast
            mean = values.mean(1)
            columns += [mean, (values - mean[:, None]).square_().mean(1).sqrt()]
    x = model.bn2(model.conv_head(x))
    columns.append(x.float().mean((2, 3)))
    return torch.cat(columns, 1)
