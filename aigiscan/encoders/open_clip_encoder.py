"""``open_clip:NAME/PRETRAINED_OR_FILE``: the image and text towers of any CLIP that open_clip can build."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aigiscan.encoders.base import (
    CHANNEL_BLOCKS,
    CHANNEL_EMBEDDING,
    CHANNEL_HEADS,
    CHANNEL_SIGMA,
    ChannelSpec,
    Encoder,
    EncoderOptions,
)
from aigiscan.encoders.clip_source import ClipSource, find_source
from aigiscan.encoders.clip_vision import why_no_heads
from aigiscan.encoders.device import (
    GPU_SAMPLE,
    choose_device,
    choose_precision,
    exact_products,
    in_batches,
    torch_dtype,
)
from aigiscan.encoders.options import check_depth, check_options, half_range, unit_length
from aigiscan.encoders.pixels import chw, limit_aspect, native_crop
from aigiscan.encoders.weights import weights_sha256
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from aigiscan.encoders.clip_text import TokenTable
    from aigiscan.encoders.clip_vision import VisionTower
    from aigiscan.encoders.hub import Remote


#: images that go through the model together on a CPU: beyond that nothing is gained, and the activations of ViT-L/14
#: (2 MB per image and layer in bfloat16) leave the cache
CPU_BATCH = 8


class OpenClipEncoder(Encoder):
    """An open_clip model, with the outputs of all attention heads if ``options.heads``.

    Channels: ``embedding`` (d,); with heads also ``heads`` (layers, heads, d_head), the pooled token's head outputs
    before the output projections (z in :mod:`aigiscan.encoders.heads`), and ``sigma`` (), the standard deviation in the
    final layer norm, epsilon included. With blocks also ``blocks`` (layers, width), the pooled token after every layer;
    with ``options.depth`` the first so many of these alone.

    pooling "class" is the pooling of the model itself (the class token, for most); "mean" is the mean of all tokens of
    the last layer, taken before the final layer norm, so that it stays a sum over heads.
    projection "hidden" is the output of the final layer norm, without the projection into the joint space; "norms" is
    the pooled token of what ``ln_2`` gives in every layer, side by side (layers · width columns): RINE's features
    (:mod:`aigiscan.classifiers.rine`).
    """

    has_heads: ClassVar[bool] = True
    has_blocks: ClassVar[bool] = True

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        self.argument = argument
        self.options = check_options(options or EncoderOptions())
        self._lock = threading.RLock()
        self._exact: OpenClipEncoder | None = None
        if self.options.heads:
            self.check_heads()
        chosen = self.options
        if chosen.pooling == "token":
            raise EncoderError(f"{self.name}: pooling 'token' is for models of timm; 'class' is the class token here")
        if chosen.heads and chosen.projection == "norms":
            raise EncoderError(f"{self.name}: heads sum up to the embedding, not to the norms of all layers")
        special = chosen.pooling == "mean" or chosen.projection != "projected" or chosen.blocks
        if not self._is_transformer and special:
            raise EncoderError(
                f"{self.name}: mean pooling, hidden features and blocks need open_clip's own vision transformer"
            )

    # What is known before anything is loaded

    @cached_property
    def source(self) -> ClipSource:
        """Which model the name means."""
        return find_source(self.argument)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Canonical name: activation resolved, file as an absolute path."""
        return self.source.name

    def remote(self) -> Remote | None:
        """See :meth:`Encoder.remote`."""
        return self.source.remote()

    @property
    def _is_transformer(self) -> bool:
        """Whether the image tower is a vision transformer of open_clip's own that pools tokens."""
        vision = self.source.config["vision_cfg"]
        layers = vision.get("layers", 12)
        return isinstance(layers, int) and "timm_model_name" not in vision and not vision.get("attentional_pool")

    def check_heads(self) -> None:
        """EncoderError that says why, if this model has no heads whose sum is the embedding."""
        if reason := why_no_heads(self.source.config, self.options.pooling):
            raise EncoderError(f"{self.name}: --heads is not possible: {reason}")

    @property
    def width(self) -> int:
        """Columns of the embedding."""
        config = self.source.config
        if self.options.projection == "projected":
            return int(config["embed_dim"])
        vision = config["vision_cfg"]
        layers = vision.get("layers", 12) if self.options.projection == "norms" else 1
        return int(layers * vision.get("width", 768))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        vision = self.source.config["vision_cfg"]
        size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
        (height, width), (ph, pw) = (x if isinstance(x, (list, tuple)) else (x, x) for x in (size, patch))
        return height // ph, width // pw

    def channels(self) -> dict[str, ChannelSpec]:
        """``embedding``, and ``heads``, ``sigma`` and ``blocks`` if asked for."""
        channels = {} if self.options.depth else {CHANNEL_EMBEDDING: ChannelSpec((self.width,))}
        if self.options.blocks:
            vision = self.source.config["vision_cfg"]
            layers = check_depth(self.name, self.options.depth, vision.get("layers", 12))
            channels[CHANNEL_BLOCKS] = ChannelSpec((layers, vision.get("width", 768)), "float16")
        if self.options.heads:
            channels[CHANNEL_HEADS] = ChannelSpec(self._head_shape, "float16")
            channels[CHANNEL_SIGMA] = ChannelSpec(())
        return channels

    @property
    def _head_shape(self) -> tuple[int, int, int]:
        """Layers, heads, d_head of a vision transformer."""
        vision = self.source.config["vision_cfg"]
        d_head = vision.get("head_width", 64)
        return vision.get("layers", 12), vision.get("width", 768) // d_head, d_head

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Encoder.fingerprint`; also ``config``, a digest of the architecture."""
        return self._described(
            weights=weights_sha256(self.source.weights()),
            preprocessing=self.source.preprocess,
            precision=self.precision,
            pooling=self.options.pooling,
            projection=self.options.projection,
            config=self.source.config_digest(),
        )

    # Pixels in

    @cached_property
    def _steps(self) -> list[Callable[[Image], Image]]:
        """open_clip's own transform for this model, up to the conversion into numbers."""
        from open_clip.transform import PreprocessCfg, image_transform_v2

        size = self.source.preprocess["size"]
        if self.source.preprocess["resize_mode"] == "native":  # not open_clip's: only our own `mini` asks for it
            side = size[0] if isinstance(size, list) else size
            return [lambda image: native_crop(image, side)]
        fixed = {**self.source.preprocess, "size": tuple(size) if isinstance(size, list) else size}
        steps: list[Callable[[Image], Image]] = image_transform_v2(PreprocessCfg(**fixed), is_train=False).transforms
        return steps[:-2]  # without ToTensor and Normalize, which work on the whole batch here

    def prepare(self, image: Image) -> np.ndarray:
        """uint8 (3, height, width), resized and cropped as the pretrained tag wants it."""
        if self.source.preprocess["resize_mode"] == "shortest":
            image = limit_aspect(image)
        for step in self._steps:
            image = step(image)
        return chw(image)

    def pixels(self, inputs: Sequence[Any]) -> torch.Tensor:
        """Batch of ``prepare`` results → normalised pixels [b, 3, h, w] on the device, in the model's precision."""
        import torch

        raw = torch.from_numpy(np.stack(list(inputs)))
        on_gpu = self.device.type == "cuda"
        raw = (raw.pin_memory() if on_gpu else raw).to(self.device, non_blocking=on_gpu)
        mean, std = self._mean_and_std
        scaled = raw.float().div_(255).sub_(mean).div_(std).to(torch_dtype(self.precision))
        return scaled.contiguous(memory_format=torch.channels_last) if on_gpu else scaled

    @cached_property
    def _mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the preprocessing, on the device: a copy for every batch would make a GPU wait."""
        import torch

        values = (torch.tensor(self.source.preprocess[key], dtype=torch.float32) for key in ("mean", "std"))
        mean, std = (value.reshape(1, 3, 1, 1).to(self.device) for value in values)
        return mean, std

    # Model

    @cached_property
    def device(self) -> torch.device:
        """Where the model runs."""
        return choose_device(self.options.device)

    @cached_property
    def _float_model(self) -> torch.nn.Module:
        from aigiscan.encoders.clip_model import load

        return load(self.source.config, self.source.weights(), self.name)

    @cached_property
    def precision(self) -> str:
        """fp32, bf16 or fp16; ``auto`` is decided by timing (and may load the model for that)."""
        with self._lock:
            return choose_precision(self.options.precision, self.device, self.source.config_digest(), self._sample)

    def _sample(self) -> tuple[torch.nn.Module, torch.Tensor]:
        """One block and four images' tokens, or a whole tower and two images, to time precisions on."""
        import torch

        visual: Any = self._float_model.visual
        if self._is_transformer:
            rows, columns = self.grid
            width = self.source.config["vision_cfg"].get("width", 768)
            # a real batch: what a GPU does with a few images is to wait for launches
            images = 4 if self.device.type == "cpu" else GPU_SAMPLE
            return visual.transformer.resblocks[0], torch.randn(images, rows * columns + 1, width)
        size = self.source.preprocess["size"]
        height, width = size if isinstance(size, list) else (size, size)
        return visual, torch.randn(2 if self.device.type == "cpu" else GPU_SAMPLE, 3, height, width)

    @cached_property
    def model(self) -> Any:
        """The model on its device, weights cast to the precision; the final norm and projection kept in float32."""
        import torch

        with self._lock:
            model: Any = self._float_model
            if self._is_transformer:
                from aigiscan.encoders.attention import choose_attention
                from aigiscan.encoders.clip_vision import VisionTower

                rows, columns = self.grid
                _, heads, d_head = self._head_shape
                attend = choose_attention(self.device, self.precision, heads, rows * columns + 1, d_head)
                vision = self.source.config["vision_cfg"]
                self._tower = VisionTower(model.visual, vision, self.options, self.device, attend)
            model = model.to(device=self.device, dtype=torch_dtype(self.precision))
            if self.precision == "bf16" and self.device.type == "cpu" and self._is_transformer:
                from aigiscan.encoders.packed import pack

                # The last layer is run for few tokens.
                pack(self._tower.blocks[: self.options.depth or None][:-1], CPU_BATCH * (rows * columns + 1))
            if self.device.type == "cuda":  # as the pixels are; else every convolution turns its weights first
                model = model.to(memory_format=torch.channels_last)
            del self._float_model
            return model

    @property
    def tower(self) -> VisionTower:
        """The image tower, taken apart; only for open_clip's own vision transformers."""
        _ = self.model
        return self._tower

    def exact(self) -> OpenClipEncoder:
        """This encoder in float32: itself, or a twin that is loaded when it is first needed."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = type(self)(self.argument, replace(self.options, precision="fp32"))
            return self._exact

    # Pixels → embedding

    def encode(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Batch of uint8 (3, h, w) → channels."""
        if not len(inputs):
            return {name: np.zeros((0, *spec.shape), np.float32) for name, spec in self.channels().items()}
        step = CPU_BATCH if self.device.type == "cpu" else len(inputs)
        return in_batches(self._encode_at_once, inputs, step, self.name)

    def _encode_at_once(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        import torch

        channels: dict[str, np.ndarray] = {}
        with torch.inference_mode(), exact_products(self.precision):
            pixels = self.pixels(inputs)
            if not self._is_transformer:
                embedding = self._whole_tower(pixels)
            else:
                seen: list[torch.Tensor] | None = [] if self.options.blocks else None
                with self._watched(channels), self._normed() as norms:
                    _, pooled = self.tower.residual(pixels, seen, self.options.depth)
                if seen is not None:
                    channels[CHANNEL_BLOCKS] = half_range(torch.stack(seen, 1).cpu().numpy())
                if self.options.depth:
                    return channels
                if self.options.heads:
                    channels[CHANNEL_SIGMA] = self.tower.sigma(pooled).cpu().numpy()
                embedding = torch.cat(norms, 1) if norms else self.tower.embed(pooled)
            matrix = embedding.float().cpu().numpy()
        channels[CHANNEL_EMBEDDING] = unit_length(matrix) if self.options.normalize else matrix
        return channels

    def _whole_tower(self, pixels: torch.Tensor) -> torch.Tensor:
        """ResNets, timm towers, attentional pooling: as the model does it."""
        out: Any = self.model.visual(pixels)
        embedding: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return embedding

    @contextmanager
    def _watched(self, channels: dict[str, np.ndarray]) -> Iterator[None]:
        """Heads into ``channels`` of what runs through the tower meanwhile, if they are asked for."""
        import torch

        if not self.options.heads:
            yield
            return
        tower = self.tower
        caught: list[torch.Tensor] = []
        # The input of the output projection is z of every token; only the pooled one is kept.
        hooks = [
            block.attn.out_proj.register_forward_pre_hook(lambda _, args: caught.append(tower.pool(args[0])))
            for block in tower.blocks
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        z = torch.stack(caught, 1)  # [b, l, h * dh]
        channels[CHANNEL_HEADS] = z.reshape(len(z), *self._head_shape).cpu().numpy()

    @contextmanager
    def _normed(self) -> Iterator[list[torch.Tensor]]:
        """The pooled token of what each layer's second norm gives meanwhile, float32 [b, D] each; if asked for."""
        caught: list[torch.Tensor] = []
        tower = self.tower
        hooks = [
            block.ln_2.register_forward_hook(lambda _, args, out: caught.append(tower.pool(out)))
            for block in (tower.blocks if self.options.projection == "norms" else ())
        ]
        try:
            yield caught
        finally:
            for hook in hooks:
                hook.remove()

    # Text

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → L2-normalised embeddings (n, d) float32 in the joint space; cached on disk."""
        from aigiscan.encoders.clip_text import embed_texts

        return embed_texts(self, list(texts))

    def token_embeddings(self) -> TokenTable:
        """Every token of the vocabulary as a text of its own; cached on disk. See :class:`TokenTable`."""
        from aigiscan.encoders.clip_text import embed_vocabulary

        return embed_vocabulary(self)
