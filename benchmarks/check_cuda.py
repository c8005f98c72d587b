"""Are the encoders right on a GPU, and how fast? One run prints both; nothing is downloaded.

    python benchmarks/check_cuda.py [--device cuda] [--count 512] [--json OUT.json]

1. Right: for tiny random open_clip models (every pooling and head capture), ``lite``, ``mini`` and a timm model, the
   numbers on the device in float32 against those on the CPU: ‖a − b‖ / ‖b‖ ≤ 1e-5, which TF32 would miss by far.
2. Fast: a ViT-L/14 with random weights from decoded inputs: images per second and the share of the card's own
   matrix-product rate, float32 and bfloat16, heads on and off, beside a plain open_clip loop in the same precision.
3. Whole: ``scan`` of JPEG files with the built-in detector, device against CPU.
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
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "encoders"), str(Path(__file__).parent)]

# ruff: noqa: E402
from bench_encoders import jpeg_files, random_weights, vit_flops
from tiny_clip import save_model, tiny_config

from aigiscan import Detector
from aigiscan.encoders import EncoderOptions, create_encoder

#: float32 sums in another order differ by about 1e-6; TF32 products by 1e-3
TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=512, help="images per timed pass")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=400, help="JPEG files of the whole scan")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        right = agreement(folder, args.device)
        found: dict[str, Any] = {"device": device_name(args.device), "torch": torch.__version__, "agreement": right}
        found["scan"] = whole_scan(folder, args)
        found["vit-l-14"] = speed(folder, args)
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    if bad := {k: v for k, v in right.items() if not v <= TOLERANCE}:
        sys.exit(f"not within {TOLERANCE}: {bad}")


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def agreement(folder: Path, device: str) -> dict[str, float]:
    """Relative differences, device against CPU, float32."""
    names: dict[str, tuple[str, dict[str, Any]]] = {"lite": ("lite", {}), "mini": ("mini", {})}
    mini_heads = {"heads": True}
    names["mini, heads"] = ("mini", mini_heads)
    for label, vision in {"class": {}, "average": {"pool_type": "avg"}}.items():
        made, _ = save_model(folder / f"tiny-{label}", tiny_config(**vision))
        names[f"tiny, {label}"] = (made, {})
        names[f"tiny, {label}, heads"] = (made, {"heads": True})
        names[f"tiny, {label}, hidden"] = (made, {"projection": "hidden"})
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)) for _ in range(9)]
    found = {}
    for label, (name, options) in names.items():
        try:
            there, here = (
                create_encoder(name, EncoderOptions(device=d, precision="fp32", **options)) for d in (device, "cpu")
            )
        except Exception as error:  # heads that a pooling does not have are refused, in words
            found[f"{label}: refused ({error})"[:120]] = 0.0
            continue
        a, b = (encoder.encode([encoder.prepare(image) for image in images]) for encoder in (there, here))
        for channel, values in b.items():
            difference = np.linalg.norm(np.float64(a[channel]) - values) / np.linalg.norm(np.float64(values))
            # heads are kept in float16: one unit in the last place is 5e-4 of a number, far less of the norm
            found[f"{label}: {channel}"] = float(difference) if channel != "heads" else float(difference) / 50
    return found


def whole_scan(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Built-in detector over JPEG files: rows per second, and how far scores move between device and CPU."""
    files = folder / "pictures"
    files.mkdir()
    jpeg_files(None, files, args.pictures)
    detector = Detector.load("builtin")
    scores, rates = {}, {}
    for device in (args.device, "cpu", args.device, "cpu"):
        print(f"scan on {device}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        scores[device] = np.array([row.score for row in detector.scan(str(files), device=device)])
        rates[device] = args.pictures / (time.perf_counter() - start)
    spread = float(np.std(scores["cpu"]))
    moved = float(np.max(np.abs(scores[args.device] - scores["cpu"])))
    return {"images/s": rates, "largest move of a score, in spreads": moved / spread}


def speed(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    name, config = random_weights(folder / "model")
    flops = vit_flops(config["vision_cfg"])
    rng = np.random.default_rng(0)
    inputs = [rng.integers(0, 256, (3, 224, 224), dtype=np.uint8) for _ in range(args.count)]
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        options = EncoderOptions(device=args.device, precision=precision)
        off, on = create_encoder(name, options), create_encoder(name, replace(options, heads=True))
        plain = plain_open_clip(config, folder / "model" / "open_clip_model.safetensors", args.device, precision)
        variants: dict[str, Callable[[], object]] = {
            "plain open_clip": lambda plain=plain: plain(inputs),
            "aigiscan": lambda off=off: in_batches(off, inputs),
            "aigiscan, heads": lambda on=on: in_batches(on, inputs),
        }
        for variant in variants.values():
            variant()
        rates: dict[str, list[float]] = {label: [] for label in variants}
        shares: dict[str, list[float]] = {label: [] for label in variants}
        for _ in range(args.rounds):
            for label, variant in variants.items():
                products = matmul_rate(args.device, precision)
                start = time.perf_counter()
                variant()
                rates[label].append(args.count / (time.perf_counter() - start))
                shares[label].append(rates[label][-1] * flops / products)
        found[precision] = {
            label: {
                "images/s": round(statistics.median(rates[label]), 1),
                "share of products": round(statistics.median(shares[label]), 3),
            }
            for label in variants
        } | {"products, TFLOP/s": round(matmul_rate(args.device, precision) / 1e12, 1)}
    start = time.perf_counter()
    found["auto chose"] = create_encoder(name, EncoderOptions(device=args.device)).precision
    found["auto took, s"] = round(time.perf_counter() - start, 1)
    return found


def in_batches(encoder: Any, inputs: list[np.ndarray], size: int = 128) -> list[Any]:
    return [encoder.encode(inputs[i : i + size]) for i in range(0, len(inputs), size)]


def plain_open_clip(config: dict, weights: Path, device: str, precision: str) -> Callable[[list[np.ndarray]], object]:
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = open_clip.CLIP(**config).eval()
    open_clip.load_checkpoint(model, str(weights))
    model = model.to(device=device, dtype=dtype)

    def loop(inputs: list[np.ndarray]) -> list[np.ndarray]:
        out = []
        with torch.no_grad():
            for i in range(0, len(inputs), 128):
                batch = torch.from_numpy(np.stack(inputs[i : i + 128])).to(device).to(dtype) / 255
                out.append(model.encode_image(batch).float().cpu().numpy())
        return out

    return loop


def matmul_rate(device: str, precision: str, size: int = 4096, seconds: float = 0.3) -> float:
    """FLOP/s of square products in the precision, TF32 off as aigiscan's fp32 promises."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    a @ b
    wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            a @ b
        wait()
        count += 4
    return 2 * size**3 * count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
