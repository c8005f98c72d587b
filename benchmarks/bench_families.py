"""Families of encoders with random weights, and `lite` with its own: how much of the machine do they use?

    python benchmarks/bench_families.py [--count 8] [--rounds 4] [--only PE-Core-T-16-384,ViT-L-14]

Nothing is downloaded: speed does not depend on the weights. Every round encodes the same prepared pictures once with
each encoder, in bfloat16, and times the machine's own bfloat16 products before and after; *share* is the rate over that
of the products around it. At the end `lite` in three steps within a round: its bare network on a batch that is there,
the encoder on prepared inputs, and JPEG files through the runner. Then the parts of the built-in detector's encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from bench_encoders import jpeg_files, matmul_rate
from PIL import Image

from aigiscan.encoders import Encoder, EncoderOptions, create_encoder
from aigiscan.encoders.catalogue import facts_of
from aigiscan.encoders.device import torch_dtype
from aigiscan.encoders.lite import MEAN, STD, load_network
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run

OPEN_CLIP = ("PE-Core-T-16-384", "PE-Core-S-16-384", "PE-Core-B-16", "ViT-L-14")
PARTS = ("lite", "lite:native", "lite:trained", "spam", "lite+lite:trained+spam")
TIMM = ("vit_small_patch16_dinov3", "vit_base_patch16_dinov3")


def from_open_clip(architecture: str, folder: Path) -> str:
    """Name of an encoder with random weights; its text tower has one layer."""
    from safetensors.torch import save_file

    config = open_clip.get_model_config(architecture)
    config["text_cfg"]["layers"] = 1
    custom = bool(config.pop("custom_text", False)) or "timm_model_name" in config["vision_cfg"]
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
    folder.mkdir()
    save_file(
        {k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    content = {"model_cfg": {**config, **({"custom_text": True} if custom else {})}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return f"open_clip:local-dir:{folder}"


def from_timm(architecture: str, folder: Path) -> str:
    """Name of an encoder with random weights."""
    from safetensors.torch import save_file

    folder.mkdir()
    save_file(timm.create_model(architecture, num_classes=0).state_dict(), folder / "model.safetensors")
    return f"timm:{architecture}/{folder / 'model.safetensors'}"


def seconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def family(encoder: Encoder, gflops: float, files: list[str], rounds: int) -> tuple[float, float, list[float]]:
    """(images/s, median share of the products' rate, shares)."""
    inputs = [encoder.prepare(Image.open(path).convert("RGB")) for path in files]
    encoder.encode(inputs)
    rates, shares = [], []
    for _ in range(rounds):
        before = matmul_rate("bf16")
        rates.append(len(files) / seconds(lambda: encoder.encode(inputs)))
        shares.append(rates[-1] * gflops * 1e9 / ((before + matmul_rate("bf16")) / 2))
    return statistics.median(rates), statistics.median(shares), shares


def lite_in_steps(files: list[str], rounds: int) -> None:
    """Prints what of the bare network's rate is left."""
    encoder = create_encoder("lite", EncoderOptions(device="cpu"))
    records = [ImageRecord(path) for path in files]
    inputs = [encoder.prepare(Image.open(path).convert("RGB")) for path in files]
    encoder.encode(inputs[:32])
    model, dtype = load_network(torch.device("cpu"), encoder.precision), torch_dtype(encoder.precision)
    pixels = [torch.from_numpy(np.stack(inputs[i : i + 32])) for i in range(0, len(inputs), 32)]
    batches = [((x.float() / 255 - MEAN) / STD).to(dtype).contiguous(memory_format=torch.channels_last) for x in pixels]
    steps: dict[str, Callable[[], object]] = {
        "network, 32 pictures at once": lambda: [model.forward_features(batch) for batch in batches],
        "network, 5 at once as in the encoder": lambda: [
            model.forward_features(few) for batch in batches for few in batch.split(5)
        ],
        "encoder": lambda: [encoder.encode(inputs[i : i + 32]) for i in range(0, len(inputs), 32)],
        "files": lambda: list(run(records, encoder, batch_size=32)),
    }
    with torch.inference_mode():
        taken = [{name: seconds(work) for name, work in steps.items()} for _ in range(rounds + 1)][1:]
    whole, few = list(steps)[:2]
    for name in steps:
        shares = (statistics.median(t[bare] / t[name] for t in taken) for bare in (whole, few))
        print(f"lite, {name}: {len(files) / statistics.median(t[name] for t in taken):.0f} images/s; ", end="")
        print("{:.2f} and {:.2f} of its network".format(*shares))


def builtin_in_parts(files: list[str], rounds: int) -> None:
    """Prints images/s of each part on prepared inputs, in turn, and the time of each over that of ``lite``."""
    encoders = {n: create_encoder(n, EncoderOptions(device="cpu", precision="fp32")) for n in PARTS}
    images = [Image.open(path).convert("RGB") for path in files]
    inputs = {name: [encoder.prepare(image) for image in images] for name, encoder in encoders.items()}
    taken = [{n: seconds(lambda n=n: encoders[n].encode(inputs[n])) for n in PARTS} for _ in range(rounds + 1)][1:]
    for name in PARTS:
        rate = statistics.median(1 / t[name] for t in taken)
        ratio = statistics.median(t[name] / t["lite"] for t in taken)
        print(f"{name}: {len(files) * rate:.1f} images/s; {ratio:.2f} of the time of lite")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--only", default=",".join((*OPEN_CLIP, *TIMM, "lite", "builtin")))
    given = parser.parse_args()
    only = given.only.split(",")
    options = EncoderOptions(device="cpu", precision="bf16")
    print("| encoder | GFLOP per picture | images/s | share of bfloat16 products (rounds) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = jpeg_files(None, folder, 256)
        for architecture in (one for one in (*OPEN_CLIP, *TIMM) if one in only):
            make = from_open_clip if architecture in OPEN_CLIP else from_timm
            name = make(architecture, folder / architecture)
            gflops = facts_of(name).entry.gflops
            rate, share, shares = family(create_encoder(name, options), gflops, files[: given.count], given.rounds)
            rounds = ", ".join(f"{s:.2f}" for s in shares)
            print(f"| {architecture} | {gflops:.1f} | {rate:.2f} | {share:.2f} ({rounds}) |", flush=True)
        if "lite" in only:
            lite_in_steps(files, given.rounds)
        if "builtin" in only:
            builtin_in_parts(files[:32], given.rounds)


if __name__ == "__main__":
    main()
