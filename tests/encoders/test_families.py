"""Each family of backbones, small, with random weights from a file, against its library's own transform and forward.

What differs between them: activation, size, mean, interpolation, squash or crop, class token, mean or attention
pooling. The text towers are cut to one layer; they take no part.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.errors import EncoderError

FP32 = EncoderOptions(device="cpu", precision="fp32")
#: long enough that a limit on the aspect would cut it
PANORAMA = Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 300, 3), dtype=np.uint8))

#: what makes any transformer of timm small
SMALL_TIMM = {"depth": 2, "embed_dim": 64, "num_heads": 2}
SMALL = {"layers": 2, "width": 64, "head_width": 32, "image_size": 64, "patch_size": 16}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the rows."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


#: architecture → (changes to its image tower, the pretrained tag whose preprocessing counts)
OPEN_CLIP = {
    "ViT-B-32-quickgelu": (SMALL, "metaclip_400m"),
    "ViT-H-14-worldwide-quickgelu": ({**SMALL, "patch_size": 16}, "metaclip2_worldwide"),
    "ViT-L-14-CLIPA": (SMALL, "datacomp1b"),
    "coca_ViT-B-32": (SMALL, "laion2b_s13b_b90k"),
    "PE-Core-T-16-384": ({}, "meta"),
    "PE-Core-S-16-384": ({}, "meta"),
    "PE-Core-B-16": ({}, "meta"),
    "EVA02-B-16": ({}, "merged2b_s8b_b131k"),
    "ViT-B-16-SigLIP": ({}, "webli"),
    "ViT-B-16-SigLIP2": ({}, "webli"),
}


@pytest.mark.parametrize("architecture", OPEN_CLIP)
def test_open_clip_family(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip
    import timm
    from open_clip.factory import load_checkpoint
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from safetensors.torch import save_file

    changes, tag = OPEN_CLIP[architecture]
    config = open_clip.get_model_config(architecture)
    if config is None:
        pytest.skip(f"open_clip {open_clip.__version__} has no {architecture}")
    config["vision_cfg"].update(changes)
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **SMALL_TIMM))
    if config["vision_cfg"].get("timm_pool") == "map":  # attention pooling, no projection
        config["embed_dim"] = SMALL_TIMM["embed_dim"]
    text = config["text_cfg"]
    text.update({"layers": 1, "width": 64, "heads": 2, "vocab_size": 512, "context_length": 16})
    text.pop("hf_tokenizer_name", None)
    if "multimodal_cfg" in config:
        config["multimodal_cfg"].update({"layers": 1, "width": 64, "heads": 2, "vocab_size": 512, "context_length": 16})
        config["embed_dim"] = 64
    custom = config.pop("custom_text", False) or "timm_model_name" in config["vision_cfg"]
    kind = (
        open_clip.CoCa if "multimodal_cfg" in config
        else open_clip.CustomTextCLIP if custom
        else open_clip.CLIP
    )  # fmt: skip
    torch.manual_seed(0)
    stock = kind(**config).eval().requires_grad_(False)
    preprocess = open_clip.get_pretrained_cfg(architecture, tag)
    known = {k: preprocess[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in preprocess}
    size = stock.visual.image_size
    (tmp_path / "m").mkdir()
    save_file(
        {k: v.contiguous().clone() for k, v in stock.state_dict().items()}, tmp_path / "m/open_clip_model.safetensors"
    )
    content = {"model_cfg": {**config, **({"custom_text": True} if kind is not open_clip.CLIP else {})}}
    (tmp_path / "m/open_clip_config.json").write_text(json.dumps({**content, "preprocess_cfg": known}))
    load_checkpoint(stock, str(tmp_path / "m/open_clip_model.safetensors"))
    transform = image_transform_v2(PreprocessCfg(size=size, **known), is_train=False)
    images = pictures(2, (90, 70))
    if known.get("resize_mode", "shortest") != "shortest":
        images.append(PANORAMA)
    with torch.inference_mode():
        expected = stock.encode_image(torch.stack([transform(image) for image in images]), normalize=False).numpy()
    found, half = (
        encoder.encode([encoder.prepare(image) for image in images])["embedding"]
        for encoder in (
            create_encoder(f"open_clip:local-dir:{tmp_path / 'm'}", EncoderOptions(device="cpu", precision=precision))
            for precision in ("fp32", "bf16")
        )
    )
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1.0, float(np.abs(expected).max())))
    assert cosines(half, expected).min() > 0.99


@pytest.mark.parametrize("mode", ["squash", "longest"])
def test_what_is_not_cropped_is_not_cut_either(mode: str, tmp_path: Path) -> None:
    """A 15:1 panorama squashed, or put whole into a square: nothing of it may be left out first."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from tiny_clip import save_model, tiny_config

    name, stock = save_model(tmp_path / "m", tiny_config(), preprocess={"resize_mode": mode})
    encoder = create_encoder(name, FP32)
    transform = image_transform_v2(PreprocessCfg(size=32, resize_mode=mode), is_train=False)
    with torch.inference_mode():
        expected = stock.encode_image(transform(PANORAMA)[None]).numpy()
    np.testing.assert_allclose(encoder.encode([encoder.prepare(PANORAMA)])["embedding"], expected, atol=1e-5)


