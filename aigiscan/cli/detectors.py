"""``aigiscan detectors``: what detectors and classifiers there are, and what a card says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console

if TYPE_CHECKING:
    from aigiscan.detector.card import Card

app = typer.Typer(no_args_is_help=True, help="List, show and import detectors.")


@app.command("list")
def list_detectors() -> None:
    """The detectors there are by name, one per line: name, encoder, grade, and what is to be downloaded for it."""
    from aigiscan.detector.card import read_card
    from aigiscan.encoders.weights import shipped_models_dir
    from aigiscan.errors import DetectorError

    for folder in sorted(shipped_models_dir().iterdir()):
        try:
            card = read_card(folder)
        except DetectorError:  # weights of an encoder lie beside the detectors
            continue
        console.out(f"{folder.name}\t{card.encoder['name']}\t{card.grade}\t{_to_download(card)}\n")


def _to_download(card: Card) -> str:
    """``here``, or head and encoder with their sizes as far as they are known."""
    from aigiscan.detector.published import cached_at
    from aigiscan.encoders.catalogue import entry_of

    if not card.published:
        return "here"
    parts = []
    if not (card.published.get("sha256") and card.published.get("url")):
        parts.append("the head by `detectors import`")
    elif not cached_at(card).is_file():
        size = card.published.get("bytes")
        parts.append(f"the head ({f'{size / 1e3:.0f} kB' if size else 'some kB'})")
    entry = entry_of(card.encoder["name"])
    if entry is not None and not entry.here():
        parts.append(f"the encoder ({entry.megabytes:.0f} MB)")
    return f"to come: {', '.join(parts)}" if parts else "here"


@app.command("show")
def show(
    detector: str = typer.Argument(..., help="Detector folder or name."),
    full: bool = typer.Option(False, "--full", help="The whole card as YAML: counts, figures per generator, versions."),
) -> None:
    """What a detector promises, its figures, limits and training on a page; all of its card with --full."""
    from aigiscan.cli.card_text import card_text
    from aigiscan.detector.card import CARD_NAME, read_card
    from aigiscan.detector.detector import Detector, resolve_detector

    folder = resolve_detector(detector)
    if (folder / "weights.safetensors").exists():
        Detector.load(folder)  # tampered folders are refused rather than shown
    console.out((folder / CARD_NAME).read_text(encoding="utf-8") if full else card_text(read_card(folder), detector))


@app.command("classifiers")
def classifiers() -> None:
    """The classifiers `fit --classifier` knows, with their parameters and defaults."""
    from aigiscan.classifiers import CLASSIFIERS, make_classifier

    rows = []
    for name in CLASSIFIERS:
        made = make_classifier(name)
        params = ", ".join(f"{k}={v!r}" for k, v in made.get_params().items())
        rows.append((name, (type(made).__doc__ or "").strip().splitlines()[0]))
        console.out(f"{name}\t{params}\n")
    console.table("classifiers", ("name", "what it is"), rows)


@app.command("import")
def import_published(
    kind: str = typer.Argument(..., help="Which head, as `aigiscan detectors list` names it, e.g. unifd."),
    file: Path = typer.Argument(..., help="The published file, e.g. fc_weights.pth; no code from it is run."),
    output: Path = typer.Option(..., "--output", "-o", help="Detector folder to write."),
    encoder: str | None = typer.Option(
        None, "--encoder", "-e", help="Encoder, if its weights lie elsewhere, e.g. ViT-L-14-quickgelu/FILE.safetensors."
    ),
) -> None:
    """Make a detector of a published head. Its thresholds come from your photographs: `aigiscan calibrate`."""
    from aigiscan.detector.detector import Detector, check_target
    from aigiscan.detector.published import import_published

    check_target(output)
    detector = Detector(*import_published(kind, file, output.name, encoder or "")).save(output)
    for limit in detector.card.limits:
        console.note(limit)
    console.note(f"wrote {output}")
