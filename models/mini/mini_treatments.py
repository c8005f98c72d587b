"""What is done to a picture before it is shown, so that captions about it are true by construction."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mini_curriculum import Stage
from PIL import Image, ImageFilter, ImageOps

FRAME = 224  # side of the model's input


@dataclass
class Recipe:
    """What is done to one picture; a treatment that is absent is not in `steps`."""

    steps: dict[str, Any] = field(default_factory=dict)

    def without(self, name: str) -> Recipe:
        """The same without one treatment."""
        return Recipe({k: v for k, v in self.steps.items() if k != name})


TONE = (
    "grey",
    "sepia",
    "oversaturated",
    "muted",
    "dark",
    "bright",
    "faded",
    "contrast",
    "tint",
    "inverted",
    "posterized",
)
#: after these a picture no longer shows whether a camera or a model made it
HIDES_ORIGIN = (
    "blur",
    "motion",
    "noise",
    "jpeg",
    "upscale",
    "impulse",
    "double",
    "posterized",
    "scanlines",
    "inverted",
)


def draw_parameters(name: str, rng: np.random.Generator, stage: Stage) -> Any:
    """Random strength of one treatment, such that a person could name it."""
    u = float(rng.random())
    if name == "blur":
        return float(np.exp(rng.uniform(*np.log(stage.blur)))), ("gauss" if u < 0.75 else "box")
    if name == "motion":
        return int(rng.integers(7, 19)), u < 0.5
    if name == "noise":
        return float(np.exp(rng.uniform(np.log(0.035), np.log(0.2)))), u < 0.5
    if name == "jpeg":
        return int(rng.integers(stage.jpeg[0], stage.jpeg[1] + 1))
    if name == "upscale":
        return float(rng.uniform(*stage.upscale)), (
            "nearest" if u < 0.15 else ("bilinear", "bicubic", "lanczos")[int(u * 97) % 3]
        )
    if name == "tint":
        return ("warm", "cool", "warm", "cool", "green", "purple")[int(rng.integers(6))], float(rng.uniform(0.1, 0.3))
    return u


def draw_recipe(rng: np.random.Generator, stage: Stage) -> tuple[Recipe, str]:
    """A recipe and the treatment to leave out in its twin."""
    names = list(stage.toggles)
    weights = np.array(list(stage.toggles.values()))
    toggle = str(rng.choice(names, p=weights / weights.sum()))
    chosen = {toggle}
    for other, share in (("blur", 0.08), ("noise", 0.08), ("jpeg", 0.1), ("upscale", 0.05), ("vignette", 0.04)):
        if rng.random() < share:
            chosen.add(other)
    if not chosen & set(TONE) and rng.random() < 0.3:
        chosen.add(str(rng.choice(TONE)))
    if "upscale" in chosen and toggle != "blur":
        chosen.discard("blur")
    if toggle == "blur":
        chosen.discard("upscale")
    recipe = Recipe({name: draw_parameters(name, rng, stage) for name in sorted(chosen)})
    if "jpeg" not in chosen and rng.random() < 0.5:
        recipe.steps["light_jpeg"] = int(rng.integers(70, 97))
    return recipe, toggle


def resized(array: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    """(h, w, 3) uint8 → (height, width) of `size` = (width, height); reducing is antialiased."""
    filters = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    return np.asarray(Image.fromarray(array).resize(size, filters[how]))


def _jpeg(array: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Treatments:
    """Applies a recipe to a canvas; holds a bank of normal numbers, so that noise costs a look-up."""

    def __init__(self, seed: int) -> None:
        self.bank = np.random.default_rng(seed).standard_normal(1 << 22, dtype=np.float32)

    def _normal(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        start = int(rng.integers(len(self.bank) - count))
        return self.bank[start : start + count].reshape(shape)

    def apply(
        self, canvas: np.ndarray, recipe: Recipe, seed: int, corner: tuple[int, int], other: np.ndarray | None
    ) -> np.ndarray:
        """(s, s, 3) uint8 → the same shape. corner: where the canvas lies in the model's input, for the vignette."""
        rng = np.random.default_rng(seed)  # twins draw the same noise
        s, steps = canvas.shape[0], recipe.steps
        if "double" in steps and other is not None:
            share = 0.35 + 0.25 * steps["double"]
            canvas = ((1 - share) * canvas + share * other).astype(np.uint8)
        if "upscale" in steps:
            factor, how = steps["upscale"]
            small = max(4, round(s / factor))
            canvas = resized(resized(canvas, (small, small), "bicubic"), (s, s), how)
        if "blur" in steps:
            sigma, kind = steps["blur"]
            blur = ImageFilter.GaussianBlur(sigma) if kind == "gauss" else ImageFilter.BoxBlur(sigma * 1.2)
            canvas = np.asarray(Image.fromarray(canvas).filter(blur))
        if "oversharpened" in steps:
            sharpen = ImageFilter.UnsharpMask(
                1.0 + 2 * steps["oversharpened"], int(200 + 300 * steps["oversharpened"]), 0
            )
            canvas = np.asarray(Image.fromarray(canvas).filter(sharpen))
        if "posterized" in steps:
            canvas = np.asarray(ImageOps.posterize(Image.fromarray(canvas), 2 if steps["posterized"] < 0.5 else 3))
        if "inverted" in steps:
            canvas = 255 - canvas
        if steps.keys() - {
            "double",
            "upscale",
            "blur",
            "oversharpened",
            "posterized",
            "inverted",
            "jpeg",
            "light_jpeg",
        }:
            canvas = self._in_float(canvas, steps, rng, corner)
        if quality := steps.get("jpeg", steps.get("light_jpeg")):
            canvas = _jpeg(canvas, quality)
        return canvas

    def _in_float(
        self, canvas: np.ndarray, steps: dict[str, Any], rng: np.random.Generator, corner: tuple[int, int]
    ) -> np.ndarray:
        x = canvas.astype(np.float32)
        s = x.shape[0]
        if "motion" in steps:
            length, horizontal = steps["motion"]
            total = np.cumsum(
                np.concatenate(
                    [
                        np.zeros_like(x[:1]),
                        np.pad(
                            x if not horizontal else x.transpose(1, 0, 2),
                            ((length, length), (0, 0), (0, 0)),
                            mode="edge",
                        ),
                    ]
                ),
                0,
            )
            y = (total[length:] - total[:-length])[length // 2 : length // 2 + s] / length
            x = np.ascontiguousarray(y.transpose(1, 0, 2) if horizontal else y)
        if saturation := _saturation(steps):
            grey = (x @ _LUMA)[..., None]
            x = grey + (x - grey) * (saturation if saturation > 0 else 0.0)
            if "sepia" in steps:
                x = x * np.array([1.07, 0.9, 0.68], np.float32)
        if "dark" in steps:
            x = x * (0.12 + 0.3 * steps["dark"])
        if "bright" in steps:
            x = (
                255 - (255 - x) * (0.15 + 0.3 * steps["bright"])
                if steps["bright"] < 0.5
                else x * (1.5 + 1.5 * steps["bright"])
            )
        if "faded" in steps:
            x = 70 + 50 * steps["faded"] + x * (0.2 + 0.25 * steps["faded"])
        if "contrast" in steps:
            x = (x - x.mean()) * (1.7 + 1.2 * steps["contrast"]) + 128
        if "tint" in steps:
            kind, amount = steps["tint"]
            gains = {"warm": (1, 0.2, -1), "cool": (-1, 0, 1), "green": (-0.7, 0.8, -0.7), "purple": (0.7, -0.9, 0.7)}[
                kind
            ]
            x = x * (1 + amount * np.array(gains, np.float32))
        if "vignette" in steps:
            x = x * vignette(s, corner, steps["vignette"])[..., None]
        if "scanlines" in steps:
            x[:: 2 + int(2 * steps["scanlines"])] *= 0.4 + 0.3 * steps["scanlines"]
        if "noise" in steps:
            sigma, mono = steps["noise"]
            x = x + 255 * sigma * self._normal(rng, (s, s, 1) if mono else (s, s, 3))
        if "impulse" in steps:
            u = rng.random((s, s), dtype=np.float32)
            share = 0.005 + 0.05 * steps["impulse"]
            x[u < share] = 0
            x[u > 1 - share] = 255
        return np.clip(x, 0, 255).astype(np.uint8)


def detail_of(canvas: np.ndarray) -> float:
    """Mean absolute difference of horizontal neighbours, in grey levels."""
    green = canvas[..., 1].astype(np.int16)
    return float(np.abs(green[:, 1:] - green[:, :-1]).mean())


def _saturation(steps: dict[str, Any]) -> float:
    """Factor on the colour difference; 0.0 means untouched, a negative number means none left."""
    if "grey" in steps or "sepia" in steps:
        return -1.0
    if "oversaturated" in steps:
        return 2.0 + 1.5 * steps["oversaturated"]
    if "muted" in steps:
        return 0.2 + 0.25 * steps["muted"]
    return 0.0


def vignette(side: int, corner: tuple[int, int], strength: float) -> np.ndarray:
    """Brightness factor (side, side) of a piece that lies at `corner` of the model's input."""
    y = (np.arange(side, dtype=np.float32) + corner[0] - FRAME / 2) / (FRAME / 2)
    x = (np.arange(side, dtype=np.float32) + corner[1] - FRAME / 2) / (FRAME / 2)
    radius2 = y[:, None] ** 2 + x[None] ** 2
    return 1 / (1 + (0.6 + 1.2 * strength) * radius2) ** 2
