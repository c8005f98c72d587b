"""Explanations as files: a page, JSON, CSV and PNG in one folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from aigiscan.explain.draw import draw_explanation, draw_words
from aigiscan.explain.explanation import Explanation
from aigiscan.explain.page import ExplanationPage, entry_of
from aigiscan.files import make_folder, write_csv, write_file, write_json
from aigiscan.images.ahead import in_order
from aigiscan.images.thumbnails import side_for
from aigiscan.text import printable

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector

#: threads that write while the encoder works
_WRITERS = 2


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


class ExplanationFolder:
    """A folder of explanations, written as they come: ``index.html``, a page of all; ``STEM.json`` and ``STEM.png`` for
    every image; ``parts.csv`` for all.

    pictures: how many there will be; the more, the smaller they are on the page. The heat maps share one scale, the
    largest patch of all images. Two images of one stem get ``STEM_2`` and so on. An image that could not be read has a
    JSON file with its error alone. InputError if the folder cannot be written.
    """

    def __init__(self, out: Path, detector: Detector, pictures: int) -> None:
        self.out, self._side = make_folder(out), side_for(pictures)
        self._page = ExplanationPage(detector)
        self._taken = {"index", "parts", "words", "heads"}
        #: the JSON files so far
        self.paths: list[Path] = []

    def written(self, explanations: Iterable[Explanation]) -> Iterator[Explanation]:
        """Each explanation again, once its files are written; the page and the CSV are, when all are gone through."""
        with Spool() as spool:
            named = ((self.out / f"{_stem(e.path, self._taken)}.json", e) for e in explanations)
            for path, explanation, entry in in_order(self._write, named, _WRITERS, 2 * _WRITERS):
                self.paths.append(path)
                self._page.add(entry)
                spool.append(entry | {"all_parts": [*explanation.parts.items(), ("logit", explanation.logit)]})
                yield explanation
            if self._page.scale is not None:
                for path in self.paths:
                    _rescale(path, self._page.scale)
            rows = ([entry["path"], *part] for entry in spool for part in entry["all_parts"])
            write_csv(self.out / "parts.csv", ["path", "part", "contribution"], rows)
            write_file(self.out / "index.html", self._page.html(spool))

    def _write(self, named: tuple[Path, Explanation]) -> tuple[Path, Explanation, dict[str, Any]]:
        """In a thread: JPEG and PNG of one picture take as long as a small encoder does."""
        path, explanation = named
        write_json(path, {**explanation.to_json(), "patch_scale": None})
        if not explanation.error:
            draw_explanation(path.with_suffix(".png"), explanation, scale=None)
        return path, explanation, entry_of(explanation, path.name, self._side)


def write_explanations(out: Path, explanations: Sequence[Explanation], detector: Detector) -> list[Path]:
    """What :class:`ExplanationFolder` writes, of explanations that are there; the paths of the JSON files."""
    folder = ExplanationFolder(out, detector, len(explanations))
    for _ in folder.written(explanations):
        pass
    return folder.paths


def _rescale(path: Path, scale: float) -> None:
    """Once the scale of all maps is known, it goes into the JSON file, and the map into the picture beside it."""
    about = json.loads(path.read_text(encoding="utf-8"))
    if "error" in about:
        return
    write_json(path, {**about, "patch_scale": scale})
    drawn = path.with_suffix(".png")
    with Image.open(drawn) as picture:
        pixels = np.asarray(picture)
    draw_explanation(drawn, Explanation("", patches=np.array(about["patches"]), picture=pixels), scale=scale)


class Spool(Sequence[dict[str, Any]]):
    """A list of records on the disk; of a long run only their places are held."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._starts: list[int] = []

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one of values that JSON keeps."""
        self._starts.append(self._file.seek(0, os.SEEK_END))
        self._file.write(json.dumps(record).encode("ascii") + b"\n")

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: Any) -> Any:
        self._file.seek(self._starts[place])
        return json.loads(self._file.readline())

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _stem(path: str, taken: set[str]) -> str:
    """A name for a picture's files that is not among ``taken``; it is put there."""
    # Bytes that are no text would not survive in the name of a file on every system.
    stem = printable(Path(path).stem).replace("\\", "_") or "image"
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name.casefold())
    return name
