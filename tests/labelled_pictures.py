"""Shared by the tests of the command line: folders of small pictures in which generated ones are redder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def pictures(folder: Path, seed: int, shift: float = 0.0, suffix: str = "jpg", n: int = 24) -> Path:
    """n pictures of noise; ``shift`` makes them redder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        pixels = rng.normal(110, 30, (20, 20, 3))
        pixels[..., 0] += shift
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i:02d}.{suffix}")
    return folder


def labelled(root: Path, seed: int = 0, shift: float = 25.0, suffix: str = "png") -> Path:
    """Two cameras and two generators of 24 pictures; photographs are JPEG, generated ones ``suffix``."""
    pictures(root / "cam1" / "0_real", seed)
    pictures(root / "cam2" / "0_real", seed + 1)
    pictures(root / "gan" / "1_fake", seed + 2, shift, suffix)
    pictures(root / "sd" / "1_fake", seed + 3, shift, suffix)
    return root
