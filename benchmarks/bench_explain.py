"""What an explanation costs: the vocabulary through the text tower, and one image taken apart.

    python benchmarks/bench_explain.py [--tokens 128] [--rounds 3] [--precision fp32]

ViT-L/14 with random weights (speed does not depend on them); nothing is downloaded. Every round runs each variant once,
in turn, so that a busy moment hits all alike; the figures are medians over rounds of ratios within a round.

1. tokens per second with the context trimmed to three v. the full 77 (want >= 10), each on a sample large enough to
   fill the machine; with --whole the whole vocabulary once, and again from the cache
2. one image with heads, MLPs, biases and patches v. a plain forward of the same float32 model (want <= 2)
3. with --pages alone: pictures per second of `explain -o`, page, JSON and PNG included, start of the process not, for
   detectors on small encoders fitted on the example pictures (want >= 20); seconds of one core beside it, and the
   share of the rate of the bare encoder (files read, encoded in batches, nothing else) measured in the same rounds
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.clip_text import encode_ids, tokenizer_of
from aigiscan.encoders.heads import decompose

MODEL = "ViT-L-14"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128, help="tokens at full length; 16 times as many trimmed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="fp32", help="of the text tower; images are taken apart in float32")
    parser.add_argument("--whole", action="store_true", help="also the whole vocabulary, and again from the cache")
    parser.add_argument("--pages", action="store_true", help="measure 3. and nothing else")
    args = parser.parse_args()
    if args.pages:
        print(json.dumps(pages(args.rounds), indent=2))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGISCAN_CACHE"] = str(Path(folder) / "cache")
        name = random_weights(Path(folder) / "model")
        encoder = create_encoder(name, EncoderOptions(device="cpu", precision=args.precision))
        figures = {**text(encoder, args), **image(name, args)}
        if args.whole:
            figures |= whole_vocabulary(encoder)
    print(json.dumps(figures, indent=2))


def pages(count: int) -> dict[str, float]:
    from aigiscan import Detector, api
    from aigiscan.explain.images import Explainer, load_for_explaining
    from aigiscan.explain.write import ExplanationFolder
    from aigiscan.images.find import find_images
    from aigiscan.runner import run

    photos = Path(__file__).parents[1] / "examples" / "photos"
    records = find_images([photos]) * 3  # so that the start of the threads is not what is measured
    many = len(records)
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in photos.iterdir():
            side = (
                folder
                / "labelled"
                / ("fake" if "_" in path.stem and path.stem[:5] not in ("depar", "grace") else "real")
            )
            side.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, side)
        cases = [(encoder, windows) for encoder in ("color:rgb", "spam", "lite", "mini") for windows in (0, 3)]
        for encoder, windows in [*cases, ("builtin", 0), ("builtin", 3)]:
            if encoder == "builtin":
                detector = Detector.load("builtin")
            else:
                store = api.embed(folder / "labelled", folder / f"{encoder[:4]}.h5", encoder=encoder, device="cpu")
                detector = api.fit_store(store)
            explainer = Explainer(detector, load_for_explaining(detector, device="cpu"), windows=windows)
            list(explainer.explain_all(records[:1]))
            wall, cores, bare = [], [], []
            for _ in range(count):
                start, busy = time.perf_counter(), time.process_time()
                for _ in ExplanationFolder(folder / "out", detector, many).written(explainer.explain_all(records)):
                    pass
                wall.append(time.perf_counter() - start)
                cores.append(time.process_time() - busy)
                start = time.perf_counter()
                list(run(records, explainer.encoder, equalization=detector.equalization))
                bare.append(time.perf_counter() - start)
            label = f"{encoder}, --windows {windows}"
            figures[f"3. pictures/s, {label}"] = many / statistics.median(wall)
            figures[f"   share of the bare encoder's rate, {label}"] = statistics.median(
                alone / whole for alone, whole in zip(bare, wall, strict=True)
            )
            figures[f"   core seconds per picture, {label}"] = statistics.median(cores) / many
    return figures


def text(encoder: Any, args: argparse.Namespace) -> dict[str, float]:
    tokenizer = tokenizer_of(encoder)
    count = 16 * args.tokens
    table = torch.zeros(count, tokenizer.context_length, dtype=torch.long)
    table[:, 0], table[:, 2] = tokenizer.sot_token_id, tokenizer.eot_token_id
    table[:, 1] = torch.linspace(300, 49_000, count).long()
    # Trimming must change nothing but the time.
    cut, full = (encode_ids(encoder, table[:64], trim=trim) for trim in (True, False))
    cosines = (cut * full).sum(1) / np.linalg.norm(cut, axis=1) / np.linalg.norm(full, axis=1)
    seconds = rounds(
        {
            "trimmed": lambda: encode_ids(encoder, table),
            "full": lambda: encode_ids(encoder, table[:: len(table) // args.tokens], trim=False),
        },
        args.rounds,
    )
    return {
        "tokens/s, trimmed": count / statistics.median(seconds["trimmed"]),
        "tokens/s, full context": args.tokens / statistics.median(seconds["full"]),
        "1. full / trimmed (want >= 10)": 16 * ratio(seconds, "full", "trimmed"),
        "smallest cosine of trimmed and full": float(cosines.min()),
    }


def whole_vocabulary(encoder: Any) -> dict[str, float]:
    start = time.perf_counter()
    first = encoder.token_embeddings()
    computed = time.perf_counter() - start
    start = time.perf_counter()
    again = encoder.token_embeddings()
    cached = time.perf_counter() - start
    assert np.array_equal(first.embeddings, again.embeddings)
    return {"s, whole vocabulary": computed, "s, from the cache": cached, "tokens": len(first.ids)}


def image(name: str, args: argparse.Namespace) -> dict[str, float]:
    encoder = create_encoder(name, EncoderOptions(device="cpu", precision="fp32"))
    rng = np.random.default_rng(0)
    size = encoder.source.preprocess["size"]
    pixels = [rng.integers(0, 256, (3, size, size), dtype=np.uint8)]
    direction = rng.normal(size=encoder.width)
    seconds = rounds(
        {
            "forward": lambda: encoder.encode(pixels),
            "parts": lambda: decompose(encoder, pixels),
            "parts and patches": lambda: decompose(encoder, pixels, direction),
        },
        max(5, args.rounds),
    )
    apart = decompose(encoder, pixels, direction)
    logit = float(apart.embedding[0] @ direction)
    error = abs(sum(float(part[0] @ direction) for _, part in apart.parts()) - logit)
    return {
        "s, plain forward of one image": statistics.median(seconds["forward"]),
        "parts / forward": ratio(seconds, "parts", "forward"),
        "2. parts and patches / forward (want <= 2)": ratio(seconds, "parts and patches", "forward"),
        "|sum of parts - logit| / |logit|": error / abs(logit),
    }


def rounds(variants: dict[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    for variant in variants.values():
        variant()  # load, warm up
    seconds: dict[str, list[float]] = {label: [] for label in variants}
    for _ in range(count):
        for label, variant in variants.items():
            start = time.perf_counter()
            variant()
            seconds[label].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def random_weights(folder: Path) -> str:
    from safetensors.torch import save_file

    config = open_clip.get_model_config(MODEL)
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.manual_seed(0)
    state = open_clip.CLIP(**config).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "open_clip_model.safetensors")
    return f"open_clip:local-dir:{folder}"


if __name__ == "__main__":
    main()
