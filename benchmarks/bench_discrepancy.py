"""Image–text discrepancy on the development images: a manifest with captions and boxes, then TIDY's ablations.

    python benchmarks/bench_discrepancy.py DATA -o DIR

No captioner and no grounding model can be had without a network. A caption is what the file's name says of its subject
("n02107142_Doberman.JPEG" → "a picture of doberman"), the one object the central half of the picture with the same
words. It writes DIR/manifest.csv and runs, and prints, the commands of the ablation.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

MODES = ("text", "image", "global", "local", "both")
SETTINGS = {
    "normalised": [f"discrepancy:{mode}" for mode in MODES],
    "raw": [f"discrepancy:{mode},raw" for mode in MODES],
}
HEAD = ["-c", "mlp", "-p", "logits=2", "-p", "standardize=false"]


def subject(row: dict[str, str]) -> str:
    """The words in the last part of a picture's own name or prompt, without numbers, ranks and codes."""
    named = row["group"] if row["source"] in ("latent_diffusion", "dalle_mini") else row["from"].split(":")[-1]
    name = re.split(r"[@#]", named)[0].rstrip("/").split("/")[-1].rsplit(".", 1)[0]
    words = [word.lower() for word in re.findall(r"[A-Za-z]{3,}", name)]
    return " ".join(word for word in words if word not in ("img", "image", "images", "photo", "fake", "real", "dsc"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with open(args.data / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    manifest = args.output / "manifest.csv"
    named = 0
    with open(manifest, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator", "family", "source", "group", "caption", "objects"])
        for row in rows:
            words = subject(row)
            named += bool(words)
            caption = f"a picture of {words}" if words else "a picture"
            width, height = int(row["width"]), int(row["height"])
            box = [width / 4, height / 4, 3 * width / 4, 3 * height / 4]
            objects = json.dumps([{"phrase": words or "a picture", "box": box}])
            path = (args.data / row["path"]).absolute()
            writer.writerow(
                [path, *(row[k] for k in ("label", "generator", "family", "source", "group")), caption, objects]
            )
    print(f"{named} of {len(rows)} names have words")
    store = args.output / "mini.h5"
    beside = ("--captions", "given", "--objects", "given")
    run("embed", manifest, "-o", store, "-e", "mini", "--precision", "fp32", *beside, "--equalize", "limit:512,jpeg:80")
    for name, features in SETTINGS.items():
        views = [word for feature in features for word in ("--features", feature)]
        for classifier, head in (("logistic", []), ("mlp", HEAD)):
            out = args.output / f"{name}-{classifier}"
            run("evaluate", store, "-o", out, *views, *head, "--no-transfer", "--gallery", 0)
            print((out / "held-out_sources_summary.csv").read_text())


def run(*words: object) -> None:
    command = [str(word) for word in words]
    print("aigiscan", *command, flush=True)
    subprocess.run([sys.executable, "-m", "aigiscan", *command], check=True)


if __name__ == "__main__":
    main()
