"""Images per second of the shipped `mini`, and its share of the machine's own matrix products.

    python benchmarks/bench_mini.py [--rounds 5]

The image tower alone on prepared pictures, 32 at a time; the machine's own products are timed before and after each
round. Prints a Markdown table of medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
from bench_encoders import matmul_rate, vit_flops

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.weights import shipped_models_dir

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=4, help="of 32 pictures, per round")
    args = parser.parse_args()
    config = json.loads((shipped_models_dir() / "mini" / "open_clip_config.json").read_text())
    flops = vit_flops(config["model_cfg"]["vision_cfg"])
    pictures = list(np.random.default_rng(0).integers(0, 256, (BATCH, 3, 224, 224), dtype=np.uint8))
    print(f"{flops / 1e9:.2f} GFLOP an image\n")
    print("| precision | images/s | GFLOP/s of the model | of a matrix product | share |\n|---|---|---|---|---|")
    for precision in ("bf16", "fp32"):
        encoder = create_encoder("mini", EncoderOptions(device="cpu", precision=precision))
        encoder.encode(pictures)  # load
        rounds = []
        for _ in range(args.rounds):
            before = matmul_rate(precision)
            start = time.perf_counter()
            for _ in range(args.batches):
                encoder.encode(pictures)
            rate = args.batches * BATCH / (time.perf_counter() - start)
            around = (before + matmul_rate(precision)) / 2
            rounds.append((rate, rate * flops / 1e9, around / 1e9, rate * flops / around))
        rate, own, product, share = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"| {precision} | {rate:.0f} | {own:.0f} | {product:.0f} | {share:.2f} |")


if __name__ == "__main__":
    main()
