"""ViT-L/14 with all attention heads, from JPEG files, against what one writes from open_clip's README.

    python benchmarks/bench_encoders.py [--images FOLDER] [--count 16] [--rounds 5]

Random weights (speed does not depend on them); nothing is downloaded. Every round runs each variant once on the same
files, and the machine's own matrix products for a second before and after each, so that what else the machine does
hits both alike: a variant's *share* is its rate over that of the products around it. Figures are medians over rounds.

1. end to end with heads v. a plain open_clip float32 loop, read against the machine's bfloat16 : float32 factor
2. heads on v. heads off
3. end to end, and the model alone, as a share of the machine's bfloat16 matrix-multiply rate
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run

MODEL = "ViT-L-14"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEG files (default: synthetic 500×375 ones)")
    parser.add_argument("--count", type=int, default=16, help="images per variant and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="bf16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = jpeg_files(args.images, Path(folder), args.count)
        print(json.dumps(measure(files, Path(folder), args), indent=2))


def measure(files: list[str], folder: Path, args: argparse.Namespace) -> dict[str, float]:
    name, config = random_weights(folder / "model")
    plain, preprocess = plain_open_clip(config, folder / "model" / "open_clip_model.safetensors")
    options = EncoderOptions(device="cpu", precision=args.precision)
    off, on = create_encoder(name, options), create_encoder(name, replace(options, heads=True))
    records = [ImageRecord(path) for path in files]
    inputs = [on.prepare(Image.open(path).convert("RGB")) for path in files]

    def end_to_end(encoder: object) -> Callable[[], object]:
        return lambda: [one.error for one in run(records, encoder, batch_size=args.batch_size)]

    def bare(encoder: object) -> Callable[[], object]:
        step = args.batch_size
        return lambda: [encoder.encode(inputs[i : i + step]) for i in range(0, len(inputs), step)]

    variants = {
        "plain open_clip fp32": lambda: readme_loop(plain, preprocess, files, args.batch_size),
        "aigiscan heads": end_to_end(on),
        "aigiscan no heads": end_to_end(off),
        "model alone, heads": bare(on),
    }
    on.encode(inputs[:2]), off.encode(inputs[:2])  # load
    flops = vit_flops(config["vision_cfg"])
    rounds = []
    for number in range(args.rounds):
        rate, share = {}, {}
        products: dict[str, float] = {}
        for label, variant in variants.items():
            precision = "fp32" if label.startswith("plain") else args.precision
            before = matmul_rate(precision)
            start = time.perf_counter()
            variant()
            rate[label] = len(files) / (time.perf_counter() - start)
            around = (before + matmul_rate(precision)) / 2
            products[precision] = around
            share[label] = rate[label] * flops / around
        seen = {
            **{f"images/s, {label}": value for label, value in rate.items()},
            **{f"share of the machine's own products, {label}": value for label, value in share.items()},
            **{f"GFLOP/s, products in {precision}": value / 1e9 for precision, value in products.items()},
            "speed-up over plain open_clip": rate["aigiscan heads"] / rate["plain open_clip fp32"],
            "machine's own factor": products[args.precision] / products["fp32"],
            "1. speed-up / machine's factor (want >= 0.9)": share["aigiscan heads"] / share["plain open_clip fp32"],
            "2. heads on / off (want >= 0.97)": share["aigiscan heads"] / share["aigiscan no heads"],
            "3. share end to end (want >= 0.7)": share["aigiscan heads"],
        }
        print(f"round {number}: {json.dumps({k: round(v, 3) for k, v in seen.items()})}", file=sys.stderr, flush=True)
        rounds.append(seen)
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def jpeg_files(given: Path | None, folder: Path, count: int) -> list[str]:
    if given is not None:
        found = sorted(str(p) for p in given.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[:count]
        return (found * (count // max(1, len(found)) + 1))[:count]
    rng = np.random.default_rng(0)
    files = []
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        files.append(str(folder / f"{i:04d}.jpg"))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(files[-1], quality=95)
    return files


def random_weights(folder: Path, model: str = MODEL) -> tuple[str, dict]:
    from safetensors.torch import save_file

    config = open_clip.get_model_config(model)
    config["text_cfg"]["layers"] = 1  # not used here
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return f"open_clip:local-dir:{folder}", config


def plain_open_clip(config: dict, weights: Path) -> tuple[torch.nn.Module, Callable]:
    model = open_clip.CLIP(**config).eval()
    open_clip.load_checkpoint(model, str(weights))
    return model, open_clip.image_transform(config["vision_cfg"]["image_size"], is_train=False)


def readme_loop(model: torch.nn.Module, preprocess: Callable, files: list[str], batch_size: int) -> list[np.ndarray]:
    """What a user writes: open, preprocess, stack, encode."""
    out = []
    with torch.no_grad():
        for i in range(0, len(files), batch_size):
            batch = torch.stack([preprocess(Image.open(path)) for path in files[i : i + batch_size]])
            features = model.encode_image(batch)
            features /= features.norm(dim=-1, keepdim=True)
            out.append(features.numpy())
    return out


def vit_flops(vision: dict) -> float:
    """Multiplications and additions of one image, matrix products only."""
    width, layers = vision["width"], vision["layers"]
    tokens = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
    products = 4 + 2 * vision.get("mlp_ratio", 4.0)  # widths² of a block: attention and MLP
    blocks = layers * (2 * tokens * products * width**2 + 4 * tokens**2 * width)
    return blocks + 2 * (tokens - 1) * 3 * vision["patch_size"] ** 2 * width


def matmul_rate(precision: str, size: int = 2048, seconds: float = 1.0) -> float:
    """FLOP/s of square matrix products over about a second: what the machine has to give just now."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    torch.nn.functional.linear(a, b)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        torch.nn.functional.linear(a, b)
        count += 1
    return 2 * size**3 * count / passed


if __name__ == "__main__":
    main()
