"""Fixtures for all tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # for fake_encoder

from bad_files import BadFiles, make_bad_files
from fake_encoder import FakeEncoder

# On a busy machine drawing an input may take long; that says nothing about what is tested.
settings.register_profile("aigiscan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aigiscan")


@pytest.fixture
def fake_encoder() -> FakeEncoder:
    """An encoder whose numbers are trivial functions of the pixels (tests/fake_encoder.py)."""
    return FakeEncoder()


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., list[Path]]:
    """make_images(n, folder="images", size=24, seed=0): n small different PNG files ``0000.png``, … in tmp_path."""

    def make(n: int, folder: str = "images", size: int = 24, seed: int = 0) -> list[Path]:
        rng = np.random.default_rng(seed)
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        paths = []
        for i in range(n):
            path = place / f"{i:04d}.png"
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
            paths.append(path)
        return paths

    return make


@pytest.fixture
def bad_files(tmp_path: Path) -> Iterator[BadFiles]:
    """A folder with every kind of difficult file and what must be said of each (tests/bad_files.py)."""
    zoo = make_bad_files(tmp_path / "zoo")
    yield zoo
    zoo.locked.chmod(0o700)  # or pytest could not remove it
