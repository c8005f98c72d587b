"""``scan --provenance-only`` against ``exiftool -fast2 -j`` on the same files, whole commands, in turn.

    python benchmarks/bench_provenance.py DATA [--rounds 3]

DATA: a folder of pictures. exiftool reads more tags (with -fast2 no trailers and no maker notes); aigiscan decides what
the tags mean, reads trailers and verifies C2PA. Also how many claims there are, by kind and by AI or not, with the
labels of the data set's manifest where DATA has one: photographs that say AI would be false claims.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        ours = [sys.executable, "-m", "aigiscan", "scan", args.data, "--provenance-only", "--format", "jsonl"]
        theirs = ["exiftool", "-fast2", "-j", "-r", "-q", "-q", args.data]
        seconds: dict[str, list[float]] = {"aigiscan": [], "exiftool": []}
        for _ in range(args.rounds):
            for name, command in (("aigiscan", ours), ("exiftool", theirs)):
                if name == "exiftool" and not shutil.which("exiftool"):
                    continue
                with open(report if name == "aigiscan" else Path(folder) / "exiftool.json", "wb") as out:
                    start = time.perf_counter()
                    subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=name == "aigiscan")
                    seconds[name].append(time.perf_counter() - start)
        rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    files = len(rows)
    for name, took in seconds.items():
        if took:
            each = ", ".join(f"{t:.2f}" for t in took)
            print(f"{name}: {files / statistics.median(took):.0f} files/s ({each} s for {files})")
    if seconds["exiftool"]:
        ratios = [b / a for a, b in zip(seconds["aigiscan"], seconds["exiftool"], strict=True)]
        print(f"exiftool's time over ours: {statistics.median(ratios):.2f}")
    labels = {}
    if (args.data / "manifest.csv").is_file():
        with open(args.data / "manifest.csv", newline="", encoding="utf-8") as file:
            labels = {str(args.data / row["path"]): row["label"] for row in csv.DictReader(file)}
    kinds = collections.Counter(
        (labels.get(row["path"], "?"), claim["kind"], "ai" if claim["ai"] else "")
        for row in rows
        for claim in row["claims"]
    )
    for (label, kind, ai), number in sorted(kinds.items()):
        print(f"label {label}: {kind} {ai}: {number}")


if __name__ == "__main__":
    main()
