"""The loop of scan and embed against the bare model on the same tensors, and loader threads against processes.

    python benchmarks/bench_scan.py [--count 32] [--rounds 3] [--precision auto]

1. JPEG files → rows through the runner, against ``encoder.encode`` alone on inputs that were prepared before
   (ViT-L/14, random weights; want >= 0.95). Each round runs both; the figure is the median ratio.
2. Files decoded and prepared per second by threads (what the runner uses), by as many processes, and by one thread; and
   processor time per file, and per file of 8x8 pixels: what is left there is Python under the interpreter lock (and
   the resizing to the encoder's input, which is not), the bound of threads on a machine of many cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from bench_encoders import jpeg_files, random_weights
from bench_store import Result, markdown
from PIL import Image

from aigiscan.encoders import Encoder, EncoderOptions, create_encoder
from aigiscan.images.ahead import default_workers
from aigiscan.images.decode import decode
from aigiscan.images.records import ImageRecord
from aigiscan.loader import Loader
from aigiscan.runner import run


def seconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def overhead(encoder: Encoder, what: str, files: Sequence[str], rounds: int, batch_size: int = 32) -> Result:
    """The runner against the model alone."""
    records = [ImageRecord(path) for path in files]
    inputs = [encoder.prepare(decode(record).pixels) for record in records]
    encoder.encode(inputs[:batch_size])  # load and warm up
    ratios, rates = [], []
    for _ in range(rounds):
        bare = seconds(lambda: [encoder.encode(inputs[i : i + batch_size]) for i in range(0, len(inputs), batch_size)])
        whole = seconds(lambda: list(run(records, encoder, batch_size=batch_size)))
        ratios.append(bare / whole)
        rates.append(len(files) / whole)
    return {
        "measure": f"runner from JPEG files against the bare model ({what}, {encoder.fingerprint()['precision']})",
        "ratio": round(statistics.median(ratios), 3),
        "rounds": [round(r, 3) for r in ratios],
        "images/s": round(statistics.median(rates), 2),
    }


def _prepare(name: str, path: str) -> object:
    return Loader(create_encoder(name)).load(ImageRecord(path)).input


def loaders(files: Sequence[str], rounds: int, name: str = "lite") -> Result:
    """Images per second up to the encoder's input."""
    records = [ImageRecord(path) for path in files]
    loader = Loader(create_encoder(name))
    workers = default_workers()
    found: dict[str, list[float]] = {"one thread": [], f"{workers} threads": [], f"{workers} processes": []}
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(_prepare, name), files[: 4 * workers]))  # imports
        for _ in range(rounds):
            ways: list[Callable[[], object]] = [
                lambda: list(loader.load_all(records, 0, 1)),
                lambda: list(loader.load_all(records, workers, 64)),
                lambda: list(pool.map(partial(_prepare, name), files, chunksize=8)),
            ]
            for way, times in zip(ways, found.values(), strict=True):
                times.append(seconds(way))
    rates = {f"{key}, images/s": round(len(files) / statistics.median(times), 1) for key, times in found.items()}
    tiny = Path(files[0]).with_name("tiny.jpg")
    Image.new("RGB", (8, 8)).save(tiny)
    small = statistics.median(processor_time(partial(loader.load, ImageRecord(str(tiny)))) for _ in range(300))
    whole = statistics.median(processor_time(partial(loader.load, record)) for record in records[:100])
    return {
        "measure": f"decode and prepare 500x375 JPEG files ({name})",
        **rates,
        "processor time per file, ms": round(1e3 * whole, 2),
        "the same of 8x8 pixels, ms": round(1e3 * small, 2),
    }


def processor_time(work: Callable[[], object]) -> float:
    """Processor seconds of one call in this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", default="vit,lite,loaders")
    given = parser.parse_args()
    only = given.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        options = EncoderOptions(device=given.device, precision=given.precision)
        many = jpeg_files(None, Path(folder), 400)
        results = []
        if "vit" in only:
            name, _ = random_weights(Path(folder) / "model")
            results.append(overhead(create_encoder(name, options), "ViT-L/14", many[: given.count], given.rounds))
        if "lite" in only:
            results.append(overhead(create_encoder("lite", options), "lite", many[:128], given.rounds))
        if "loaders" in only:
            results.append(loaders(many, given.rounds))
    print(markdown(results))


if __name__ == "__main__":
    main()