#: model and tag of timm → (how it pools by itself, whether it has a class token)
TIMM = {
    "vit_small_patch16_dinov3.lvd1689m": ("avg", True),
    "vit_base_patch16_dinov3_qkvb.lvd1689m": ("avg", True),
    "vit_small_patch14_dinov2.lvd142m": ("token", True),
    "vit_small_patch14_reg4_dinov2.lvd142m": ("token", True),
    "vit_base_patch16_siglip_224.webli": ("map", False),
    "vit_base_patch16_siglip_224.v2_webli": ("map", False),
    "vit_base_patch16_siglip_gap_224.webli": ("avg", False),
    "vit_pe_core_tiny_patch16_384.fb": ("map", True),
    "vit_pe_spatial_tiny_patch16_512.fb": ("avg", True),
    "vit_pe_lang_large_patch14_448.fb": ("avg", True),
    "eva02_tiny_patch14_224": ("avg", True),
}


@pytest.mark.parametrize("model", TIMM)
def test_timm_family_its_pooling_and_its_class_token(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DINOv3 and PE average their patches in timm, while published heads want the class token after the norm."""
    import timm
    from safetensors.torch import save_file

    kind, has_class = TIMM[model]
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **SMALL_TIMM))
    torch.manual_seed(0)
    stock = timm.create_model(model.split(".")[0], pretrained=False, num_classes=0).eval().requires_grad_(False)
    for parameter in stock.parameters():  # as they come, layers with a small scale do next to nothing
        parameter.add_(0.1 * torch.randn_like(parameter))
    save_file({k: v.clone() for k, v in stock.state_dict().items()}, tmp_path / "w.safetensors")
    config = timm.data.resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(model).to_dict())
    transform = timm.data.create_transform(**config, is_training=False)
    images = pictures(2, (90, 70))
    with torch.inference_mode():
        pixels = torch.stack([transform(image) for image in images])
        tokens, plain = stock.forward_features(pixels), stock(pixels).numpy()

    def encode(precision: str = "fp32", pooling: str = "class") -> np.ndarray:
        options = EncoderOptions("cpu", precision, pooling=pooling)
        encoder = create_encoder(f"timm:{model}/{tmp_path / 'w.safetensors'}", options)
        assert encoder.fingerprint()["pooling"] == pooling.replace("class", "")
        found: np.ndarray = encoder.encode([encoder.prepare(image) for image in images])["embedding"]
        return found

    assert stock.global_pool == kind
    np.testing.assert_allclose(encode(), plain, atol=1e-4 * float(np.abs(plain).max()))
    assert cosines(encode("bf16"), plain).min() > 0.99
    if not has_class:
        with pytest.raises(EncoderError, match="needs a transformer with a class token"):
            encode(pooling="token")
        return
    normed = stock.fc_norm(tokens[:, 0]).numpy()
    np.testing.assert_allclose(encode(pooling="token"), normed, atol=1e-4 * float(np.abs(normed).max()))
    assert (np.abs(normed - plain).max() > 1e-3) == (kind != "token")
