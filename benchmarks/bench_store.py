"""The store: reading one head or component against all, bytes per image, and the rescan of an unchanged folder.

    python benchmarks/bench_store.py [--images 2000] [--files 20000] [--rows 1000000]
                                     [--only reading,rescan,adding,million]

Geometry of ViT-L/14: 24 layers x 16 heads x 64 numbers, embedding 768. Files are dropped from the page cache before
each read, so that bytes and seconds are those of the disk. The rescan is the real command, ``aigiscan scan FOLDER
--cache STORE -o FILE``, with the built-in detector.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from bench_memory import filled_cache, make_folder, peak
from PIL import Image

from aigiscan.embedding import EmbedSettings, embed, encode_batches
from aigiscan.encoders.base import ChannelSpec, Encoder, EncoderOptions
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


def million(folder: Path, n: int) -> list[Result]:
    """A store of n images of a fake encoder (64 numbers), each step in a process of its own: written, gone through
    again, and one picture more. The files are hard links, so that looking at them costs what it costs."""
    images, store = make_folder(folder, n), folder / "store"
    wrote, again = _child("fill", images, store, n), _child("again", images, store, n)
    verify_seconds = peak(["stores", "verify", str(store)])[1]
    packed = folder / "packed.h5"
    memory, seconds = peak(["stores", "pack", str(store), str(packed)])
    return [
        {"measure": f"write {n} rows", **wrote},
        {"measure": f"rescan of {n} rows through the runner, all from the store", **again},
        {"measure": f"`stores verify` of {n} rows", "s": round(verify_seconds, 1)},
        {"measure": f"`stores pack` of {n} rows", "s": round(seconds, 1), "peak MB": round(memory)},
    ]


def adding(folder: Path, n: int) -> list[Result]:
    """One picture more in a store of n, the fake encoder's time being next to nothing."""
    images, store = make_folder(folder, n), folder / f"store{n}"
    _child("fill", images, store, n)
    more = folder / "more"
    more.mkdir()
    rng = np.random.default_rng(1)
    seconds = []
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(more / f"{i}.png")
        start = time.perf_counter()
        embed([ImageRecord(str(more / f"{i}.png"))], Fake(), store, EmbedSettings(workers=0))
        seconds.append(time.perf_counter() - start)
    packed = folder / f"packed{n}.h5"
    peak(["stores", "pack", str(store), str(packed)])
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(more / "last.png")
    start = time.perf_counter()
    embed([ImageRecord(str(more / "last.png"))], Fake(), packed, EmbedSettings(workers=0))
    return [
        {
            "measure": f"one picture more in {n}, 20 times",
            "median s": round(statistics.median(seconds), 3),
            "slowest s": round(max(seconds), 3),
            "packed file instead, s": round(time.perf_counter() - start, 2),
        }
    ]


class Fake(Encoder):
    """64 numbers of the picture's thumbnail."""

    name = "fake"
    options = EncoderOptions()

    def channels(self) -> dict[str, ChannelSpec]:
        return {"embedding": ChannelSpec((64,))}

    def fingerprint(self) -> dict[str, object]:
        return {"name": "fake", "weights": ""}

    def prepare(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("L").resize((8, 8)), dtype=np.float32).ravel()

    def encode(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"embedding": np.stack(inputs)}


def _child(step: str, images: Path, store: Path, n: int) -> Result:
    command = [sys.executable, __file__, "--step", step, str(images), str(store), str(n)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _records(images: Path, n: int) -> Iterator[ImageRecord]:
    return (ImageRecord(f"{images}/{i // 1000:04d}/photograph-{i:07d}.jpg") for i in range(n))


def step_fill(images: Path, store: Path, n: int) -> Result:
    rng = np.random.default_rng(0)
    numbers, seconds, start = rng.random((4096, 64), dtype=np.float32), [], time.perf_counter()
    with StoreWriter(store, {**Fake().fingerprint(), "equalization": ""}, Fake().channels()) as writer:
        batch = []
        for i, record in enumerate(_records(images, n)):
            stat = Path(record.path).stat()
            facts = FileFacts(64, 64, "JPEG", stat.st_size, hashlib.sha256(b"%d" % i).hexdigest(), stat.st_mtime_ns)
            batch.append(Encoded(record, facts, {"embedding": numbers[i % 4096]}))
            if len(batch) == 32:
                writer.append(batch)
                batch = []
            if (i + 1) % (n // 10) == 0:
                seconds.append(time.perf_counter() - start)
        writer.append(batch)
    tenths = np.diff([0.0, *seconds]) / (n // 10) * 1e6
    files = list(store.iterdir())
    return {
        "us per row, first to last tenth": ", ".join(f"{t:.0f}" for t in tenths),
        "s": round(time.perf_counter() - start, 1),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "parts": sum(f.suffix == ".h5" for f in files),
        "MB on disk": round(sum(f.stat().st_size for f in files) / 1e6),
    }


def step_again(images: Path, store: Path, n: int) -> Result:
    start = time.perf_counter()
    batches = encode_batches(_records(images, n), Fake(), EmbedSettings(), store)
    rows = len(next(batches))
    first = time.perf_counter() - start
    for batch in batches:
        assert all(row.reused for row in batch)
        rows += len(batch)
    assert rows == n
    return {
        "first rows after s": round(first, 2),
        "images/s": round(n / (time.perf_counter() - start)),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def markdown(results: list[Result]) -> str:
    """One line per result."""
    lines = ["| measure | figures |", "|---|---|"]
    for result in results:
        figures = "; ".join(f"{k} {v}" for k, v in result.items() if k != "measure")
        lines.append(f"| {result['measure']} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step, images, store, n = sys.argv[2:]
        print(json.dumps({"fill": step_fill, "again": step_again}[step](Path(images), Path(store), int(n))))
        raise SystemExit
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="reading,rescan,million,adding")
    given = parser.parse_args()
    steps = {
        "reading": (reading, given.images),
        "rescan": (rescan, given.files),
        "adding": (adding, given.rows // 10),
        "million": (million, given.rows),
    }
    for name, (measure, n) in steps.items():
        if name in given.only.split(","):
            with tempfile.TemporaryDirectory() as place:
                print(markdown(measure(Path(place), n)), flush=True)
