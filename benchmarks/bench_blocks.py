"""What keeping every layer costs, and what a detector saves that needs only the first layers.

    python benchmarks/bench_blocks.py [--model ViT-L-14] [--depth 12] [--count 8] [--rounds 5] [--device cpu]

Random weights (speed does not depend on them); nothing is downloaded. In every round each variant encodes the same
prepared pictures once, one after the other; figures are medians over rounds of the ratio within a round, so that what
else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_encoders import random_weights
from PIL import Image

from aigiscan.encoders import EncoderOptions, create_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)) for _ in range(args.count)]
    with tempfile.TemporaryDirectory() as folder:
        name, _ = random_weights(Path(folder) / "model", args.model)
        plain = EncoderOptions(device=args.device, precision=args.precision)
        variants = {
            "embedding": create_encoder(name, plain),
            "embedding and blocks": create_encoder(name, replace(plain, blocks=True)),
            f"first {args.depth} layers": create_encoder(name, replace(plain, blocks=True, depth=args.depth)),
        }
        inputs = [variants["embedding"].prepare(image) for image in images]
        rounds = []
        for number in range(args.rounds + 1):
            seconds = {}
            for label, encoder in variants.items():
                start = time.perf_counter()
                encoder.encode(inputs)
                seconds[label] = time.perf_counter() - start
            if number:  # the first one loads
                rounds.append(seconds)
    found = {f"images/s, {label}": args.count / statistics.median(r[label] for r in rounds) for label in variants}
    whole, blocks, first = variants
    found["rate with blocks : without (want >= 0.97)"] = statistics.median(r[whole] / r[blocks] for r in rounds)
    found[f"time of the {first} : all (want <= 0.55)"] = statistics.median(r[first] / r[whole] for r in rounds)
    found["precision"] = variants["embedding"].precision
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}, indent=2))


if __name__ == "__main__":
    main()
