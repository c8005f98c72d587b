"""The store: reading one head or component against all, bytes per image, and the rescan of an unchanged folder.

    python benchmarks/bench_store.py [--images 2000] [--files 5000]

Geometry of ViT-L/14: 24 layers x 16 heads x 64 numbers, embedding 768. Files are dropped from the page cache before
each read, so that bytes and seconds are those of the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_memory import make_folder

from aigiscan.encoders import create_encoder
from aigiscan.encoders.base import ChannelSpec
from aigiscan.images.find import find_images
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import run_batches
from aigiscan.store import EmbeddingStore, StoreCache, StoreWriter
from aigiscan.store.writer import StoredRow

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
                    StoredRow(ImageRecord(f"photos/{i:07d}.jpg"), FileFacts(sha256=f"{i:064x}"), some[i % 64])
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


def rescan(folder: Path, n: int, encoder: str = "lite+spam") -> list[Result]:
    """Runner and store over a folder that has not changed: every channel of every image comes from the store."""
    images = make_folder(folder, n)
    made = create_encoder(encoder)
    specs = made.channels()
    fingerprint = {**made.fingerprint(), "equalization": ""}
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "cache.h5", fingerprint, specs) as writer:
        for record in find_images([str(images)]):
            stat = Path(record.path).stat()
            facts = FileFacts(64, 64, "JPEG", stat.st_size, "0" * 64, stat.st_mtime_ns)
            channels = {k: rng.standard_normal(s.shape).astype(s.dtype) for k, s in specs.items()}
            writer.append([StoredRow(record, facts, channels)])
    start = time.perf_counter()
    records = find_images([str(images)])
    listed = time.perf_counter()
    with EmbeddingStore(folder / "cache.h5") as store:
        cache = StoreCache(store)
        reused = sum(row.reused for rows in run_batches(records, made, cache=cache) for row in rows)
    end = time.perf_counter()
    assert reused == n
    return [
        {
            "measure": f"rescan of {n} unchanged images ({encoder}, {specs['embedding'].shape[0]} columns)",
            "images/s": round(n / (end - start)),
            "of it listing, s": round(listed - start, 3),
            "store and rows, s": round(end - listed, 3),
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
    parser.add_argument("--files", type=int, default=5000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(markdown(reading(Path(name), given.images) + rescan(Path(name), given.files)))
