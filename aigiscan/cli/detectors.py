"""``aigiscan detectors``: what detectors and classifiers there are, and what a card says."""

from __future__ import annotations

from pathlib import Path

import typer

from aigiscan.cli import console

app = typer.Typer(no_args_is_help=True, help="List, show and import detectors.")


@app.command("list")
def list_detectors() -> None:
    """The detectors shipped with this installation, one per line: name, encoder, grade."""
    from aigiscan.detector.card import read_card
    from aigiscan.encoders.weights import shipped_models_dir
    from aigiscan.errors import DetectorError

    for folder in sorted(shipped_models_dir().iterdir()):
        try:
            card = read_card(folder)
        except DetectorError:  # weights of an encoder lie beside the detectors
            continue
        typer.echo(f"{folder.name}\t{card.encoder['name']}\t{card.grade}")


@app.command("show")
def show(detector: str = typer.Argument(..., help="Detector folder or name.")) -> None:
    """Print the card of a detector: encoder, training set, thresholds, figures, limits."""
    from aigiscan.detector.card import CARD_NAME
    from aigiscan.detector.detector import Detector, resolve_detector

    Detector.load(detector)  # tampered or unreadable folders are refused rather than shown
    typer.echo((Path(resolve_detector(detector)) / CARD_NAME).read_text(encoding="utf-8"), nl=False)


@app.command("classifiers")
def classifiers() -> None:
    """The classifiers `fit --classifier` knows, with their parameters and defaults."""
    from aigiscan.classifiers import CLASSIFIERS, make_classifier

    rows = []
    for name in CLASSIFIERS:
        made = make_classifier(name)
        params = ", ".join(f"{k}={v!r}" for k, v in made.get_params().items())
        rows.append((name, (type(made).__doc__ or "").strip().splitlines()[0]))
        typer.echo(f"{name}\t{params}")
    console.table("classifiers", ("name", "what it is"), rows)
