"""Kill ``aigiscan embed`` with signal 9 at random moments, resume, and compare with an uninterrupted run.

    python benchmarks/kill_embed.py [--kills 50] [--images 400] [--encoder spam]

Every run is a process of its own; moments are spread over the time from its start to its usual end.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from aigiscan.store import EmbeddingStore


def main(kills: int, images: int, encoder: str, seed: int) -> dict[str, object]:
    """Counts; raises AssertionError at the first thing that is wrong."""
    random.seed(seed)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "images").mkdir()
        for i in range(images):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((192, 192)).save(root / f"images/{i:05d}.jpg")
        (root / "images/00007.jpg").write_bytes(b"no image")
        command = [
            sys.executable,
            "-m",
            "aigiscan",
            "embed",
            str(root / "images"),
            "-e",
            encoder,
            "--batch-size",
            "4",
            "-o",
        ]
        start = time.perf_counter()
        subprocess.run([*command, str(root / "whole.h5")], check=True, capture_output=True)
        duration = time.perf_counter() - start
        with EmbeddingStore(root / "whole.h5") as whole:
            expected = dict(zip(whole.rows.path, whole.read(), strict=True))
        done = finished = unfinished = rows = 0
        store = root / "s.h5"
        while done < kills:
            child = subprocess.Popen([*command, str(store)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                child.wait(random.uniform(0, 1.05 * duration))
            except subprocess.TimeoutExpired:
                child.kill()
            if child.wait() == -9:
                done += 1
            if store.exists():
                with EmbeddingStore(store) as opened:
                    assert len(opened) >= rows, "finished rows were lost"
                    rows = len(opened)
                    unfinished += opened.unfinished and rows > 0
                    for path, row in zip(opened.rows.path, opened.read(), strict=True):
                        assert np.array_equal(row, expected[path])
                with h5py.File(store) as file:
                    for path, row in zip(file["rows/path"][:], file["embedding"][:], strict=True):
                        assert np.array_equal(row, expected[os.fsdecode(path)])
            if child.returncode == 0:
                assert store.read_bytes() == (root / "whole.h5").read_bytes()
                finished += 1
                rows = 0
                store.unlink()
                shutil.rmtree(root / "s.h5.parts", ignore_errors=True)
        subprocess.run([*command, str(store)], check=True, capture_output=True)
        assert store.read_bytes() == (root / "whole.h5").read_bytes()
        return {
            "kills": done,
            "of them with some rows done and some not": unfinished,
            "runs that came to their end, byte-equal": finished + 1,
            "unreadable or wrong": 0,
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--encoder", default="spam")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for key, value in main(given.kills, given.images, given.encoder, given.seed).items():
        print(f"| {key} | {value} |")
