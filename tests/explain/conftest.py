"""Detectors on the planted model of tests/planted_clip.py, and a store of coloured pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_clip import FP32, coloured, write_planted_clip

from aigiscan.encoders import EncoderOptions, create_encoder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache of our own for the whole session: the vocabulary is embedded once."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these models are so small that threads only wait for each other
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGISCAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def planted_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_planted_clip(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def pictures() -> tuple[list, np.ndarray]:
    """40 pictures, red ones are the fakes (1), green ones the reals (0)."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    return [coloured(rng, "red" if label else "green") for label in labels], labels


@pytest.fixture(scope="session")
def planted(planted_name: str) -> Any:
    return create_encoder(planted_name, EncoderOptions(**FP32))


@pytest.fixture
def coloured_folder(tmp_path: Path) -> Path:
    """``real/``: green pictures, ``red_gan/`` and ``blue_gan/`` as generators."""
    rng = np.random.default_rng(1)
    for folder, colour in (("0_real", "green"), ("1_fake/red_gan", "red"), ("1_fake/blue_gan", "blue")):
        for i in range(8):
            path = tmp_path / "data" / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coloured(rng, colour).save(path)
    return tmp_path / "data"


@pytest.fixture
def coloured_store(coloured_folder: Path, planted_name: str, tmp_path: Path) -> Path:
    """A store of that folder, with heads, rows in sorted path order."""
    from aigiscan.images.records import ImageRecord
    from aigiscan.runner import run
    from aigiscan.store import StoreWriter

    encoder = create_encoder(planted_name, EncoderOptions(heads=True, **FP32))
    records = [
        ImageRecord(
            str(path),
            label=int("1_fake" in path.parts),
            generator=path.parent.name if "1_fake" in path.parts else "",
        )
        for path in sorted(coloured_folder.rglob("*.png"))
    ]
    target = tmp_path / "store.h5"
    with StoreWriter(target, {**encoder.fingerprint(), "equalization": ""}, encoder.channels()) as writer:
        writer.append(list(run(records, encoder)))
    return target


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
