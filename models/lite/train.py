"""Trains the networks of ``lite:trained``: python models/lite/train.py DATA OUT.safetensors [--steps 1600].

Each of five networks sees the pictures of eight of ten folds over sources (those of ``aigiscan fit`` with seed 0), so
that every development picture has one network that knows neither its source nor its group. The layers of ``lite``
below are frozen: their maps of five versions of each picture are computed once and kept in memory as one byte a number
(4 GB): as it is scanned; at 224 pixels; mirrored and re-encoded; recoloured, blurred or noisy; reduced. A step takes
128 crops of one size, both classes alike, sources weighted as in ``fit``: size tells nothing, for what is smaller than
the crop sits the step out. Two cores with AMX make 700 crops of 256 pixels a second in bfloat16 (the separable layers
of EfficientNet itself: 55), so a network takes five minutes; others can do without the autocast (``--exact``).
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import queue
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageFilter
from safetensors.torch import save_file

from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.detector.table import sample_weights
from aigiscan.encoders.lite import MEAN, STD, load_network, statistics
from aigiscan.encoders.lite_trained import CHANNELS, NETWORKS, READ, network, side_by_side
from aigiscan.images.decode import decode
from aigiscan.images.equalize import Equalization
from aigiscan.images.labels import find_labelled
from aigiscan.images.records import ImageRecord
from aigiscan.metrics import auc

CROP, BATCH, RATE = 448, 128, 2e-3
#: chances of the versions of a picture, and of crops of so many cells (of 8 pixels)
VERSIONS, WINDOWS = (0.25, 0.15, 0.2, 0.2, 0.2), {32: 0.5, 24: 0.3, 16: 0.2}
RESAMPLING = (
    Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.BOX,
)  # fmt: skip
MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


def encoded(image: Image.Image, quality: float, subsampling: int = 2) -> Image.Image:
    """Through JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(quality), subsampling=subsampling)
    return Image.open(buffer).convert("RGB")


def cut(image: Image.Image, left: int, top: int) -> Image.Image:
    """At most CROP pixels a side, sides multiples of 16."""
    side = min(CROP, image.width) // 16 * 16 or image.width
    return image.crop((left, top, left + side, top + side))


def recoloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation; now and then grey."""
    for kind, low, high in ((ImageEnhance.Brightness, 0.75, 1.25), (ImageEnhance.Contrast, 0.75, 1.25),
                            (ImageEnhance.Color, 0.4, 1.5)):  # fmt: skip
        if rng.random() < 0.8:
            image = kind(image).enhance(rng.uniform(low, high))
    return image.convert("L").convert("RGB") if rng.random() < 0.1 else image


def versions(image: Image.Image, seed: int) -> list[np.ndarray]:
    """Five versions of a square picture, uint8 (3, h, w)."""
    rng, width = np.random.default_rng(seed), image.width
    middle, free = max(0, (width - CROP) // 2) // 16 * 16, max(0, width - CROP)

    def anywhere() -> Image.Image:
        place = int(rng.integers(0, free + 1))
        return cut(image, place, place)

    made = [cut(encoded(image, 80), middle, middle), cut(encoded(image.resize((224, 224), RESAMPLING[0]), 75), 0, 0)]
    made.append(encoded(anywhere().transpose(MIRROR), rng.uniform(50, 96), int(rng.choice([0, 2, 2]))))
    other = recoloured(anywhere(), rng)
    if rng.random() < 0.5:
        other = other.transpose(MIRROR)
    if rng.random() < 0.2:
        other = other.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.2:
        pixels = np.asarray(other).astype(np.float32)
        pixels += rng.normal(0, rng.uniform(0.5, 4), pixels.shape)
        other = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    made.append(encoded(other, rng.uniform(50, 96)) if rng.random() < 0.7 else other)
    side = max(128, int(width * rng.uniform(0.45, 0.95)) // 16 * 16) if width >= 160 else width
    small = image.resize((side, side), RESAMPLING[rng.integers(4)])
    small = recoloured(small, rng) if rng.random() < 0.5 else small
    small = small.transpose(MIRROR) if rng.random() < 0.5 else small
    made.append(cut(encoded(small, rng.uniform(60, 96)), 0, 0))
    return [np.asarray(version).transpose(2, 0, 1).copy() for version in made]


@dataclass
class Data:
    """maps[v][i]: int8 (136, h, w), times ``scale`` (136,), of version v of picture i. Columns (n,)."""

    maps: list[list[np.ndarray]]
    scale: torch.Tensor
    label: np.ndarray
    source: np.ndarray
    group: np.ndarray
    sha256: np.ndarray

    def sides(self, version: int) -> np.ndarray:
        """Shorter sides of the maps (n,)."""
        return np.array([min(found.shape[1:]) for found in self.maps[version]])


def read(data: str, most: int) -> Data:
    """Maps of all pictures, or of ``most`` of them."""
    records: list[ImageRecord] = list(find_labelled(data))
    if most:
        records = [records[i] for i in np.random.default_rng(0).permutation(len(records))[:most]]
    limit, model = Equalization.parse("reduce:2,limit:512"), load_network(torch.device("cpu"), "fp32")

    @torch.inference_mode()
    def mapped(pixels: np.ndarray) -> torch.Tensor:
        x = ((torch.from_numpy(pixels)[None].float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        found: dict[int, torch.Tensor] = dict.fromkeys(READ, x)
        statistics(model, x, (), found)
        return side_by_side(*(found[i] for i in READ))[0]

    def prepared(i: int) -> tuple[str, list[np.ndarray]]:
        found = decode(records[i])
        if found.pixels is None:
            sys.exit(f"{records[i].path}: {found.error}")
        return found.facts.sha256, versions(limit.apply(found.pixels), i)

    some = [mapped(v) for i in range(0, len(records), max(1, len(records) // 60)) for v in prepared(i)[1]]
    scale = torch.stack([m.flatten(1).abs()[:, ::7].quantile(0.9995, dim=1) for m in some]).amax(0).div(127)
    scale = scale.clamp_min(1e-6)
    maps: list[list[np.ndarray]] = [[] for _ in VERSIONS]
    digests = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(records), 64):
            for sha256, made in pool.map(prepared, range(start, min(start + 64, len(records)))):
                digests.append(sha256)
                for version, pixels in enumerate(made):
                    whole = (mapped(pixels) / scale[:, None, None]).round().clamp(-127, 127)
                    maps[version].append(whole.to(torch.int8).numpy())
    columns = [np.array([getattr(r, name) or "" for r in records]) for name in ("source", "group")]
    return Data(maps, scale, np.array([r.label for r in records]), *columns, np.array(digests))


def crops(
    data: Data, rows: np.ndarray, steps: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(int8 [b, 136, w, w], labels [b]), ``steps`` times."""
    weight = sample_weights(data.label[rows], data.source[rows], "source")
    pools = {}
    for version in range(len(VERSIONS)):
        sides = data.sides(version)[rows]
        for window in WINDOWS:
            p = np.where(sides >= window, weight, 0.0)
            both = [p[data.label[rows] == value].sum() for value in (0, 1)]
            if min(both) > 0 and (sides >= window).sum() >= BATCH:
                pools[window, version] = np.cumsum(p / np.array(both)[data.label[rows]]) / 2
    windows = [window for window in WINDOWS if any(key[0] == window for key in pools)]
    chances = np.array([WINDOWS[window] for window in windows])
    for _ in range(steps):
        window = int(rng.choice(windows, p=chances / chances.sum()))
        able = [version for version in range(len(VERSIONS)) if (window, version) in pools]
        p = np.array([VERSIONS[version] for version in able])
        x, chosen = np.empty((BATCH, CHANNELS, window, window), np.int8), np.empty(BATCH, dtype=int)
        for j, version in enumerate(rng.choice(able, BATCH, p=p / p.sum())):
            chosen[j] = rows[np.searchsorted(pools[window, version], rng.random() * (1 - 1e-6))]
            whole = data.maps[version][chosen[j]]
            top, left = (int(rng.integers(0, side - window + 1)) for side in whole.shape[1:])
            x[j] = whole[:, top : top + window, left : left + window]
        yield x, data.label[chosen]


