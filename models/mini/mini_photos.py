"""The pictures that `mini` learns from: decoded once to a flat uint8 file, and which of them are kept out."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

_MAX_SIDE = 1024
#: sources whose pictures the project's examples use: never seen in training, whatever the seed
EXAMPLE_SOURCES = ("scikit_learn", "scikit_image", "matplotlib")


@dataclass(frozen=True, slots=True)
class Photo:
    """One picture of the cache: where its pixels are, and what the manifest says of it."""

    path: str
    label: int
    source: str  # folder it came from; for fakes the generator
    family: str
    group: str
    offset: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Cache:
    """All pictures as one flat uint8 array, and their rows."""

    pixels: np.ndarray
    photos: list[Photo]
    digest: str

    def picture(self, photo: Photo) -> np.ndarray:
        """(height, width, 3) uint8."""
        size = photo.height * photo.width * 3
        return self.pixels[photo.offset : photo.offset + size].reshape(photo.height, photo.width, 3)


def open_cache(data: Path, out: Path) -> Cache:
    """The decoded pictures of `data` (a folder with manifest.csv), made in `out` at the first call."""
    index, flat = out / "cache.json", out / "cache.u8"
    if not index.exists():
        _build_cache(data, index, flat)
    content = json.loads(index.read_text())
    photos = [Photo(**row) for row in content["photos"]]
    return Cache(np.memmap(flat, np.uint8, mode="r"), photos, content["digest"])


def _build_cache(data: Path, index: Path, flat: Path) -> None:
    rows, offset, digest = [], 0, hashlib.sha256()
    with open(data / "manifest.csv", newline="") as handle:
        entries = sorted(csv.DictReader(handle), key=lambda entry: entry["path"])
    with open(flat, "wb") as out:
        for entry in entries:
            image: Image.Image = ImageOps.exif_transpose(Image.open(data / entry["path"])).convert("RGB")
            if max(image.size) > _MAX_SIDE:  # only what the centre can need
                image = _centre(image)
            array = np.asarray(image)
            out.write(array.tobytes())
            folder = entry["path"].split("/0_real")[0].split("/1_fake")[0].removeprefix("wild/")
            fake = entry["label"] == "fake"
            if fake and folder == "stylegan2" and not entry["path"].startswith("wild"):
                folder = "stylegan2_ffhq"
            height, width = array.shape[:2]
            rows.append(Photo(entry["path"], int(fake), folder, entry["family"], entry["group"], offset, height, width))
            offset += array.nbytes
            digest.update(f"{entry['path']} {entry['sha256']}\n".encode())
    index.write_text(json.dumps({"digest": digest.hexdigest(), "photos": [asdict(row) for row in rows]}))


def _centre(image: Image.Image) -> Image.Image:
    width, height = (min(s, _MAX_SIDE) for s in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def held_out_sources(photos: list[Photo], seed: int, real_share: float = 0.3, fake_share: float = 0.25) -> set[str]:
    """Photo sources and generators that training never sees: a seeded draw, and the examples' sources."""
    rng = np.random.default_rng(seed)
    held = set(EXAMPLE_SOURCES)
    for label, share in ((0, real_share), (1, fake_share)):
        names = sorted({p.source for p in photos if p.label == label} - {"imagenet", "ffhq", *EXAMPLE_SOURCES})
        held |= set(rng.permutation(names)[: round(share * len(names))].tolist())
    return held
