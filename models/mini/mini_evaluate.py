"""Zero-shot by caption pairs: does the model find the words for what was done to photographs it never saw?"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from mini_data import FRAME, PATCH
from mini_model import Vocabulary, image_features, text_features
from mini_photos import Cache, Photo
from open_clip.model import CLIP
from PIL import Image, ImageFilter

from aigiscan.encoders.pixels import native_crop

Change = Callable[[Image.Image, int], Image.Image]


@dataclass(frozen=True, slots=True)
class Pair:
    """A treatment and its contrary (both get the picture and its number), and the captions that say them."""

    treat: Change
    contrary: Change
    says_treated: str
    says_contrary: str


def _same(image: Image.Image, number: int) -> Image.Image:
    return image


def _blur(image: Image.Image, number: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur((2, 3)[number % 2]))


def _grey(image: Image.Image, number: int) -> Image.Image:
    return image.convert("L").convert("RGB")


def _noise(image: Image.Image, number: int) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    noise = np.random.default_rng(number).standard_normal(pixels.shape) * 255 * (0.05, 0.1)[number % 2]
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _blocks(image: Image.Image, number: int) -> Image.Image:
    return _jpeg(image, (10, 15, 20)[number % 3])


def _fine_jpeg(image: Image.Image, number: int) -> Image.Image:
    return _jpeg(image, (90, 95)[number % 2])


def _dark(image: Image.Image, number: int) -> Image.Image:
    return image.point(lambda v: v * 0.3)


def _bright(image: Image.Image, number: int) -> Image.Image:
    return image.point(lambda v: 255 - (255 - v) * 0.35)


def _upscale(image: Image.Image, number: int) -> Image.Image:
    how = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)[number % 2]
    return image.resize((image.width * 4, image.height * 4), how)


PAIRS: dict[str, Pair] = {
    "blur": Pair(_blur, _same, "a blurry photo", "a sharp photo"),
    "grey": Pair(_grey, _same, "a black and white photo", "a colour photo"),
    "jpeg": Pair(_blocks, _fine_jpeg, "a heavily compressed photo", "a high quality photo"),
    "noise": Pair(_noise, _same, "a noisy photo", "a clean photo"),
    "dark": Pair(_dark, _bright, "a dark photo", "a bright photo"),
    "upscaled": Pair(_upscale, _same, "an upscaled photo", "a photo at native resolution"),
}


Scores = dict[str, tuple[np.ndarray, np.ndarray]]


def pair_scores(
    pictures: list[Image.Image],
    embed_images: Callable[[list[Image.Image]], np.ndarray],
    embed_texts: Callable[[list[str]], np.ndarray],
) -> Scores:
    """Pair → (treated, contrary versions of every picture): cosine to the first caption minus that to the second."""
    result = {}
    for name, pair in PAIRS.items():
        text = embed_texts([pair.says_treated, pair.says_contrary])
        treated, contrary = (
            embed_images([change(picture, number) for number, picture in enumerate(pictures)]) @ (text[0] - text[1])
            for change in (pair.treat, pair.contrary)
        )
        result[name] = (treated, contrary)
    return result


def accuracies(scores: Scores, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
    """Accuracy per pair over both versions, the nearer caption wins; chance 0.5.

    Also ``NAME_auc``: the AUC of the difference of the two cosines, which a shifted threshold does not hurt.
    """
    result = {}
    for name, both in scores.items():
        treated, contrary = (version[rows] for version in both)
        result[name] = float(((treated > 0).mean() + (contrary < 0).mean()) / 2)
        result[f"{name}_auc"] = float((treated[:, None] > contrary[None]).mean())
    return result


def is_clear(image: Image.Image) -> bool:
    """Whether the centre of a photograph as it is shows detail and colour, by its pixels alone.

    Many centres of photographs at native resolution are out of focus or as good as grey; to call those blurred or
    colourless is no mistake. Detail: mean difference to the picture blurred with σ = 1 of at least 1.5 grey levels.
    Colour: mean difference of the largest and the smallest channel of at least 10.
    """
    crop = native_crop(image, FRAME)
    pixels = np.asarray(crop, np.float32)
    detail = np.abs(pixels - np.asarray(crop.filter(ImageFilter.GaussianBlur(1)), np.float32)).mean()
    return bool(detail >= 1.5 and (pixels.max(-1) - pixels.min(-1)).mean() >= 10)


def photographs_kept_out(cache: Cache, held: set[str], limit: int) -> list[Photo]:
    """Evenly spread over the photographs of sources that training never sees."""
    photos = [p for p in cache.photos if p.label == 0 and p.source in held]
    return photos[:: max(1, len(photos) // limit)][:limit]


@torch.no_grad()
def caption_pairs_of_model(
    model: CLIP, vocabulary: Vocabulary, cache: Cache, photos: list[Photo], side: int = FRAME
) -> dict[str, float]:
    """:func:`accuracies` of a model in training; side below 224 shows the central patches only."""
    grid, whole = side // PATCH, FRAME // PATCH
    rows = torch.arange((whole - grid) // 2, (whole - grid) // 2 + grid)
    positions = (rows[:, None] * whole + rows[None]).flatten()

    def embed_images(images: list[Image.Image]) -> np.ndarray:
        parts = []
        for start in range(0, len(images), 64):
            crops = np.stack([np.asarray(native_crop(image, side)) for image in images[start : start + 64]])
            patches = crops.reshape(-1, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
            flat = torch.from_numpy(np.ascontiguousarray(patches)).reshape(len(crops), grid * grid, -1)
            x = image_features(model, flat, positions.expand(len(crops), -1)).float()
            parts.append(torch.nn.functional.normalize(x, dim=-1).cpu().numpy())
        return np.concatenate(parts)

    def embed_texts(texts: list[str]) -> np.ndarray:
        x = text_features(model, vocabulary(texts)).float()
        result: np.ndarray = torch.nn.functional.normalize(x, dim=-1).cpu().numpy()
        return result

    return accuracies(pair_scores([Image.fromarray(cache.picture(p)) for p in photos], embed_images, embed_texts))
