"""Frames as after `--equalize square:224,jpeg:75`, with the features of `lite` and `spam` that `mini` is to predict.

Distillation needs no label: a linear map from the image embedding, thrown away after training, is to give the leading
components of the teachers' features. What training never sees (`held_out_sources`) is not in the pool either.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mini_photos import Cache, Photo
from mini_treatments import FRAME
from PIL import Image

from aigiscan.encoders import create_encoder
from aigiscan.encoders.base import EncoderOptions
from aigiscan.images.equalize import Equalization, recompress

VARIANTS = 5  # frames of every picture; the first is the equalised picture itself
TEACHERS = ("lite", "spam")
COMPONENTS = 96  # of each teacher
_EQUALIZED = Equalization.parse(f"square:{FRAME},jpeg:75")
_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR)


@dataclass(frozen=True, slots=True)
class Pool:
    """frames (n, 224, 224, 3) uint8, VARIANTS of every training picture; quality (n,) of their JPEG.

    scale (n,): original pixels per pixel, below 1 when the frame was enlarged.

    targets (n, 2 · COMPONENTS) float32: leading components of each teacher's standardised features, each with unit
    variance over the pool.
    """

    frames: np.ndarray
    quality: np.ndarray
    scale: np.ndarray
    targets: np.ndarray


def _frame(whole: np.ndarray, variant: int, rng: np.random.Generator) -> tuple[np.ndarray, int, float]:
    """One square frame of a picture, resized and saved as JPEG; variant 0 is the equalised picture."""
    height, width = whole.shape[:2]
    side = min(height, width)
    if variant == 0:
        return np.asarray(_EQUALIZED.apply(Image.fromarray(whole))), 75, side / FRAME
    quality, how = int(rng.integers(60, 96)), _FILTERS[int(rng.integers(3))]
    side = max(16, round(float(rng.uniform(0.6, 1.0)) * side))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    piece = whole[top : top + side, left : left + side]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    frame = Image.fromarray(np.ascontiguousarray(piece)).resize((FRAME, FRAME), how)
    return np.asarray(recompress(frame, quality)), quality, side / FRAME


def _teach(frames: np.ndarray, name: str) -> np.ndarray:
    encoder = create_encoder(name, EncoderOptions(precision="fp32"))
    parts = []
    for start in range(0, len(frames), 32):
        images = [encoder.prepare(Image.fromarray(frame)) for frame in frames[start : start + 32]]
        parts.append(encoder.encode(images)["embedding"].astype(np.float32))
    return np.concatenate(parts)


def leading_components(features: np.ndarray, count: int) -> np.ndarray:
    """(n, d) → (n, count): principal components of the standardised columns, each scaled to unit variance."""
    spread = features.std(0)
    used = spread > 1e-6 * max(1e-12, float(spread.max()))
    x = (features[:, used] - features[:, used].mean(0)) / spread[used]
    x = np.clip(x, -5, 5)  # a few pictures of one colour would otherwise own a component
    x -= x.mean(0)
    values, vectors = np.linalg.eigh(x.T.astype(np.float64) @ x / len(x))
    count = min(count, int((values > 1e-8 * values[-1]).sum()))
    scores = x @ vectors[:, ::-1][:, :count].astype(np.float32)
    return np.asarray(scores / scores.std(0), np.float32)


def open_pool(cache: Cache, photos: list[Photo], folder: Path, seed: int) -> Pool:
    """The pool of these pictures, made in `folder` at the first call (130 s on two cores)."""
    index, flat, taught = (folder / f"teacher.{ending}" for ending in ("json", "u8", "npz"))
    key = {"digest": cache.digest, "pictures": len(photos), "seed": seed, "variants": VARIANTS}
    if not index.exists() or json.loads(index.read_text()) != key:
        count = len(photos) * VARIANTS
        frames = np.memmap(flat, np.uint8, mode="w+", shape=(count, FRAME, FRAME, 3))
        quality, scale = np.empty(count, np.int16), np.empty(count, np.float32)

        def draw(row: int) -> None:
            rng = np.random.default_rng((seed, row))
            frames[row], quality[row], scale[row] = _frame(cache.picture(photos[row // VARIANTS]), row % VARIANTS, rng)

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(draw, range(count)))
        frames.flush()
        np.savez(taught, quality=quality, scale=scale, **{name: _teach(frames, name) for name in TEACHERS})
        index.write_text(json.dumps(key))
    count = len(photos) * VARIANTS
    frames = np.memmap(flat, np.uint8, mode="r", shape=(count, FRAME, FRAME, 3))
    with np.load(taught) as content:
        targets = np.concatenate([leading_components(content[name], COMPONENTS) for name in TEACHERS], 1)
        return Pool(frames, content["quality"], content["scale"], targets)
