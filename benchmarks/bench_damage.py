"""How much damage to JPEGs is noticed, and what noticing costs.

    python benchmarks/bench_damage.py DATA [--count 200] [--rounds 3]

DATA: the development images; photographs of all sources in turn, as they are and written again as progressive and with
restart markers. Each is damaged once in every way, in its pixel data alone. Noticed: no score. "Same": the pixels are
those of the sound file. "Little": less than 1 % of them differ by more than 16 grey levels. Beside: what Pillow alone
refuses. Then the time of decoding by Pillow, by aigiscan's strict decoder, and by both one after the other (what a
separate check would cost).
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from aigiscan.images.jpeg import JpegDamageError, decode_jpeg

Damage = Callable[[bytearray, int, int, np.random.Generator], None]


def _zeroed(data: bytearray, at: int, end: int) -> None:
    data[at:end] = bytes(len(data[at:end]))


def bit(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    data[int(rng.integers(begin, end))] ^= 1 << int(rng.integers(8))


def byte(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    at = int(rng.integers(begin, end))
    data[at] = (data[at] + int(rng.integers(1, 256))) % 256


def eight_bytes(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    at = int(rng.integers(begin, end - 8))
    data[at : at + 8] = rng.bytes(8)


def hole(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    at = int(rng.integers(begin, max(begin + 1, end - 512)))
    _zeroed(data, at, min(at + 512, end))


def zeroed_half(data: bytearray, begin: int, end: int, _: np.random.Generator) -> None:
    _zeroed(data, (begin + end) // 2, len(data))


def zeroed_half_but_end(data: bytearray, begin: int, end: int, _: np.random.Generator) -> None:
    _zeroed(data, (begin + end) // 2, end)


def lost(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    at = int(rng.integers(begin, max(begin + 1, end - 512)))
    del data[at : min(at + 512, end)]


def doubled(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    at = int(rng.integers(begin, max(begin + 1, end - 512)))
    data[at:at] = data[at : at + 512]


def cut(data: bytearray, begin: int, end: int, rng: np.random.Generator) -> None:
    del data[int(rng.integers(begin, end - 8)) :]


def no_end_marker(data: bytearray, _: int, end: int, __: np.random.Generator) -> None:
    del data[end:]


WAYS: dict[str, Damage] = {
    "one bit flipped": bit,
    "one byte changed": byte,
    "8 bytes changed": eight_bytes,
    "512 bytes of zeros": hole,
    "second half zeros": zeroed_half,
    "second half zeros, end marker there": zeroed_half_but_end,
    "512 bytes lost": lost,
    "512 bytes doubled": doubled,
    "cut anywhere": cut,
    "end marker missing (no damage)": no_end_marker,
}


def photographs(data: Path, count: int) -> list[bytes]:
    """JPEG files of as many sources as there are, in turn."""
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("0", "real") and row["format"] == "JPEG"]
    seen: Counter[str] = Counter()
    ranked = []
    for row in rows:
        ranked.append((seen[row["source"]], row["path"]))
        seen[row["source"]] += 1
    return [(data / path).read_bytes() for _, path in sorted(ranked)[:count]]


def again(data: bytes, **options: object) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray | None:
    """As aigiscan reads them, None for what has no score."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(decode_jpeg(data, image)).astype(int)
    except (JpegDamageError, OSError, SyntaxError, ValueError):
        return None


def refused_by_pillow(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return True
    return False


def outcome(changed: bytes, whole: np.ndarray) -> str:
    found = pixels(changed)
    if found is None:
        return "noticed"
    if found.shape != whole.shape:
        return "much"
    differing = float((np.abs(found - whole).reshape(*whole.shape[:2], -1).max(-1) > 16).mean())
    return "same" if np.array_equal(found, whole) else "little" if differing < 0.01 else "much"


def catch_rates(files: list[bytes], kind: str) -> None:
    rng = np.random.default_rng(0)
    for name, damage in WAYS.items():
        counts: Counter[str] = Counter()
        for data in files:
            begin = data.index(b"\xff\xda") + 14
            changed = bytearray(data)
            damage(changed, begin, data.rindex(b"\xff\xd9"), rng)
            whole = pixels(data)
            assert whole is not None
            counts[outcome(bytes(changed), whole)] += 1
            counts["pillow"] += refused_by_pillow(bytes(changed))
        shares = " | ".join(
            f"{counts[key] / len(files):.1%}" for key in ("noticed", "same", "little", "much", "pillow")
        )
        print(f"| {kind} | {name} | {shares} |", flush=True)


def times(files: list[bytes], rounds: int) -> None:
    def by_pillow(data: bytes) -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.load()

    def strictly(data: bytes) -> None:
        with Image.open(io.BytesIO(data)) as image:
            decode_jpeg(data, image)

    def both(data: bytes) -> None:
        by_pillow(data)
        strictly(data)

    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for way in (by_pillow, strictly, both):
            start = time.thread_time()
            for data in files:
                way(data)
            found.setdefault(way.__name__, []).append((time.thread_time() - start) / len(files))
    base = statistics.median(found["by_pillow"])
    for name, seconds in found.items():
        print(f"| {name} | {1e3 * statistics.median(seconds):.2f} | {statistics.median(seconds) / base:.2f} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    files = photographs(given.data, given.count)
    sound = sum(pixels(data) is not None for data in files)
    print(f"{len(files)} photographs, {sound} of them read\n")
    print("| JPEG | damage | noticed | same | little | much | Pillow refuses |\n|---|---|---|---|---|---|---|")
    catch_rates(files, "as it is")
    catch_rates([again(data, progressive=True) for data in files], "progressive")
    catch_rates([again(data, restart_marker_rows=1) for data in files], "restarts")
    print("\n| decoding | processor time per file, ms | of Pillow's |\n|---|---|---|")
    times(files, given.rounds)


if __name__ == "__main__":
    main()
