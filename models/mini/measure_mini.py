"""Measure `mini`: words on photographs it never saw, and a linear probe on sources it never saw.

    python models/mini/measure_mini.py --data ../shared/data --cache DIR [--model FOLDER] [-o figures.json]

DIR holds the decoded pictures of a training run (made if absent). The probe is fitted on equalised pictures
(square:224,jpeg:75), in ten folds that leave out whole generators and whole photo sources at once, and once more with
only what `mini` itself never saw as the test.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from mini_evaluate import PAIRS, accuracies, is_clear, pair_scores, photographs_kept_out
from mini_photos import Cache, held_out_sources, open_cache
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aigiscan.classifiers.folds import source_folds, train_test
from aigiscan.encoders import create_encoder
from aigiscan.encoders.base import Encoder, EncoderOptions
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import ImageRecord
from aigiscan.metrics import auc, recall_at
from aigiscan.runner import run

SEED = 7
EQUALIZATION = "square:224,jpeg:75"


def embed_images(encoder: Encoder, images: list[Image.Image]) -> np.ndarray:
    """(n, d), each of length 1."""
    parts = []
    for start in range(0, len(images), 32):
        batch = [encoder.prepare(image) for image in images[start : start + 32]]
        parts.append(encoder.encode(batch)["embedding"])
    x = np.concatenate(parts)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def words(encoder: Encoder, cache: Cache, held: set[str], limit: int) -> dict[str, Any]:
    """Zero-shot accuracies of the caption pairs, on all photographs and on those with detail and colour."""
    pictures = [Image.fromarray(cache.picture(p)) for p in photographs_kept_out(cache, held, limit)]
    scores = pair_scores(pictures, lambda images: embed_images(encoder, images), lambda t: encoder.encode_text(t))
    clear = np.array([is_clear(picture) for picture in pictures])
    blurred = embed_images(encoder, [PAIRS["blur"].treat(picture, i) for i, picture in enumerate(pictures)])
    upscaled = encoder.encode_text([PAIRS["upscaled"].says_treated, PAIRS["upscaled"].says_contrary])
    return {
        "blurred_called_upscaled": round(float((blurred @ (upscaled[0] - upscaled[1]) > 0).mean()), 3),
        "all": {"photographs": len(pictures), **_rounded(accuracies(scores))},
        "clear": {"photographs": int(clear.sum()), **_rounded(accuracies(scores, clear))},
    }


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def fit_probe(X: np.ndarray, y: np.ndarray, sources: np.ndarray) -> Any:
    """Logistic regression; each source weighs √(min(1, n/40)), real and generated weigh the same."""
    _, of, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weight = (np.sqrt(np.minimum(1, counts / 40)) / counts)[of]
    for label in (0, 1):
        weight[y == label] *= len(y) / 2 / weight[y == label].sum()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=2000))
    return model.fit(X, y, logisticregression__sample_weight=weight)


def per_generator(scores: np.ndarray, y: np.ndarray, sources: np.ndarray) -> dict[str, tuple[float, float, int]]:
    """Generator → (AUC, recall at 5 % false alarms, n) against all photographs given."""
    result = {}
    for name in np.unique(sources[y == 1]):
        rows = (y == 0) | (sources == name)
        figures = auc(y[rows], scores[rows]), recall_at(y[rows], scores[rows], 0.05)
        result[str(name)] = (round(float(figures[0]), 3), round(float(figures[1]), 3), int((sources == name).sum()))
    return result


def probe(encoder: Encoder, data: Path, cache: Cache, held: set[str]) -> dict[str, Any]:
    """AUC of linear probes on generators and photo sources left out together."""
    records = [ImageRecord(path=str(data / p.path), label=p.label) for p in cache.photos]
    rows = list(run(records, encoder, equalization=Equalization.parse(EQUALIZATION), workers=1))
    X = np.stack([row.channels["embedding"] for row in rows if row.channels is not None])
    assert len(X) == len(records)
    y = np.array([p.label for p in cache.photos])
    sources = np.array(["stylegan2" if p.source == "stylegan2_ffhq" else p.source for p in cache.photos])
    groups = [p.group for p in cache.photos]
    found: dict[str, list[tuple[float, float, int]]] = {}
    for train, test in train_test(source_folds(y, sources, groups, 10, 0), groups):
        scores = fit_probe(X[train], y[train], sources[train]).decision_function(X[test])
        for name, figures in per_generator(scores, y[test], sources[test]).items():
            found.setdefault(name, []).append(figures)
    folds = {name: value[0] for name, value in sorted(found.items(), key=lambda item: item[1][0][0])}
    # Stylegan2 is of both kinds: its faces were trained on, the rest was not.
    unseen = np.array([p.source in held and p.source != "stylegan2" for p in cache.photos])
    seen = np.array([p.source not in held for p in cache.photos])
    scores = fit_probe(X[seen], y[seen], sources[seen]).decision_function(X[unseen])
    clean = per_generator(scores, y[unseen], sources[unseen])
    text = encoder.encode_text(["an ai generated photo", "a real photo"])
    said = X @ (text[0] - text[1]) / np.linalg.norm(X, axis=1)
    return {
        "equalization": EQUALIZATION,
        "zero_shot": {
            "auc_seen": round(float(auc(y[seen], said[seen])), 3),
            "auc_never_seen": round(float(auc(y[unseen], said[unseen])), 3),
            "photographs_called_real_never_seen": round(float((said[unseen & (y == 0)] < 0).mean()), 3),
            "generated_called_generated_never_seen": round(float((said[unseen & (y == 1)] > 0).mean()), 3),
        },
        "folds_mean_auc": round(float(np.mean([v[0] for v in folds.values()])), 3),
        "folds_mean_recall_at_5_percent": round(float(np.mean([v[1] for v in folds.values()])), 3),
        "folds_auc_recall_n": folds,
        "never_seen_mean_auc": round(float(np.mean([v[0] for v in clean.values()])), 3),
        "never_seen_auc_recall_n": dict(sorted(clean.items(), key=lambda item: item[1][0])),
    }


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--cache", required=True, type=Path)
    parser.add_argument("--model", default="mini", help="a folder with weights and configuration, or an encoder name")
    parser.add_argument("--photos", type=int, default=150)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--only", choices=("words", "probe"))
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    name = f"open_clip:local-dir:{Path(args.model).resolve()}" if Path(args.model).is_dir() else args.model
    encoder = create_encoder(name, EncoderOptions(precision=args.precision))
    cache = open_cache(args.data, args.cache)
    held = held_out_sources(cache.photos, SEED)
    start = time.time()
    result: dict[str, Any] = {"data_digest": cache.digest, "held_out": sorted(held)}
    if args.only != "probe":
        result["words"] = words(encoder, cache, held, args.photos)
    if args.only != "words":
        result["probe"] = probe(encoder, args.data, cache, held)
    result["seconds"] = round(time.time() - start)
    text = json.dumps(result, indent=1)
    if args.output:
        args.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
