"""Photographs of 12 megapixels, what people have: images per second of scan's loop against a plain Pillow loop.

    python benchmarks/bench_photographs.py DATA [--count 24] [--scores 60] [--rounds 3]

DATA: the development images, of which none is so large. Photographs of many sources are enlarged to 4032×3024, given a
camera's noise (grain of 3 grey levels, so that a file has 3 to 4 MB) and written as JPEG of quality 92, 4:2:0.

1. Rates: a loop that opens, decodes, equalises and encodes one file after the other with Pillow; the runner with full
   decoding; the runner with ``reduce:2``, also with decoding in processes of its own (``--isolate``); the encoder alone
   on inputs prepared before. Rounds in turn, medians. Then the same for the development photographs as they are.
2. Scores of the built-in detector: how far ``reduce:2`` moves them, beside another JPEG quality in the equalisation.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from bench_store import markdown
from PIL import Image

from aigiscan.detector.detector import Detector
from aigiscan.encoders.base import Encoder
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import ImageRecord
from aigiscan.runner import run

FULL = "limit:512,jpeg:80"
REDUCED = f"reduce:2,{FULL}"
OTHERS = ("limit:512,jpeg:79", "limit:512,jpeg:85", "limit:512,jpeg:75")


def photographs(data: Path, folder: Path, count: int) -> list[str]:
    """One 12-megapixel JPEG of each of so many photo sources."""
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("0", "real")]
    firsts = {row["source"]: row["path"] for row in reversed(rows)}
    rng = np.random.default_rng(0)
    paths = []
    for number, source in enumerate(sorted(firsts)[:count]):
        with Image.open(data / firsts[source]) as image:
            large = np.asarray(image.convert("RGB").resize((4032, 3024), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = rng.standard_normal((3024, 4032, 1), dtype=np.float32) * 3
        path = folder / f"{number:03d}.jpg"
        Image.fromarray(np.clip(np.rint(large + grain), 0, 255).astype(np.uint8)).save(path, quality=92, subsampling=2)
        paths.append(str(path))
    return paths


def pillow_loop(paths: Sequence[str], encoder: Encoder) -> None:
    """What a short script would do."""
    for path in paths:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((512, 512), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        encoder.encode([encoder.prepare(Image.open(buffer).convert("RGB"))])


def rates(paths: Sequence[str], encoder: Encoder, rounds: int) -> list[dict]:
    """Images per second of each way, medians over the rounds, and each round's ratio to the plain loop."""
    records = [ImageRecord(path) for path in paths]

    def whole(spec: str, isolate: float | None = None) -> Callable[[], object]:
        return lambda: list(run(records, encoder, equalization=Equalization.parse(spec), isolate=isolate))

    inputs = [encoder.prepare(Image.new("RGB", (512, 512), (i, 99, 7))) for i in range(len(paths))]
    ways: dict[str, Callable[[], object]] = {
        "plain Pillow loop": lambda: pillow_loop(paths, encoder),
        f"runner, {FULL}": whole(FULL),
        f"runner, {REDUCED}": whole(REDUCED),
        f"runner, {REDUCED}, --isolate": whole(REDUCED, 60.0),
        "encoder alone": lambda: encoder.encode(inputs),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    pillow_loop(paths[:2], encoder)
    for _ in range(rounds):
        for name, way in ways.items():
            start, used = time.perf_counter(), sum(os.times()[:4])
            way()
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(sum(os.times()[:4]) - used)  # of all threads, and of processes that have ended
    plain = seconds["plain Pillow loop"]
    return [
        {
            "measure": name,
            "images/s": round(len(paths) / statistics.median(times), 1),
            "processor ms per image": round(1e3 * statistics.median(processor[name]) / len(paths)),
            "of the plain loop's images/s": round(
                statistics.median(p / t for p, t in zip(plain, times, strict=True)), 2
            ),
        }
        for name, times in seconds.items()
    ]


def score_shifts(paths: Sequence[str], detector: Detector, encoder: Encoder) -> list[dict]:
    """How far other equalisations move the detector's scores from those of full decoding."""
    records = [ImageRecord(path) for path in paths]

    def scores(spec: str) -> np.ndarray:
        rows = list(run(records, encoder, equalization=Equalization.parse(spec)))
        return np.array([verdict.score for verdict in detector.judge(rows)], dtype=np.float64)

    base = scores(FULL)
    table = []
    for spec in (REDUCED, *OTHERS):
        moved = np.abs(scores(spec) - base)
        table.append(
            {
                "measure": f"{spec} against {FULL}",
                "mean |shift|": round(float(moved.mean()), 3),
                "median": round(float(np.median(moved)), 3),
                "largest": round(float(moved.max()), 3),
                "scores' deviation": round(float(base.std()), 3),
            }
        )
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--scores", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    detector = Detector.load("builtin")
    encoder = detector.make_encoder()
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(given.data, Path(folder), max(given.count, given.scores))
        sizes = [Path(path).stat().st_size / 1e6 for path in paths]
        print(f"{len(paths)} files of {statistics.mean(sizes):.1f} MB\n")
        print(markdown(rates(paths[: given.count], encoder, given.rounds)))
        small = [str(path) for path in sorted(given.data.glob("wild/*/0_real/*.jpg"))[:: 370 // (4 * given.count)]]
        print(f"{len(small)} photographs as they are\n")
        print(markdown(rates(small, encoder, given.rounds)))
        print(markdown(score_shifts(paths[: given.scores], detector, encoder)))


if __name__ == "__main__":
    main()
