"""Kill the real command with signal 9 at random moments, look, resume, and compare with an uninterrupted run.

    python benchmarks/kill_embed.py [--kills 120] [--images 240] [--encoder spam]

A third of the kills each: ``embed`` into a folder store, ``embed`` into a packed file (which unpacks and packs), and
``stores merge`` of that folder and a second one into a third (which merges parts). Every run is a process of its own;
moments are spread over the time from its first file to its usual end. Parts are merged four to one, and one is written
per batch, so that a kill in the middle of a merge or a pack is not rare. After each kill every row is compared.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from aigiscan.store import EmbeddingStore, is_store
from aigiscan.store.files import work_folder
from aigiscan.store.verify import verify

#: the real command with parts as small, and merged as often, as can be
COMMAND = (
    "import sys, aigiscan.store.folder, aigiscan.store.writer as writer\n"
    "aigiscan.store.folder.FAN_IN = 4\n"
    "writer.StoreWriter.__init__.__kwdefaults__['flush_seconds'] = 0.0\n"
    "from aigiscan.cli.app import main\n"
    "sys.exit(main())"
)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", COMMAND, *map(str, arguments)]


def make_images(folder: Path, n: int, rng: np.random.Generator) -> None:
    folder.mkdir()
    for i in range(n):
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"{i:05d}.jpg")
    (folder / "00007.jpg").write_bytes(b"no image")


def look(store: Path, expected: dict[str, np.ndarray]) -> tuple[int, bool]:
    """Rows of a store, all of them found right; whether a run in it was cut."""
    if not is_store(store):
        return 0, False
    with EmbeddingStore(store) as opened:
        for path, row in zip(opened.rows.path, opened.read(), strict=True):
            assert np.array_equal(row, expected[path]), path
        return len(opened), opened.unfinished


def killed(arguments: list[str], store: Path, seconds: float) -> bool:
    """Start, wait for the first sign of work, kill after so many seconds more; False if it came to its end."""
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + 120
    while child.poll() is None and not work_folder(store).exists() and time.monotonic() < limit:
        time.sleep(0.005)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
    said = child.stderr.read().decode() if child.stderr else ""
    code = child.wait()
    assert code in (0, -9), said
    return code == -9


def main(kills: int, images: int, encoder: str, seed: int) -> dict[str, object]:
    """Counts; raises AssertionError at the first thing that is wrong."""
    random.seed(seed)
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for place in ("images", "more"):
            make_images(root / place, images, rng)
            subprocess.run(
                command("embed", root / place, "-o", root / f"whole-{place}", "-e", encoder),
                check=True,
                capture_output=True,
            )
        expected: dict[str, np.ndarray] = {}
        for place in ("images", "more"):
            with EmbeddingStore(root / f"whole-{place}") as whole:
                expected |= dict(zip(whole.rows.path, whole.read(), strict=True))
        embed = ("embed", root / "images", "-e", encoder, "--batch-size", 4, "-o")
        jobs = {
            root / "folder": command(*embed, root / "folder"),
            root / "packed.h5": command(*embed, root / "packed.h5"),
            root / "merged": command(
                "stores", "merge", root / "whole-images", root / "whole-more", "-o", root / "merged"
            ),
        }
        for store, arguments in jobs.items():
            start = time.perf_counter()
            subprocess.run(arguments, check=True, capture_output=True)
            duration = 0.7 * (time.perf_counter() - start)  # without the start of the interpreter
            complete, unfinished = look(store, expected)
            assert not unfinished
            done = rows = 0
            finished = True
            while done < kills // len(jobs) or not finished:
                if finished:
                    for left in root.glob(f"{store.name}*"):
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                    rows = 0
                finished = not killed(arguments, store, random.uniform(0, duration))
                done += not finished
                now, cut = look(store, expected)
                assert now >= rows, f"finished rows were lost: {rows}, now {now}"
                rows = now
                counts["kills with some rows done and some not"] += not finished and 0 < now < complete and cut
                counts["kills with all rows done and the run not ended"] += not finished and now == complete
                if finished:
                    assert now == complete and not cut and list(verify(store)) == []
                    counts["runs that came to their end: all rows, verified"] += 1
            counts["kills"] += done
    return {**counts, "unreadable, wrong or lost": 0}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--encoder", default="spam")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for key, value in main(given.kills, given.images, given.encoder, given.seed).items():
        print(f"| {key} | {value} |")
