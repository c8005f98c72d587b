"""Tiny random captioners and a grounder, built from configuration and saved into folders: the real code runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

WORDS = ["a", "red", "dog", "cat", "on", "the", "grass", "sky", "photo", "of", "is", ".", ",", "and", "two", "in"]
COCA: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8,
        "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2,
        "embed_cls": True, "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2,
                       "attn_pooler_heads": 2},
    "custom_text": True,
}  # fmt: skip


def save_coca(folder: Path, seed: int = 0) -> tuple[str, Any]:
    """Folder with a random CoCa → captioner name, open_clip's own model."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    config = copy.deepcopy(COCA)
    config.pop("custom_text")
    model = open_clip.CoCa(**config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "token_embedding" in name or "text_projection" in name or "to_kv" in name:
            parameter.normal_(0, 1)  # else every picture is told the same
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": COCA, "preprocess_cfg": {}}))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"open_clip:local-dir:{folder}", model


def _tokenizer(special: dict[str, str], extra: list[str] | None = None) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [*dict.fromkeys([*special.values(), *(extra or [])]), *WORDS]
    raw = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=special["unk_token"]))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    if "cls_token" in special:
        ends = [(special["cls_token"], 0), (special["sep_token"], 1)]
        ends = [(name, names.index(name)) for name, _ in ends]
        raw.post_processor = processors.BertProcessing(ends[1], ends[0])
    return PreTrainedTokenizerFast(tokenizer_object=raw, **special, additional_special_tokens=extra or [])


BERT = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
GPT = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "image_size": 16, "patch_size": 8}  # fmt: skip


def _save(folder: Path, model: Any, processor: Any) -> str:
    model.eval().save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    return f"hf:{folder}"


def _sharpen(model: Any) -> None:
    """Large weights, so that what is said depends on the picture."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.6)


def save_blip(folder: Path) -> str:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    tokenizer = _tokenizer(BERT)
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
            "bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    config = hf.BlipConfig(text_config=text, vision_config=dict(_VISION), projection_dim=16)
    model = hf.BlipForConditionalGeneration(config)
    _sharpen(model)
    image = hf.BlipImageProcessor(size={"height": 16, "width": 16})
    return _save(folder, model, hf.BlipProcessor(image, tokenizer))


def save_blip2(folder: Path) -> str:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    tokenizer = _tokenizer(GPT, ["<image>"])
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
           "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    text = {"model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 16, "ffn_dim": 16, **ids,
            "num_hidden_layers": 1, "num_attention_heads": 2, "word_embed_proj_dim": 16,
            "max_position_embeddings": 64}  # fmt: skip
    qformer = {"vocab_size": len(tokenizer), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16,
               "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}  # fmt: skip
    config = hf.Blip2Config(
        vision_config=dict(_VISION), qformer_config=qformer, text_config=text, num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    model = hf.Blip2ForConditionalGeneration(config)
    _sharpen(model)
    image = hf.BlipImageProcessor(size={"height": 16, "width": 16})
    return _save(folder, model, hf.Blip2Processor(image, tokenizer, num_query_tokens=4))


def save_llava(folder: Path) -> str:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    tokenizer = _tokenizer(GPT, ["<image>"])
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 128,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    vision = {"model_type": "clip_vision_model", **_VISION, "num_hidden_layers": 2, "projection_dim": 16}
    config = hf.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
    )
    model = hf.LlavaForConditionalGeneration(config)
    _sharpen(model)
    image = hf.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = hf.LlavaProcessor(
        image, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return _save(folder, model, processor)


def save_dino(folder: Path) -> str:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    tokenizer = _tokenizer(BERT)
    text = {"model_type": "bert", "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}  # fmt: skip
    swin = {"model_type": "swin", "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2], "window_size": 2, "out_features": ["stage2", "stage3", "stage4"]}  # fmt: skip
    config = hf.GroundingDinoConfig(
        backbone_config=swin, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6,
        num_feature_levels=3, max_text_len=64, encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    model = hf.GroundingDinoForObjectDetection(config)
    image = hf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    return _save(folder, model, hf.GroundingDinoProcessor(image, tokenizer))
