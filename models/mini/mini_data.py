"""Training batches: pieces of pictures, treated, with captions that are known to fit or not.

Two pictures of a pair share the piece and every treatment but one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mini_captions import INDEX, CaptionSampler, truth
from mini_curriculum import Stage, stage_of
from mini_photos import Cache, Photo
from mini_teacher import VARIANTS, Pool
from mini_treatments import (
    FRAME,
    HIDES_ORIGIN,
    TONE,
    Recipe,
    Treatments,
    detail_of,
    draw_parameters,
    draw_recipe,
    resized,
    vignette,
)

PATCH = 14
MARGIN = 8  # the canvas is this much larger than the crop, so that JPEG blocks may start anywhere
_FACES = ("ffhq", "gan_faces", "stylegan2_ffhq")


def _patches(images: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n, s, s, 3) uint8 and rows and columns of patches (n, 2, t) → (n, t, 588) in conv1's order."""
    n, grid = len(images), images.shape[1] // PATCH
    patches = images.reshape(n, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
    patches = patches.reshape(n, grid, grid, 3 * PATCH * PATCH)
    return np.asarray(patches[np.arange(n)[:, None], place[:, 0], place[:, 1]])


class Stream:
    """Endless training batches.

    A batch: patches (n, t, 588) uint8 in conv1's order, positions (n, t) of the patches in the model's grid, captions
    (list of str), fits (n, c) bool, known (n, c) bool, tilt (c,): see Stage; negative for words of what is undamaged.
    With a pool also frame_patches (f, t', 588), frame_positions (f, t'), targets (f, k): whole frames of which the
    teachers' features are known; they are the last f of the n pictures that the captions are about.
    """

    def __init__(
        self,
        cache: Cache,
        photos: list[Photo],
        captions: CaptionSampler,
        seed: int,
        *,
        pairs: int = 32,
        singles: int = 32,
        captions_per_batch: int = 112,
        grid: int = 8,
        tokens: int = 44,
        pool: Pool | None = None,
        frames: int = 24,
        frame_tokens: int = 80,
    ) -> None:
        self.cache, self.photos, self.captions, self.seed = cache, photos, captions, seed
        self.pairs, self.singles, self.captions_per_batch = pairs, singles, captions_per_batch
        self.grid, self.tokens = grid, tokens
        self.pool, self.frames, self.frame_tokens = pool, frames, frame_tokens
        self.row_of = {photo.path: i for i, photo in enumerate(photos)}
        self.treatments = Treatments(seed)
        self.by_label = [[p for p in photos if p.label == label] for label in (0, 1)]
        self.weights = []
        for group in self.by_label:
            count: dict[str, int] = {}
            for p in group:
                count[p.source] = count.get(p.source, 0) + 1
            # each source √(min(1, n/40)), spread over its pictures (measured for `lite`: ../shared/data/README.md)
            weight = np.array([np.sqrt(min(1.0, count[p.source] / 40)) / count[p.source] for p in group])
            self.weights.append(weight / weight.sum())

    def _draw_photo(self, rng: np.random.Generator, label: int) -> Photo:
        return self.by_label[label][int(rng.choice(len(self.weights[label]), p=self.weights[label]))]

    def _canvas(self, photo: Photo, rng: np.random.Generator, aligned: bool) -> tuple[np.ndarray, float]:
        """A piece of the picture at a drawn scale; scale: original pixels per pixel (below 1: enlarged)."""
        side = self.grid * PATCH + MARGIN
        whole = self.cache.picture(photo)
        shortest = min(photo.height, photo.width)
        largest = shortest / side
        u = rng.random()
        if u < 0.45:
            scale = 1.0
        elif u < 0.8:
            scale = shortest / FRAME  # as after --equalize square:224
        else:
            scale = float(np.exp(rng.uniform(0, np.log(max(1.0, min(4.0, largest))))))
        scale = min(scale, largest)
        size = max(8, min(shortest, round(side * scale)))
        top, left = int(rng.integers(photo.height - size + 1)), int(rng.integers(photo.width - size + 1))
        if aligned and size == side:
            top, left = top // 8 * 8, left // 8 * 8
        piece = np.ascontiguousarray(whole[top : top + size, left : left + size])
        if rng.random() < 0.5:
            piece = np.ascontiguousarray(piece[:, ::-1])
        if size != side:
            piece = resized(piece, (side, side), ("bicubic", "lanczos", "bilinear")[int(rng.integers(3))])
        return piece, size / side

    def batch(self, number: int) -> dict[str, Any]:
        """Batch `number`; the same number gives the same batch."""
        rng, stage = np.random.default_rng((self.seed, number)), stage_of(number)
        side = self.grid * PATCH
        images, states, positions = [], [], []
        room = FRAME // PATCH - self.grid
        for item in range(self.pairs + self.singles):
            photo = self._draw_photo(rng, int(rng.random() < 0.5))
            gy, gx = int(rng.integers(room + 1)), int(rng.integers(room + 1))
            # mostly with JPEG's blocks where they lie in a picture that is cropped at a multiple of 8, as the encoder
            # does: then the position of a patch tells where to look for their edges
            aligned = rng.random() < 0.75
            dy, dx = (gy * PATCH % 8, gx * PATCH % 8) if aligned else (int(v) for v in rng.integers(0, MARGIN, 2))
            canvas, scale = self._canvas(photo, rng, aligned)
            if item < self.pairs:
                recipe, toggle = draw_recipe(rng, stage)
                versions = [recipe, recipe.without(toggle)]
                if toggle == "jpeg":
                    versions[1].steps["light_jpeg"] = int(rng.integers(80, 97))
            else:
                versions = [Recipe({} if rng.random() < 0.4 else {"light_jpeg": int(rng.integers(60, 97))})]
                if rng.random() < 0.15:
                    name = str(rng.choice(TONE[:8]))
                    versions[0].steps[name] = draw_parameters(name, rng, stage)
            other = None
            if any("double" in v.steps for v in versions):
                other, _ = self._canvas(self._draw_photo(rng, photo.label), rng, False)
            seed = int(rng.integers(1 << 62))
            detail = detail_of(canvas)
            for version in versions:
                done = self.treatments.apply(canvas, version, seed, (gy * PATCH - dy, gx * PATCH - dx), other)
                crop = done[dy : dy + side, dx : dx + side]
                images.append(crop)
                states.append(self._state(photo, scale, version, crop, (gy, gx), detail, stage.fine_jpeg))
                order = rng.permutation(self.grid**2)[: self.tokens]
                positions.append(np.stack([order // self.grid, order % self.grid]))
                positions[-1] = np.concatenate([positions[-1], [[gy], [gx]]], 1)
        place = np.stack(positions)  # [n, 2, t + 1], the last column is the corner
        local, corner = place[:, :, :-1], place[:, :, -1:]
        chosen = _patches(np.stack(images), local)
        at = (local + corner)[:, 0] * (FRAME // PATCH) + (local + corner)[:, 1]
        taught = self._taught(rng, stage, states) if self.pool is not None else {}
        state = np.stack(states)
        texts, literals = self.captions.sample(state, self.captions_per_batch, rng, stage.captions)
        fits, known = truth(state, literals)
        single = np.abs(literals).sum(1) == 1
        lean = sum(share * literals[:, INDEX[name]].astype(np.float32) for name, share in stage.tilt.items())
        tilt = np.where(single, lean, 0).astype(np.float32)
        caption = {"texts": texts, "fits": fits, "known": known, "tilt": tilt}
        return {"patches": chosen, "positions": at, **caption, **taught}

    def _taught(self, rng: np.random.Generator, stage: Stage, states: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Some patches of whole frames of the pool with their targets; what is known of them goes to states."""
        assert self.pool is not None
        rows, places = [], []
        for _ in range(self.frames):
            photo = self._draw_photo(rng, int(rng.random() < 0.5))
            row = self.row_of[photo.path] * VARIANTS + int(rng.integers(VARIANTS))
            rows.append(row)
            order = rng.permutation((FRAME // PATCH) ** 2)[: self.frame_tokens]
            places.append(np.stack([order // (FRAME // PATCH), order % (FRAME // PATCH)]))
            frame, recipe = self.pool.frames[row], Recipe({"light_jpeg": int(self.pool.quality[row])})
            scale = float(self.pool.scale[row])
            states.append(self._state(photo, scale, recipe, frame, (0, 0), detail_of(frame), stage.fine_jpeg))
        place = np.stack(places)
        return {
            "frame_patches": _patches(np.stack([self.pool.frames[row] for row in rows]), place),
            "frame_positions": place[:, 0] * (FRAME // PATCH) + place[:, 1],
            "targets": self.pool.targets[rows],
        }

    def _state(
        self,
        photo: Photo,
        scale: float,
        recipe: Recipe,
        crop: np.ndarray,
        corner: tuple[int, int],
        detail: float,
        fine_jpeg: int,
    ) -> np.ndarray:
        state = np.zeros(len(self.captions.names), np.int8)
        steps = recipe.steps

        def say(name: str, value: int) -> None:
            state[INDEX[name]] = value

        for name in (
            "motion",
            "impulse",
            "grey",
            "sepia",
            "oversaturated",
            "muted",
            "inverted",
            "posterized",
            "double",
            "oversharpened",
            "scanlines",
        ):
            say(name, 1 if name in steps else -1)
        if "sepia" in steps or ("tint" in steps and "grey" in steps):
            say("grey", 0)
        if steps.keys() & {"grey", "sepia", "faded", "dark"}:
            say("muted", 0)
        if "upscale" in steps or scale < 0.75:
            say("upscaled", 1 if "upscale" in steps or scale < 0.45 else 0)
            say("blur", 0)
            say("pixelated", 1 if "upscale" in steps and steps["upscale"][1] == "nearest" else -1)
        else:
            say("upscaled", -1)
            say("pixelated", -1)
            say("blur", 1 if "blur" in steps else 0 if "motion" in steps else -1)
        if "double" in steps and state[INDEX["blur"]] < 0:
            say("blur", 0)
        say("noise", 1 if "noise" in steps else 0 if "impulse" in steps else -1)
        say("grain", 0 if "noise" not in steps else 1 if steps["noise"][1] else -1)
        if "noise" in steps and "grey" in steps:
            say("grain", 0)
        say("jpeg", 1 if "jpeg" in steps else -1 if steps.get("light_jpeg", 100) >= fine_jpeg else 0)
        if "jpeg" in steps and "noise" in steps and steps["jpeg"] < 15:
            say("noise", 0)
        few = crop[::3, ::3].reshape(-1, 3)  # enough for means, a ninth of the time
        brightness, spread = float(few.mean()), float(few.std())
        say("dark", 1 if "dark" in steps or brightness < 40 else 0 if brightness < 75 else -1)
        say("bright", 1 if "bright" in steps or brightness > 215 else 0 if brightness > 170 else -1)
        say("lowcontrast", 1 if "faded" in steps else 0 if spread < 30 else -1)
        say("highcontrast", 1 if "contrast" in steps else 0 if spread > 75 else -1)
        red, green, blue = (float(v) for v in few.mean(0))
        tint = steps["tint"][0] if "tint" in steps and "grey" not in steps else ""
        say("warm", 1 if tint == "warm" or "sepia" in steps else 0 if red - blue > 12 else -1)
        say("cool", 1 if tint == "cool" else 0 if blue - red > 12 else -1)
        say("green", 1 if tint == "green" else 0 if green - max(red, blue) > 10 else -1)
        say("purple", 1 if tint == "purple" else 0 if min(red, blue) - green > 5 else -1)
        if "vignette" in steps:
            side = crop.shape[0]
            factor = vignette(side, (corner[0] * PATCH, corner[1] * PATCH), steps["vignette"])
            say("vignette", 1 if factor.min() / factor.max() < 0.5 else 0)
            if state[INDEX["dark"]] < 0:
                say("dark", 0)
        else:
            say("vignette", -1)
        if detail < 1.5:  # a wall or a sky: nothing in it could be blurred, enlarged or broken into blocks
            for name in ("blur", "upscaled", "pixelated", "jpeg", "motion", "oversharpened", "double"):
                say(name, 0)
        self._content(photo, scale, state, bool(steps.keys() & set(HIDES_ORIGIN)))
        return state

    def _content(self, photo: Photo, scale: float, state: np.ndarray, hidden: bool) -> None:
        """Who made it and what it shows, from the manifest; unknown where a treatment hides it."""
        source, fake = photo.source, photo.label == 1
        if not hidden:
            state[INDEX["real"]] = -1 if fake else 1
            for family in ("gan", "diffusion", "autoregressive"):
                state[INDEX[family]] = 1 if photo.family == family else -1
            start = len(INDEX)
            for i, name in enumerate(self.captions.generators):
                state[start + i] = 1 if source == name else -1
        wide = scale >= min(photo.height, photo.width) / (FRAME * 1.3)  # the piece shows about half of the picture
        if source in _FACES:
            state[INDEX["face"]] = 1 if wide else 0
            state[INDEX["landscape"]] = state[INDEX["animal"]] = -1
        elif source in ("imagenet", "stylegan_keras_landscapes", "art_dcgan", "dog_cat"):
            state[INDEX["face"]] = -1
            state[INDEX["landscape"]] = 0 if source in ("imagenet", "art_dcgan") else 1 if source != "dog_cat" else -1
            state[INDEX["animal"]] = 0 if source == "art_dcgan" else -1
            if source == "dog_cat" or (source == "imagenet" and photo.group[1:9] <= "02510455"):
                state[INDEX["animal"]] = 1 if wide else 0
        if source == "art_dcgan":
            state[INDEX["painting"]] = 1
        elif not fake or source in _FACES:
            state[INDEX["painting"]] = -1
