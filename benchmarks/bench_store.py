"""The store: reading one head or component against all, bytes per image, and the rescan of an unchanged folder.

    python benchmarks/bench_store.py [--images 2000] [--files 20000] [--only reading,rescan]

Geometry of ViT-L/14: 24 layers x 16 heads x 64 numbers, embedding 768. Files are dropped from the page cache before
each read, so that bytes and seconds are those of the disk. The rescan is the real command, ``aigiscan scan FOLDER
--cache STORE -o FILE``, with the built-in detector.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_memory import filled_cache, make_folder, peak

from aigiscan.encoders.base import ChannelSpec
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded
from aigiscan.store import EmbeddingStore, StoreWriter

LAYERS, HEADS, D_HEAD, JOINT = 24, 16, 64, 768
Result = dict[str, object]


def write(path: Path, n: int, specs: dict[str, ChannelSpec]) -> float:
    """A store of n images with random channels; returns seconds."""
    rng = np.random.default_rng(0)
    some = [{k: rng.standard_normal(s.shape).astype(s.dtype) for k, s in specs.items()} for _ in range(64)]
    start = time.perf_counter()
    with StoreWriter(path, {"name": "random", "equalization": ""}, specs) as writer:
        for first in range(0, n, 64):
            writer.append(
                [
                    Encoded(ImageRecord(f"photos/{i:07d}.jpg"), FileFacts(sha256=f"{i:064x}"), some[i % 64])
                    for i in range(first, min(n, first + 64))
                ]
            )
    return time.perf_counter() - start


def from_disk(path: Path, read: Callable[[EmbeddingStore], object]) -> tuple[float, int]:
    """Seconds and bytes of one read with a cold page cache (Linux)."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with EmbeddingStore(path) as store:
        before, start = _bytes_read(), time.perf_counter()
        read(store)
        return time.perf_counter() - start, _bytes_read() - before


def _bytes_read() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def reading(folder: Path, n: int) -> list[Result]:
    """One head against all heads, one component against all components."""
    heads = folder / "heads.h5"
    specs = {
        "embedding": ChannelSpec((JOINT,)),
        "heads": ChannelSpec((LAYERS, HEADS, D_HEAD), "float16"),
        "sigma": ChannelSpec(()),
    }
    seconds = write(heads, n, specs)
    wide = folder / "wide.h5"
    write(wide, 20 * n, {"embedding": ChannelSpec((JOINT,))})
    per_image = heads.stat().st_size / n
    projected = 2 * LAYERS * HEADS * JOINT + 4 * JOINT
    results: list[Result] = [
        {
            "measure": f"write {n} images with all heads",
            "images/s": round(n / seconds),
            "MB/s": round(per_image * n / seconds / 1e6),
        },
        {
            "measure": "bytes per image with heads",
            "stored (z, sigma, embedding, row)": round(per_image),
            "projected heads, float16": projected,
            "ratio": round(projected / per_image, 2),
        },
    ]
    for path, what, one, everything in (
        (heads, f"head of {n} images", lambda s: s.read("heads", columns=[(22, 11)]), lambda s: s.read("heads")),
        (wide, f"component of {20 * n} images", lambda s: s.read(columns=[100]), lambda s: s.read()),
    ):
        (one_s, one_b), (all_s, all_b) = from_disk(path, one), from_disk(path, everything)
        results.append(
            {
                "measure": f"one {what} against all",
                "one, MB": round(one_b / 1e6, 2),
                "all, MB": round(all_b / 1e6, 1),
                "share of bytes": round(one_b / all_b, 4),
                "one, s": round(one_s, 4),
                "all, s": round(all_s, 3),
                "share of time": round(one_s / all_s, 4),
            }
        )
    return results


def rescan(folder: Path, n: int, rounds: int = 3) -> list[Result]:
    """The command over a folder that has not changed, every channel of every image from the cache, and over one image:
    the difference is what the images cost, without the start of the program."""
    images, one = make_folder(folder, n), make_folder(folder, 1)
    cache, cache_of_one = filled_cache(images, folder / "cache.h5"), filled_cache(one, folder / "one.h5")
    report = folder / "report.csv"
    whole, start = [], []
    for _ in range(rounds):
        start.append(peak(["scan", str(one), "--cache", str(cache_of_one), "-o", str(report)])[1])
        whole.append(peak(["scan", str(images), "--cache", str(cache), "-o", str(report)])[1])
        assert report.read_text().count("\n") == n + 1
        report.unlink()
    best = min(w - s for w, s in zip(whole, start, strict=True))
    typical = statistics.median(w - s for w, s in zip(whole, start, strict=True))
    return [
        {
            "measure": f"rescan of {n} unchanged images, `scan --cache`, built-in detector",
            "images/s without the start": round(n / typical),
            "best round": round(n / best),
            "images/s with the start": round(n / statistics.median(whole)),
            "start, s": round(statistics.median(start), 2),
        }
    ]


def markdown(results: list[Result]) -> str:
    """One line per result."""
    lines = ["| measure | figures |", "|---|---|"]
    for result in results:
        figures = "; ".join(f"{k} {v}" for k, v in result.items() if k != "measure")
        lines.append(f"| {result['measure']} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--only", default="reading,rescan")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results = reading(Path(name), given.images) if "reading" in given.only else []
        if "rescan" in given.only:
            results += rescan(Path(name), given.files)
        print(markdown(results))
