"""Peak memory of embed and scan at many images against few (target: at most 1.1 times).

    python benchmarks/bench_memory.py [--few 1000] [--many 100000] [--encoder lite+spam]
                                      [--commands embed,again,scan,rescan]

embed: a new store; again: the same command once more (nothing to do); scan: without a cache; rescan: all from a cache
that was filled with random numbers beforehand. The images are hard links to a few hundred small JPEG files, so every
path is different and the disk stays small.
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


def filled_cache(images: Path, cache: Path) -> Path:
    """A store that holds every image of a folder for the built-in detector, with random numbers."""
    from aigiscan.detector.detector import Detector
    from aigiscan.embedding import store_fingerprint
    from aigiscan.images.find import find_images
    from aigiscan.images.records import FileFacts
    from aigiscan.runner import Encoded
    from aigiscan.store import StoreWriter

    detector = Detector.load("builtin")
    encoder = detector.make_encoder(device="cpu")
    specs = encoder.channels()
    rng = np.random.default_rng(0)
    with StoreWriter(cache, store_fingerprint(encoder, detector.equalization), specs) as writer:
        for record in find_images([str(images)]):
            stat = Path(record.path).stat()
            facts = FileFacts(64, 64, "JPEG", stat.st_size, "0" * 64, stat.st_mtime_ns)
            channels = {k: rng.random(s.shape, np.float32).astype(s.dtype) for k, s in specs.items()}
            writer.append([Encoded(record, facts, channels)])
    return cache


def measure(few: int, many: int, encoder: str, commands: list[str]) -> list[dict[str, object]]:
    """One result per command."""
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = {n: make_folder(root, n) for n in (few, many)}
        for command in commands:
            found = {}
            for n, folder in folders.items():
                embed = ["embed", str(folder), "-o", str(root / f"{n}.h5"), "-e", encoder]
                if command == "again" and not (root / f"{n}.h5").exists():
                    peak(embed)
                cache = root / f"cache{n}.h5"
                if command == "rescan":
                    filled_cache(folder, cache)
                arguments = {
                    "embed": embed,
                    "again": embed,
                    "scan": ["scan", str(folder)],
                    "rescan": ["scan", str(folder), "--cache", str(cache)],
                }[command]
                found[n] = peak(arguments)
                cache.unlink(missing_ok=True)
            ratio = found[many][0] / found[few][0]
            what = encoder if command in ("embed", "again") else "built-in"
            results.append(
                {
                    "measure": f"peak memory of {command} ({what})",
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
