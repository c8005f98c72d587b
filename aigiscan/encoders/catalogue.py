"""What encoders there are to begin with, and what can be known of any one before its weights are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aigiscan.encoders.base import Captures, Encoder, EncoderOptions, captures
from aigiscan.encoders.hub import Remote
from aigiscan.encoders.registry import create_encoder
from aigiscan.errors import EncoderError

#: what the weights of open_clip and timm are called on the hub
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Entry:
    """One line of ``aigiscan encoders list``.

    side: pixels of the input. licence: of the weights, as their publisher stated it. text, heads, blocks: whether there
    is a text tower, the channels ``heads`` and ``blocks``. gflops: per picture, a multiplication and an addition are two.
    megabytes: to download, both towers, in float32. repo: where on the hub.
    """

    name: str
    side: int
    licence: str
    text: bool
    heads: bool
    blocks: bool
    gflops: float
    megabytes: float
    repo: str = ""

    def here(self) -> bool:
        """Whether the weights are in the hub's cache."""
        return Remote(self.repo, _FILES).cached() is not None


@dataclass(frozen=True)
class Facts:
    """What is known of an encoder without its weights: as :class:`Entry`, and the columns of its embedding, the number
    of parameters (0: it has none to download), and where the weights come from."""

    entry: Entry
    columns: int
    parameters: int
    remote: Remote | None


def entry_of(name: str) -> Entry | None:
    """The line of that canonical name, whatever size its pictures go in at; None where there is none."""
    return next((entry for entry in CATALOGUE if entry.name == name.partition("@")[0]), None)


def licence_of(name: str, timm_says: str = "") -> str:
    """The licence of the weights of that name as their publisher stated it, or where to look."""
    if timm_says:
        return timm_says.replace("apache", "Apache")
    known = next((licence for part, licence in _LICENCES.items() if part in name.lower()), "")
    return known or "see its publisher"


_LICENCES = {
    "metaclip": "CC-BY-NC-4.0",
    "worldwide": "CC-BY-NC-4.0",
    "pe-core": "Apache-2.0",
    "siglip": "Apache-2.0",
    "/openai": "MIT",
    "/laion": "MIT",
    "datacomp": "MIT",
    "commonpool": "MIT",
    "eva02": "MIT",
}


def facts_of(name: str) -> Facts:
    """Built without values and never run on any: a second for the largest models. EncoderError for an unknown name, and
    for several joined by "+"."""
    encoder = create_encoder(name, EncoderOptions(device="cpu", precision="fp32"))
    if hasattr(encoder, "parts"):
        raise EncoderError(f"{name} is several encoders; ask for each alone")
    source, timm_model = getattr(encoder, "source", None), getattr(encoder, "architecture", "")
    columns = encoder.channels()["embedding"].shape[0]
    if source is None and not timm_model:
        return Facts(Entry(encoder.name, 0, "as aigiscan", False, False, False, 0.0, 0.0), columns, 0, None)
    model, visual, size = _built(encoder)
    remote = encoder.remote()
    parameters = sum(p.numel() for p in model.parameters())
    says = "" if source is not None else str(getattr(encoder, "_pretrained", {}).get("license") or "")
    entry = Entry(
        encoder.name, size[-1], licence_of(encoder.name, says), source is not None, _can(encoder, captures(["heads"])),
        _can(encoder, captures(["blocks"])), _gflops(visual, size), parameters * 4 / 1e6,
        remote.repo if remote else "",
    )  # fmt: skip
    return Facts(entry, columns, parameters, remote)


def _built(encoder: Any) -> tuple[Any, Any, tuple[int, int]]:
    """(model without values, the part that sees pictures, height and width of its input)."""
    import torch

    if hasattr(encoder, "architecture"):
        model = encoder.outline
        return model, model, encoder.input_size
    from aigiscan.encoders.clip_model import build

    with torch.device("meta"):
        model = build(encoder.source.config)
    size = encoder.source.preprocess["size"]
    height, width = size if isinstance(size, list) else (size, size)
    return model, model.visual, (height, width)


