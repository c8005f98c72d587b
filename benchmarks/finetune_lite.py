"""Fine-tunes EfficientNet-Lite0 on native crops of labelled pictures, in folds over sources, on one GPU.

    python benchmarks/finetune_lite.py PACK OUT [--minutes 8] [--steps 450] [--seeds 3] [--folds 0,1,2,3,4]

PACK as ``pack_pictures.py`` writes it (PACK-a.bin, PACK-b.bin, PACK.json). Every picture is scored by networks that saw
neither its source nor its group: OUT/scores.npz has ``native`` and ``square224`` (seeds, n) logits, ``folds``
(seeds, n), ``sha256`` (n,), and ``final`` (n, 2) of the network fitted on all, which saw them. OUT/tuned.safetensors is
that network, OUT/foldK.safetensors those of the first seed, in float16. Nothing of it is shipped: two folds have been
run so far (benchmarks/RESULTS.md, "Fine-tuning at native scale").

Needs torch, timm, safetensors, pillow, scikit-learn, numpy and this checkout.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where aigiscan is not installed
from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.detector.table import sample_weights

MEAN, STD, BN_EPSILON = 127 / 255, 128 / 255, 1e-3
FOLDS, BATCH, SIDE = 5, 128, 448
#: (network's input, window cut from the picture, share of the steps); a picture smaller than the window sits the step
#: out, and both classes weigh the same among the others, so that size tells nothing
VIEWS = ((256, 256, 0.4), (192, 192, 0.15), (128, 128, 0.1), (192, 256, 0.15), (160, 256, 0.1), (192, 384, 0.1))


@dataclass
class Data:
    """pixels: uint8 (n, 3, 448, 448) on the device, pictures at the top left. side: (n,) of each."""

    pixels: torch.Tensor
    side: np.ndarray
    label: np.ndarray
    source: np.ndarray
    group: np.ndarray
    sha256: np.ndarray
    files: list[bytes]
    limited: np.ndarray


def read(pack: str, device: torch.device, most: int) -> Data:
    """All pictures (or ``most`` of them) decoded, on the device."""
    rows = json.loads(Path(f"{pack}.json").read_text(encoding="utf-8"))
    content = Path(f"{pack}-a.bin").read_bytes() + Path(f"{pack}-b.bin").read_bytes()
    if most:
        rows = [rows[i] for i in np.random.default_rng(0).choice(len(rows), most, replace=False)]
    files = [content[r["start"] : r["start"] + r["bytes"]] for r in rows]
    pixels = torch.zeros((len(rows), 3, SIDE, SIDE), dtype=torch.uint8)
    side = np.zeros(len(rows), dtype=int)

    def put(i: int) -> None:
        array = np.asarray(Image.open(io.BytesIO(files[i])).convert("RGB"))
        side[i] = len(array)
        pixels[i, :, : len(array), : len(array)] = torch.from_numpy(array.transpose(2, 0, 1).copy())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(len(rows))))
    text = {k: np.array([r[k] for r in rows], dtype=str) for k in ("source", "group", "sha256")}
    label = np.array([r["label"] for r in rows])
    return Data(pixels.to(device), side, label, **text, files=files, limited=np.array([r["side"] for r in rows]))


# ---- what is done to a batch


def blockwise(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """M · block · Mᵀ for every 8×8 block of x [b, h, w]."""
    b, h, w = x.shape
    blocks = x.reshape(b, h // 8, 8, w // 8, 8).permute(0, 1, 3, 2, 4)
    return (matrix @ blocks @ matrix.T).permute(0, 1, 3, 2, 4).reshape(b, h, w)


LUMA = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
CHROMA = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 " + "99 " * 32


class Jpeg:
    """What JPEG (4:2:0, quality per picture) does to x [b, 3, h, w] in 0–255, sides divisible by 16."""

    def __init__(self, device: torch.device) -> None:
        k = torch.arange(8, device=device, dtype=torch.float32)
        self.dct = torch.cos((2 * k[None, :] + 1) * k[:, None] * torch.pi / 16) * 0.5
        self.dct[0] *= 2**-0.5
        self.tables = [
            torch.tensor([float(v) for v in text.split()], device=device).reshape(8, 8) for text in (LUMA, CHROMA)
        ]

    def __call__(self, x: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """x [b, 3, h, w], quality [b] → what a decoder would give back."""
        scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
        r, g, b = x.unbind(1)
        y = 0.299 * r + 0.587 * g + 0.114 * b
        chroma = torch.stack([-0.168736 * r - 0.331264 * g + 0.5 * b, 0.5 * r - 0.418688 * g - 0.081312 * b], 1)
        small = F.avg_pool2d(chroma, 2)
        y = self._quantised(y - 128, self.tables[0], scale) + 128
        small = torch.stack([self._quantised(c, self.tables[1], scale) for c in small.unbind(1)], 1)
        cb, cr = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).unbind(1)
        out = torch.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 1)
        return out.round().clamp(0, 255)

    def _quantised(self, plane: torch.Tensor, table: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        step = ((table[None] * scale + 50) / 100).floor().clamp(1, 255)  # [b, 8, 8]
        step = step.repeat(1, plane.shape[1] // 8, plane.shape[2] // 8)
        return blockwise(self.dct.T, (blockwise(self.dct, plane) / step).round() * step)


def augmented(
    data: Data, rows: np.ndarray, out: int, window: int, jpeg: Jpeg, rng: np.random.Generator
) -> torch.Tensor:
    """Crops [b, 3, out, out], normalised: flipped, recoloured, blurred, noisy, re-encoded, each with its own chance."""
    device, b = data.pixels.device, len(rows)
    tops, lefts = (rng.integers(0, data.side[rows] - window + 1) for _ in range(2))
    x = torch.stack(
        [
            data.pixels[r, :, t : t + window, c : c + window]
            for r, t, c in zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)
        ]
    ).float()
    if window != out:
        mode = "bicubic" if rng.random() < 0.7 else "bilinear"
        x = F.interpolate(x, (out, out), mode=mode, antialias=True).round().clamp(0, 255)

    def chance(p: float) -> torch.Tensor:
        return torch.from_numpy(rng.random(b) < p).to(device)[:, None, None, None]

    def drawn(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, b).astype(np.float32)).to(device)[:, None, None, None]

    x = torch.where(chance(0.5), x.flip(3), x)
    x = torch.where(chance(0.1), x.transpose(2, 3), x)
    grey = x.mean((1, 2, 3), keepdim=True)
    light = x.mean(1, keepdim=True)
    x = torch.where(chance(0.5), (x - grey) * drawn(0.75, 1.25) + grey + drawn(-25, 25), x)
    x = torch.where(chance(0.5), (x - light) * drawn(0.5, 1.5) + light, x)
    x = torch.where(chance(0.05), light.expand_as(x), x)
    sigma = rng.uniform(0.3, 1.2)
    k = torch.exp(-(torch.arange(-3, 4, device=device) ** 2) / (2 * sigma**2))
    k = (k / k.sum()).expand(3, 1, 7)
    blurred = F.conv2d(
        F.conv2d(x, k[:, :, None, :], padding=(0, 3), groups=3), k[:, :, :, None], padding=(3, 0), groups=3
    )
    x = torch.where(chance(0.1), blurred, x)
    x = torch.where(chance(0.1), x + torch.randn_like(x) * drawn(0.5, 4), x)
    x = x.round().clamp(0, 255)
    quality = torch.from_numpy(rng.uniform(50, 95, b).astype(np.float32)).to(device).round()
    x = torch.where(chance(0.6), jpeg(x, quality), x)
    return ((x / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


# ---- the network


def network(weights: str, device: torch.device) -> torch.nn.Module:
    """The ImageNet network with one logit that starts at 0."""
    model = timm.create_model("efficientnet_lite0", pretrained=False, bn_eps=BN_EPSILON, drop_path_rate=0.1)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    model.reset_classifier(1)
    torch.nn.init.zeros_(model.classifier.weight)
    model.drop_rate = 0.3
    return model.to(device).to(memory_format=torch.channels_last)


def trained(
    data: Data, rows: np.ndarray, weight: np.ndarray, steps: int, weights: str, jpeg: Jpeg, seed: int
) -> torch.nn.Module:
    """A network fitted on some rows; weight (n,): how often a picture is drawn. The running mean of its weights."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = (
        True  # five shapes; in evaluation there are a hundred, each timed anew for a second
    )
    device = data.pixels.device
    model = network(weights, device).train()
    mean = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99), use_buffers=True
    )
    plain = [p for p in model.parameters() if p.ndim < 2]
    heavy = [p for p in model.parameters() if p.ndim >= 2]
    optimiser = torch.optim.AdamW(
        [{"params": heavy, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], 1e-3
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps, pct_start=0.15)
    pools = []
    for _, window, share in VIEWS:
        able = rows[data.side[rows] >= window]
        p = weight[able].astype(float)
        for value in (0, 1):
            p[data.label[able] == value] *= 0.5 / max(p[data.label[able] == value].sum(), 1e-12)
        pools.append((able, p / p.sum(), share))
    shares = np.array([share for *_, share in pools]) / sum(share for *_, share in pools)
    for _ in range(steps):
        view = int(rng.choice(len(VIEWS), p=shares))
        able, p, _ = pools[view]
        chosen = rng.choice(able, BATCH, p=p)
        x = augmented(data, chosen, *VIEWS[view][:2], jpeg, rng)
        target = torch.from_numpy(data.label[chosen].astype(np.float32)).to(device)
        target = target * 0.95 + 0.025
        with torch.autocast(device.type, torch.bfloat16):
            logit = model(x).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(logit.float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        mean.update_parameters(model)
    torch.backends.cudnn.benchmark = False
    return mean.module.eval()


@torch.inference_mode()
def logits(model: torch.nn.Module, pictures: list[torch.Tensor], rows: np.ndarray, device: torch.device) -> np.ndarray:
    """Logit of the pictures of these rows (uint8 [3, h, w]), mirrored and not; shapes run together."""
    found = np.zeros(len(rows))
    sizes = np.array([pictures[r].shape[1] for r in rows])
    for size in np.unique(sizes):
        of_size = np.flatnonzero(sizes == size)
        for part in np.array_split(of_size, max(1, len(of_size) // 64)):
            x = torch.stack([pictures[rows[i]] for i in part]).to(device).float()
            x = ((x / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
            both = (model(x) + model(x.flip(3))) / 2
            found[part] = both.squeeze(1).float().cpu().numpy()
    return found


def square224(data: Data) -> list[torch.Tensor]:
    """What ``square:224,jpeg:75`` does, on the cut: reduced by the factor of the whole picture."""

    def one(i: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(data.files[i])).convert("RGB")
        side = round(image.width * 224 / data.limited[i])
        buffer = io.BytesIO()
        image.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=75, subsampling=2)
        return torch.from_numpy(np.asarray(Image.open(buffer).convert("RGB")).transpose(2, 0, 1).copy())

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(one, range(len(data.label))))


def folded(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its numbers in float16."""
    return {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}


def main() -> None:
    """Read, train in folds, score, write after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pack")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", default="0,1,2,3,4", help="which of the five")
    parser.add_argument("--no-final", action="store_true", help="no network fitted on all")
    parser.add_argument("--most", type=int, default=0, help="so many pictures alone, for a trial")
    parser.add_argument(
        "--lite", default=str(Path(__file__).resolve().parents[1] / "models" / "lite" / "weights.safetensors")
    )
    given = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    given.out.mkdir(parents=True, exist_ok=True)
    data = read(given.pack, device, given.most)
    native = [data.pixels[i, :, :s, :s] for i, s in enumerate(data.side.tolist())]
    small = square224(data)
    jpeg = Jpeg(device)
    say(f"{len(data.label)} pictures read; {device}")
    n = len(data.label)
    result: dict[str, Any] = {"sha256": data.sha256, "label": data.label}
    result["native"], result["square224"] = (np.full((given.seeds, n), np.nan) for _ in range(2))
    result["folds"] = np.full((given.seeds, n), -1)
    result["final"] = np.full((n, 2), np.nan)

    def fit(rows: np.ndarray, seed: int) -> torch.nn.Module:
        weight = np.zeros(n)
        weight[rows] = sample_weights(data.label[rows], data.source[rows], "source")
        return trained(data, rows, weight, given.steps, given.lite, jpeg, seed)

    def fold(seed: int, number: int) -> None:
        folds = source_folds(data.label, data.source, data.group, FOLDS, seed)
        train, test = list(train_test(folds, data.group))[number]
        model = fit(train, 10 * seed + number)
        if seed == 0:
            save_file(folded(model), given.out / f"fold{number}.safetensors")
        result["folds"][seed, test] = number
        result["native"][seed, test] = logits(model, native, test, device)
        result["square224"][seed, test] = logits(model, small, test, device)
        say(f"seed {seed} fold {number}: AUC {auc(data.label[test], result['native'][seed, test]):.3f}")

    def final() -> None:
        model = fit(np.arange(n), 99)
        save_file(folded(model), given.out / "tuned.safetensors")
        result["final"] = np.stack([logits(model, p, np.arange(n), device) for p in (native, small)], 1)
        say(f"fitted on all: AUC {auc(data.label, result['final'][:, 0]):.3f} (in sample)")

    jobs = [] if given.no_final else [final]
    numbers = [int(v) for v in given.folds.split(",") if v]
    jobs += [partial(fold, seed, number) for seed in range(given.seeds) for number in numbers]
    longest = 0.0
    for job in jobs:
        start = time.monotonic()
        if start - began + longest > given.minutes * 60:
            say("out of time")
            break
        job()
        longest = max(longest, time.monotonic() - start)
        np.savez(given.out / "scores.npz", **result)


def auc(label: np.ndarray, score: np.ndarray) -> float:
    """AUC, NaN for one class."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, score)) if len(np.unique(label)) > 1 else float("nan")


if __name__ == "__main__":
    main()