def trained(data: Data, rows: np.ndarray, steps: int, seed: int, exact: bool) -> torch.nn.Module:
    """A network fitted on some rows: the running mean of its weights."""
    torch.manual_seed(seed)
    model = network(0.3, (0.05, 0.1, 0.1)).train().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(model)
    plain, heavy = ([p for p in model.parameters() if (p.ndim > 1) is large] for large in (False, True))
    groups = [{"params": heavy, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    waiting: queue.Queue[tuple[np.ndarray, np.ndarray]] = queue.Queue(3)

    def fill() -> None:
        for batch in crops(data, rows, steps, np.random.default_rng(seed)):
            waiting.put(batch)

    threading.Thread(target=fill, daemon=True).start()
    dtype = torch.float32 if exact else torch.bfloat16
    scale = data.scale[:, None, None].to(dtype)
    for step in range(steps):
        x, label = waiting.get()
        maps = torch.from_numpy(x).contiguous(memory_format=torch.channels_last).to(dtype) * scale
        with torch.autocast("cpu", torch.bfloat16, enabled=not exact):
            logit = model(maps).float()
        loss = F.binary_cross_entropy_with_logits(logit, torch.from_numpy(label).float() * 0.95 + 0.025)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            kept = min(0.99, (step + 1) / (step + 10))
            for old, new in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
                if old.is_floating_point():
                    old.lerp_(new, 1 - kept)
    return mean.eval()


@torch.inference_mode()
def logits(model: torch.nn.Module, data: Data, rows: np.ndarray) -> np.ndarray:
    """Of the pictures as they are scanned, their central 448 pixels."""
    scale = data.scale[:, None, None]
    return np.array([float(model(torch.from_numpy(data.maps[0][i])[None].float() * scale)) for i in rows])


def main() -> None:
    """Read, train one network per pair of folds, write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--most", type=int, default=0, help="so many pictures alone, for a trial")
    parser.add_argument("--exact", action="store_true", help="float32 throughout")
    given = parser.parse_args()
    began = time.monotonic()
    data = read(given.data, given.most)
    print(f"{time.monotonic() - began:.0f} s: maps of {len(data.label)} pictures", flush=True)
    folds = source_folds(data.label, data.source, data.group, 2 * NETWORKS, 0) // 2
    state = {}
    for number, (train, test) in enumerate(train_test(folds, data.group)):
        model = trained(data, train, given.steps, number, given.exact)
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                state[f"{number}.{key}"] = (value.half() if value.ndim > 1 else value).contiguous()
        area = auc(data.label[test], logits(model, data, test))
        print(f"{time.monotonic() - began:.0f} s: network {number}, AUC on what it did not see {area:.3f}", flush=True)
    lines = sorted(f"{sha} {fold}" for sha, fold in zip(data.sha256, folds, strict=True))
    save_file(state, given.out, {"left_out": hashlib.sha256("\n".join(lines).encode()).hexdigest()})


if __name__ == "__main__":
    main()
