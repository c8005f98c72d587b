"""Image–text discrepancy: what is planted, and TIDY's ablations on the development images.

    python benchmarks/bench_discrepancy.py planted
    python benchmarks/bench_discrepancy.py DATA -o DIR [--most N]

planted: a tiny CLIP whose image and text tower share three colours (tests/planted_clip.py); a caption (or the phrase of
an object) names the picture's colour for photographs, another for fakes, and the colours are faint. AUC of a logistic
regression on the other half, on embeddings of length 1 and raw.

DATA: no captioner and no grounding model can be had without a network. A caption is what the file's name says of its
subject ("n02107142_Doberman.JPEG" → "a picture of doberman"); objects are not known. It writes DIR/manifest.csv, and
runs and prints the commands of the ablation.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MODES = ("text", "image", "global", "local", "both")
HEADS = {"logistic": [], "mlp": ["-c", "mlp", "-p", "logits=2", "-p", "standardize=false"]}


def planted() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import numpy as np
    from PIL import Image
    from planted_clip import COLOURS, FP32, write_planted_clip
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from aigiscan.encoders import EncoderOptions, create_encoder
    from aigiscan.encoders.companions import CompanionEncoder
    from aigiscan.features.discrepancy import DiscrepancyView
    from aigiscan.images.beside import Region, as_json
    from aigiscan.images.records import ImageRecord

    def faint(colour: str) -> Image.Image:
        values = rng.normal(110, 30, (32, 32, 3))
        values[..., COLOURS.index(colour)] += rng.uniform(2, 30)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))

    with tempfile.TemporaryDirectory() as folder:
        clip = create_encoder(write_planted_clip(Path(folder)), EncoderOptions(**FP32))
        encoder = CompanionEncoder(clip, "given", "given")
        found: dict[str, list[float]] = {}
        for seed in range(5):
            for where in ("caption", "object"):
                rng = np.random.default_rng(seed)
                y, inputs = np.tile([0, 1], 120), []
                for label in y:
                    colour = str(rng.choice(COLOURS))
                    said = str(rng.choice([c for c in COLOURS if c != colour])) if label else colour
                    picture, record = faint(colour), ImageRecord("", caption=f"a {said} photo")
                    if where == "object":
                        whole = Image.fromarray(rng.integers(60, 160, (64, 64, 3), dtype=np.uint8))
                        x, top = (int(v) * 32 for v in rng.integers(0, 2, 2))
                        whole.paste(picture, (x, top))
                        boxes = as_json([Region(f"a {said} thing", (x, top, x + 32, top + 32))])
                        picture, record = whole, ImageRecord("", caption="a photo", objects=boxes)
                    inputs.append(encoder.prepare_record(record, picture))
                channels = encoder.encode(inputs)
                for mode in MODES:
                    for raw in (False, True):
                        X = DiscrepancyView(mode, raw=raw).transform(channels)
                        X = (X - X[:120].mean(axis=0)) / (X[:120].std(axis=0) + 1e-9)
                        probe = LogisticRegression(C=0.01, max_iter=500).fit(X[:120], y[:120])
                        key = f"in the {where}, {mode}, {'raw' if raw else 'length 1'}"
                        found.setdefault(key, []).append(roc_auc_score(y[120:], probe.decision_function(X[120:])))
    for key, values in found.items():
        print(f"{key}: {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


def subject(row: dict[str, str]) -> str:
    """The words in the last part of a picture's own name or prompt, without numbers, ranks and codes."""
    named = row["group"] if row["source"] in ("latent_diffusion", "dalle_mini") else row["from"].split(":")[-1]
    name = re.split(r"[@#]", named)[0].rstrip("/").split("/")[-1].rsplit(".", 1)[0]
    words = [word.lower() for word in re.findall(r"[A-Za-z]{3,}", name)]
    return " ".join(word for word in words if word not in ("img", "image", "images", "photo", "fake", "real", "dsc"))


def development(data: Path, output: Path, most: int) -> None:
    output.mkdir(parents=True, exist_ok=True)
    with open(data / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    if most < len(rows):
        rows = random.Random(0).sample(rows, most)
    manifest, named = output / "manifest.csv", 0
    with open(manifest, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator", "family", "source", "group", "caption"])
        for row in rows:
            words = subject(row)
            named += bool(words)
            caption = f"a picture of {words}" if words else "a picture"
            known = [row[key] for key in ("label", "generator", "family", "source", "group")]
            writer.writerow([(data / row["path"]).absolute(), *known, caption])
    print(f"{named} of {len(rows)} names have words")
    store = output / "mini.h5"
    treatment = ("--precision", "fp32", "--equalize", "limit:512,jpeg:80")
    run("embed", manifest, "-o", store, "-e", "mini", "--captions", "given", *treatment)
    for raw in ("", ",raw"):
        for head, words in HEADS.items():
            views = [word for mode in MODES[:3] for word in ("--features", f"discrepancy:{mode}{raw}")]
            out = output / f"{head}{raw.replace(',', '-')}"
            run("evaluate", store, "-o", out, *views, *words, "--no-transfer", "--gallery", 0)
            print((out / "held-out_sources_summary.csv").read_text())


def run(*words: object) -> None:
    command = [str(word) for word in words]
    print("aigiscan", *command, flush=True)
    subprocess.run([sys.executable, "-m", "aigiscan", *command], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--most", type=int, default=10**9)
    args = parser.parse_args()
    if str(args.data) == "planted":
        planted()
    else:
        development(args.data, args.output, args.most)