def _gflops(visual: Any, size: tuple[int, int]) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device = next(visual.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        visual.eval()(torch.empty(1, 3, *size, device=device))
    return float(counter.get_total_flops()) / 1e9


def _can(encoder: Encoder, wanted: Captures) -> bool:
    try:
        create_encoder(encoder.name, EncoderOptions(device="cpu", precision="fp32", **wanted)).channels()
    except EncoderError:
        return False
    return True


#: known by heart, so that a list needs no library; a test computes numbers and places again
# fmt: off
CATALOGUE: tuple[Entry, ...] = (
    Entry("open_clip:ViT-B-32-quickgelu/openai", 224, "MIT", True, True, True, 8.8, 605, "timm/vit_base_patch32_clip_224.openai"),
    Entry("open_clip:ViT-L-14-quickgelu/openai", 224, "MIT", True, True, True, 162.0, 1710, "timm/vit_large_patch14_clip_224.openai"),
    Entry("open_clip:ViT-L-14/commonpool_xl_s13b_b90k", 224, "MIT", True, True, True, 162.0, 1710, "laion/CLIP-ViT-L-14-CommonPool.XL-s13B-b90K"),
    Entry("open_clip:ViT-H-14-worldwide-quickgelu/metaclip2_worldwide", 224, "CC-BY-NC-4.0", True, True, True, 334.6, 7435, "timm/vit_huge_patch14_clip_224.metaclip2_worldwide"),
    Entry("open_clip:PE-Core-T-16-384/meta", 384, "Apache-2.0", True, False, False, 9.5, 278, "timm/PE-Core-T-16-384"),
    Entry("open_clip:PE-Core-S-16-384/meta", 384, "Apache-2.0", True, False, False, 31.3, 349, "timm/PE-Core-S-16-384"),
    Entry("open_clip:PE-Core-B-16/meta", 224, "Apache-2.0", True, False, False, 35.6, 1791, "timm/PE-Core-B-16"),
    Entry("open_clip:PE-Core-L-14-336/meta", 336, "Apache-2.0", True, False, False, 384.4, 2685, "timm/PE-Core-L-14-336"),
    Entry("open_clip:PE-Core-bigG-14-448/meta", 448, "Apache-2.0", True, False, False, 4118.6, 9677, "timm/PE-Core-bigG-14-448"),
    Entry("open_clip:ViT-B-16-SigLIP2/webli", 224, "Apache-2.0", True, False, False, 35.4, 1501, "timm/ViT-B-16-SigLIP2"),
    Entry("open_clip:ViT-SO400M-14-SigLIP-384/webli", 384, "Apache-2.0", True, False, False, 670.3, 3512, "timm/ViT-SO400M-14-SigLIP-384"),
    Entry("open_clip:ViT-SO400M-16-SigLIP2-384/webli", 384, "Apache-2.0", True, False, False, 518.9, 4544, "timm/ViT-SO400M-16-SigLIP2-384"),
    Entry("open_clip:EVA02-L-14/merged2b_s4b_b131k", 224, "MIT", True, False, False, 162.0, 1711, "timm/eva02_large_patch14_clip_224.merged2b_s4b_b131k"),
    Entry("timm:vit_small_patch14_dinov2.lvd142m", 518, "Apache-2.0", False, False, True, 93.4, 88, "timm/vit_small_patch14_dinov2.lvd142m"),
    Entry("timm:vit_large_patch14_dinov2.lvd142m", 518, "Apache-2.0", False, False, True, 1013.6, 1217, "timm/vit_large_patch14_dinov2.lvd142m"),
    Entry("timm:vit_small_patch16_dinov3.lvd1689m", 256, "dinov3-license", False, False, True, 12.5, 86, "timm/vit_small_patch16_dinov3.lvd1689m"),
    Entry("timm:vit_base_patch16_dinov3.lvd1689m", 256, "dinov3-license", False, False, True, 47.1, 343, "timm/vit_base_patch16_dinov3.lvd1689m"),
    Entry("timm:vit_large_patch16_dinov3.lvd1689m", 256, "dinov3-license", False, False, True, 164.7, 1212, "timm/vit_large_patch16_dinov3.lvd1689m"),
    Entry("timm:vit_pe_spatial_base_patch16_512.fb", 512, "Apache-2.0", False, False, True, 214.1, 346, "timm/vit_pe_spatial_base_patch16_512.fb"),
    Entry("timm:vit_pe_lang_large_patch14_448.fb", 448, "Apache-2.0", False, False, True, 693.5, 1166, "timm/vit_pe_lang_large_patch14_448.fb"),
)
# fmt: on
