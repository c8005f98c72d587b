"""``timm:NAME[@SIDE][/FILE]``: any image model of timm (DINOv2 among a thousand), pooled, without classifier."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aigiscan.encoders.base import CHANNEL_BLOCKS, CHANNEL_EMBEDDING, ChannelSpec, Encoder, EncoderOptions
from aigiscan.encoders.device import (
    GPU_SAMPLE,
    choose_device,
    choose_precision,
    exact_products,
    in_batches,
    torch_dtype,
)
from aigiscan.encoders.hub import Remote
from aigiscan.encoders.options import check_depth, half_range, plain_options, unit_length
from aigiscan.encoders.pixels import chw, limit_aspect
from aigiscan.encoders.weights import load_weights, one_line, weights_sha256
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class TimmEncoder(Encoder):
    """Pooled features of a timm model, as it gives them without its classifier.

    Preprocessing (size, mean, deviation, interpolation, crop) is that of the model's own pretrained configuration; with
    ``@SIDE`` pictures go in at so many pixels, nothing cut off, where the model takes any size (DINOv3 does).
    Channel ``blocks`` (layers, width) of a model with ``forward_intermediates`` whose layers are all of one width: the
    class token after each, or the mean of its patches where it has no class token.
    """

    has_blocks: ClassVar[bool] = True

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        architecture, _, file = argument.partition("/")
        if not architecture:
            raise EncoderError("timm needs a model, such as timm:vit_small_patch14_dinov2.lvd142m")
        architecture, at, side = architecture.partition("@")
        if at and not side.isdigit():
            raise EncoderError(f"timm:{argument}: give the side in pixels after @, such as @224")
        self.architecture, self._side = architecture, int(side) if at else 0
        self._file = Path(os.path.abspath(Path(file).expanduser())) if file else None
        self.name = f"timm:{architecture}{at}{side}" + (f"/{self._file}" if self._file else "")
        self.options = plain_options(self.name, "", options, transformer=True)
        self._lock = threading.RLock()

    @cached_property
    def _pretrained(self) -> dict[str, Any]:
        """timm's pretrained configuration of the model."""
        import timm

        plain = self.architecture.split(".")[0]
        if not timm.is_model(plain):
            near = difflib.get_close_matches(plain, timm.list_models(), n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise EncoderError(f"timm has no model {plain!r}{hint}")
        try:
            config = timm.models.get_pretrained_cfg(self.architecture, allow_unregistered=False)
        except RuntimeError as error:
            raise EncoderError(f"{self.name}: {one_line(error)}") from error
        if config is None:
            tags = [name for name in timm.list_pretrained() if name.split(".")[0] == plain]
            raise EncoderError(f"{self.name}: no such pretrained tag; there are: {', '.join(tags) or 'none'}")
        return dict(config.to_dict())

    @cached_property
    def _data(self) -> dict[str, Any]:
        """What timm's transform is made of, JSON values."""
        from timm.data import resolve_data_config

        config = resolve_data_config(pretrained_cfg=self._pretrained)
        if self._side:
            if getattr(getattr(self.outline, "patch_embed", None), "strict_img_size", False):
                raise EncoderError(
                    f"{self.name}: this model takes pictures of its own size alone; leave out @{self._side}"
                )
            config |= {"input_size": (3, self._side, self._side), "crop_pct": 1.0}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in sorted(config.items())}

    @cached_property
    def outline(self) -> Any:
        """The model without values, where it can be built so."""
        import torch

        try:
            with torch.device("meta"):
                return self._new()
        except (NotImplementedError, RuntimeError):  # a few models compute with values while they are built
            return self._new()

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of what goes in."""
        _, height, width = self._data["input_size"]
        return height, width

    @property
    def _width(self) -> int:
        return int(getattr(self.outline, "head_hidden_size", self.outline.num_features))

    @cached_property
    def _blocks_shape(self) -> tuple[int, int]:
        """Layers and width; EncoderError where there is no such channel."""
        model = self.outline
        layers, width = len(getattr(model, "blocks", ())), getattr(model, "embed_dim", 0)
        if not layers or not isinstance(width, int) or not hasattr(model, "forward_intermediates"):
            raise EncoderError(f"{self.name}: --blocks needs a transformer whose layers are all of one width")
        return check_depth(self.name, self.options.depth, layers), width

    @property
    def _pooling(self) -> str:
        """``token``, or "" for what the model does by itself; EncoderError if it has no class token."""
        if self.options.pooling != "token":
            return ""
        if getattr(self.outline, "cls_token", None) is None:
            raise EncoderError(f"{self.name}: --pooling token needs a transformer with a class token")
        return "token"

    def _new(self) -> Any:
        import timm

        return timm.create_model(self.architecture, pretrained=False)

    def weights(self) -> Path:
        """The weights file, downloaded if it must be and can be; EncoderError (one line) if it cannot be had."""
        if self._file is not None:
            if not self._file.is_file():
                raise EncoderError(f"weights file {self._file} does not exist")
            return self._file
        remote = self.remote()
        if remote is None:
            raise EncoderError(f"{self.name}: timm knows no weights for it; give a file: {self.name}/FILE")
        return remote.get(self.architecture, self.name)

    def remote(self) -> Remote | None:
        """See :meth:`Encoder.remote`."""
        repo, url = self._pretrained.get("hf_hub_id"), self._pretrained.get("url")
        if self._file is not None or not (repo or url):
            return None
        if not repo:
            return Remote(url=str(url))
        own = self._pretrained.get("hf_hub_filename")
        return Remote(repo, (own,) if own else ("model.safetensors", "pytorch_model.bin"))

    def channels(self) -> dict[str, ChannelSpec]:
        """``embedding`` (the model's feature width,), and ``blocks`` if asked for."""
        channels = {} if self.options.depth else {CHANNEL_EMBEDDING: ChannelSpec((self._width,))}
        if self.options.blocks:
            channels[CHANNEL_BLOCKS] = ChannelSpec(self._blocks_shape, "float16")
        return channels

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Encoder.fingerprint`."""
        return self._described(
            weights=weights_sha256(self.weights()),
            preprocessing=self._data,
            precision=self.precision,
            pooling=self._pooling,
        )

    @cached_property
    def _steps(self) -> list[Callable[[Image], Image]]:
        """timm's own evaluation transform, up to the conversion into numbers."""
        from timm.data import create_transform

        config: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self._data.items()
        }
        steps: list[Callable[[Image], Image]] = create_transform(**config, is_training=False).transforms
        return steps[:-2]  # without MaybeToTensor and Normalize

    def prepare(self, image: Image) -> np.ndarray:
        """uint8 (3, height, width), resized and cropped as the model's configuration says."""
        if self._data.get("crop_mode", "center") == "center":  # else nothing is cut off: squashed, or with a border
            image = limit_aspect(image)
        for step in self._steps:
            image = step(image)
        return chw(image)

    @cached_property
    def device(self) -> torch.device:
        """Where the model runs."""
        return choose_device(self.options.device)

    @cached_property
    def precision(self) -> str:
        """fp32, bf16 or fp16; ``auto`` is decided by timing."""
        with self._lock:
            return choose_precision(self.options.precision, self.device, self.architecture, self._sample)

    def _sample(self) -> tuple[torch.nn.Module, torch.Tensor]:
        import torch

        return self._new().eval(), torch.randn(
            2 if self.device.type == "cpu" else GPU_SAMPLE, *self._data["input_size"]
        )

    @cached_property
    def _model(self) -> Any:
        with self._lock:
            model = self._new()
            _fill(model, load_weights(self.weights()), self.name)
            model.reset_classifier(0, self._pooling) if self._pooling else model.reset_classifier(0)
            model = model.eval().requires_grad_(False)
            return model.to(device=self.device, dtype=torch_dtype(self.precision))

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Batch of uint8 (3, h, w) → channels."""
        if not len(inputs):
            return {name: np.zeros((0, *spec.shape), np.float32) for name, spec in self.channels().items()}
        return in_batches(self._encode_at_once, inputs, len(inputs), self.name)

    def _encode_at_once(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        import torch

        on_gpu = self.device.type == "cuda"
        raw = torch.from_numpy(np.stack(list(inputs)))
        raw = (raw.pin_memory() if on_gpu else raw).to(self.device, non_blocking=on_gpu)
        mean, std = (torch.tensor(self._data[k], device=self.device).reshape(1, 3, 1, 1) for k in ("mean", "std"))
        with torch.inference_mode(), exact_products(self.precision):
            pixels = raw.float().div_(255).sub_(mean).div_(std).to(torch_dtype(self.precision))  # [b, 3, h, w]
            embedding, blocks = self._with_blocks(pixels) if self.options.blocks else (self._model(pixels), None)
        channels = {}
        if embedding is not None:
            matrix = embedding.float().cpu().numpy()
            channels[CHANNEL_EMBEDDING] = unit_length(matrix) if self.options.normalize else matrix
        if blocks is not None:
            channels[CHANNEL_BLOCKS] = half_range(blocks.cpu().numpy())
        return channels

    def _with_blocks(self, pixels: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(embedding [b, d], None if the last layers are not run; pooled token after every layer [b, l, D])."""
        import torch

        model, depth = self._model, self.options.depth
        prefixed = getattr(model, "num_prefix_tokens", 0) > 0
        found = model.forward_intermediates(
            pixels,
            indices=list(range(self._blocks_shape[0])),
            stop_early=bool(depth),
            output_fmt="NCHW",
            intermediates_only=bool(depth),
            **({"return_prefix_tokens": True} if prefixed else {}),
        )
        last, layers = (None, found) if depth else found
        seen = []
        for layer in layers:
            patches, *prefix = layer if prefixed else (layer,)
            has_class = prefixed and getattr(model, "cls_token", None) is not None
            seen.append(prefix[0][:, 0].float() if has_class else patches.float().mean((2, 3)))
        return None if last is None else model.forward_head(last), torch.stack(seen, 1)


def _fill(model: Any, state: dict[str, torch.Tensor], name: str) -> None:
    """Load every parameter but the classifier's, or raise EncoderError: timm's own loader lets some stay random."""
    classifier = tuple(f"{key}." for key in _classifier_names(model))
    for convert in (None, getattr(import_module(type(model).__module__), "checkpoint_filter_fn", None)):
        # Original releases (such as Meta's DINOv2 files) name their tensors otherwise; timm's module knows how.
        try:
            found = state if convert is None else convert(dict(state), model)
            found = {key: value for key, value in found.items() if not key.startswith(classifier)}
            result = model.load_state_dict(found, strict=False)
        except (RuntimeError, KeyError, ValueError, AttributeError) as error:
            problem = one_line(error)
            continue
        missing = [key for key in result.missing_keys if not key.startswith(classifier)]
        if not missing and not result.unexpected_keys:
            return
        problem = f"missing {missing[:2]}, unexpected {result.unexpected_keys[:2]}"
    raise EncoderError(f"{name}: the weights do not fit: {problem}")


def _classifier_names(model: Any) -> Sequence[str]:
    named = model.pretrained_cfg.get("classifier") or ()
    return [named] if isinstance(named, str) else list(named)
