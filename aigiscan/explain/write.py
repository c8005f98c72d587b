"""Explanations as files: a page, JSON, CSV and PNG in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.explain.draw import draw_explanation, draw_words
from aigiscan.explain.explanation import Explanation
from aigiscan.explain.page import ExplanationPage
from aigiscan.files import make_folder, write_csv, write_file, write_json
from aigiscan.text import printable

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector


def write_words(out: Path, words: Mapping[str, Any]) -> list[Path]:
    """``words.json``, ``words.csv`` and, where there are words, ``words.png``; returns their paths."""
    make_folder(out)
    paths = [out / "words.json", out / "words.csv"]
    write_json(paths[0], words)
    header = ["scope", "list", "side", "rank", "text", "kind", "cosine"]
    write_csv(paths[1], header, ([row[name] for name in header] for row in word_rows(words)))
    if any(words.get(kind, {}).get("positive") for kind in ("phrases", "tokens")):
        paths.append(out / "words.png")
        draw_words(paths[-1], words, f"{words['detector']} in words")
    return paths


def word_rows(words: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All words as flat rows; scope is ``weights``, ``head L:H``, ``residual NAME`` or ``weights NAME``."""
    scopes: list[tuple[str, Mapping[str, Any]]] = [("weights", words)]
    scopes += [(f"head {name}", entry) for name, entry in words.get("heads", {}).items()]
    for name, entry in words.get("generators", {}).items():
        scopes += [(f"residual {name}", entry), (f"weights {name}", entry["weights"])]
    for scope, entry in scopes:
        for kind in ("phrases", "tokens"):
            for side in ("positive", "negative"):
                for rank, word in enumerate(entry.get(kind, {}).get(side, []), start=1):
                    yield {"scope": scope, "list": kind, "side": side, "rank": rank, "kind": "", **word}


def write_heads(out: Path, entries: Sequence[Mapping[str, Any]], source: str) -> list[Path]:
    """``heads.json`` and ``heads.csv`` (table 2); returns their paths."""
    make_folder(out)
    paths = [out / "heads.json", out / "heads.csv"]
    write_json(paths[0], {"source": source, "heads": list(entries)})
    rows = (
        [entry["layer"], entry["head"], side, rank, word["text"], word["cosine"]]
        for entry in entries
        for side in ("positive", "negative")
        for rank, word in enumerate(entry[side], start=1)
    )
    write_csv(paths[1], ["layer", "head", "side", "rank", "text", "cosine"], rows)
    return paths


def write_explanations(out: Path, explanations: Sequence[Explanation], detector: Detector) -> list[Path]:
    """``index.html``, a page of all; ``STEM.json`` and ``STEM.png`` for every image; ``parts.csv`` for all.

    Returns the JSON paths. The heat maps share one scale, the largest patch of all images. Two images of one stem get
    ``STEM_2`` and so on. An image that could not be read has a JSON file with its error alone.
    """
    make_folder(out)
    largest = [float(np.abs(e.patches).max()) for e in explanations if e.patches is not None]
    scale = max([1e-12, *largest])
    paths = []
    for stem, explanation in zip(_stems(explanations), explanations, strict=True):
        paths.append(out / f"{stem}.json")
        write_json(paths[-1], {**explanation.to_json(), "patch_scale": scale if largest else None})
        if not explanation.error:
            draw_explanation(out / f"{stem}.png", explanation, scale=scale)
    rows = ([e.path, name, value] for e in explanations for name, value in [*e.parts.items(), ("logit", e.logit)])
    write_csv(out / "parts.csv", ["path", "part", "contribution"], rows)
    write_file(out / "index.html", ExplanationPage(explanations, detector, scale).html([path.name for path in paths]))
    return paths


def _stems(explanations: Iterable[Explanation]) -> Iterator[str]:
    taken: set[str] = {"index", "parts", "words", "heads"}
    for explanation in explanations:
        # Bytes that are no text would not survive in the name of a file on every system.
        stem = printable(Path(explanation.path).stem).replace("\\", "_") or "image"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        yield name
