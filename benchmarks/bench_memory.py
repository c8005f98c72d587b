"""Peak memory of embed and scan at many images against few (target: at most 1.1 times).

    python benchmarks/bench_memory.py [--few 1000] [--many 100000] [--encoder lite+spam] [--commands embed,scan]

The images are hard links to a few hundred small JPEG files, so every path is different and the disk stays small.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 300


def make_folder(root: Path, n: int, seed: int = 0) -> Path:
    """n small JPEG files in folders of a thousand."""
    rng = np.random.default_rng(seed)
    originals = root / "originals"
    originals.mkdir(exist_ok=True)
    for i in range(DISTINCT):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(originals / f"{i}.jpg", quality=85)
    folder = root / f"images{n}"
    for i in range(n):
        if i % 1000 == 0:
            place = folder / f"{i // 1000:04d}"
            place.mkdir(parents=True)
        os.link(originals / f"{i % DISTINCT}.jpg", place / f"photograph-{i:07d}.jpg")
    return folder


def peak(arguments: list[str]) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one run of the command line."""
    start = time.perf_counter()
    with open(os.devnull, "wb") as nothing:
        child = subprocess.Popen([sys.executable, "-m", "aigiscan", *arguments], stdout=nothing, stderr=subprocess.PIPE)
        said = child.stderr.read() if child.stderr else b""
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(said.decode())
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return usage.ru_maxrss / scale, time.perf_counter() - start


def measure(few: int, many: int, encoder: str, commands: list[str]) -> list[dict[str, object]]:
    """One result per command."""
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = {n: make_folder(root, n) for n in (few, many)}
        for command in commands:
            found = {}
            for n, folder in folders.items():
                arguments = {
                    "embed": ["embed", str(folder), "-o", str(root / f"{n}.h5"), "-e", encoder],
                    "scan": ["scan", str(folder)],
                }[command]
                found[n] = peak(arguments)
            ratio = found[many][0] / found[few][0]
            results.append(
                {
                    "measure": f"peak memory of {command}" + (f" ({encoder})" if command == "embed" else " (built-in)"),
                    f"{few} images, MB": round(found[few][0], 1),
                    f"{many} images, MB": round(found[many][0], 1),
                    "ratio": round(ratio, 3),
                    "images/s": round(many / found[many][1], 1),
                }
            )
    return results


def markdown(results: list[dict[str, object]]) -> str:
    """Results as one table."""
    header = list(results[0])
    lines = [header, ["---"] * len(header), *([str(r[k]) for k in header] for r in results)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--encoder", default="lite+spam")
    parser.add_argument("--commands", default="embed,scan")
    given = parser.parse_args()
    print(markdown(measure(given.few, given.many, given.encoder, given.commands.split(","))))
