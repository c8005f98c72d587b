"""Each family of backbones, small, with random weights from a file, against its library's own transform and forward.

What differs between them: activation, size, mean, interpolation, squash or crop, class token, mean or attention
pooling. The text towers are cut to one layer; they take no part.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures

from aigiscan.encoders import EncoderOptions, create_encoder

FP32 = EncoderOptions(device="cpu", precision="fp32")
#: long enough that a limit on the aspect would cut it
PANORAMA = Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 300, 3), dtype=np.uint8))

SMALL = {"layers": 2, "width": 64, "head_width": 32, "image_size": 64, "patch_size": 16}
#: architecture → (changes to its image tower, the pretrained tag whose preprocessing counts)
OPEN_CLIP = {
    "ViT-B-32-quickgelu": (SMALL, "metaclip_400m"),
    "ViT-H-14-worldwide-quickgelu": ({**SMALL, "patch_size": 16}, "metaclip2_worldwide"),
    "ViT-L-14-CLIPA": (SMALL, "datacomp1b"),
    "coca_ViT-B-32": (SMALL, "laion2b_s13b_b90k"),
    "PE-Core-T-16-384": ({}, "meta"),
    "EVA02-B-16": ({"timm_model_name": "eva02_tiny_patch14_224", "image_size": 224}, "merged2b_s8b_b131k"),
    "ViT-B-16-SigLIP": ({"timm_model_name": "vit_tiny_patch16_224"}, "webli"),
    "ViT-B-16-SigLIP2": ({"timm_model_name": "vit_tiny_patch16_224"}, "webli"),
}


@pytest.mark.parametrize("architecture", OPEN_CLIP)
def test_open_clip_family(architecture: str, tmp_path: Path) -> None:
    import open_clip
    from open_clip.factory import load_checkpoint
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from safetensors.torch import save_file

    changes, tag = OPEN_CLIP[architecture]
    config = open_clip.get_model_config(architecture)
    if config is None:
        pytest.skip(f"open_clip {open_clip.__version__} has no {architecture}")
    config["vision_cfg"].update(changes)
    if config["vision_cfg"].get("timm_pool") == "map":  # attention pooling, no projection
        config["embed_dim"] = 192
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
    encoder = create_encoder(f"open_clip:local-dir:{tmp_path / 'm'}", FP32)
    found = encoder.encode([encoder.prepare(image) for image in images])["embedding"]
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


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


#: architecture → whether the average of patches is what it gives by itself
TIMM = {"vit_small_patch16_dinov3": True, "vit_small_patch14_dinov2": False, "eva02_tiny_patch14_224": True}


@pytest.mark.parametrize("architecture", TIMM)
def test_timm_family_and_its_class_token(architecture: str, tmp_path: Path) -> None:
    """DINOv3 averages its patches in timm, while published heads want the class token after the norm."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    small = {"vit_small_patch14_dinov2": {"img_size": 518}}.get(architecture, {})
    model = timm.create_model(architecture, pretrained=False, num_classes=0, **small).eval().requires_grad_(False)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    name = f"timm:{architecture}/{tmp_path / 'w.safetensors'}"
    own, token = create_encoder(name, FP32), create_encoder(name, EncoderOptions("cpu", "fp32", pooling="token"))
    inputs = [own.prepare(image) for image in pictures(1)]
    mean, std = (torch.tensor(own._data[k]).reshape(1, 3, 1, 1) for k in ("mean", "std"))
    pixels = (torch.from_numpy(np.stack(inputs)).float() / 255 - mean) / std
    with torch.inference_mode():
        tokens, plain = model.forward_features(pixels), model(pixels).numpy()
    np.testing.assert_allclose(own.encode(inputs)["embedding"], plain, atol=1e-4)
    found = token.encode(inputs)["embedding"]
    normed = getattr(model, "fc_norm", torch.nn.Identity())
    np.testing.assert_allclose(found, normed(tokens[:, 0]).numpy(), atol=1e-4)
    assert (np.abs(found - plain).max() > 1e-3) == TIMM[architecture]
    assert (own.fingerprint()["pooling"], token.fingerprint()["pooling"]) == ("", "token")
