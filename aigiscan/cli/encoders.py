"""``aigiscan encoders``: what encoders there are, what one is, and its weights ahead of use."""

from __future__ import annotations

import typer

from aigiscan.cli import console

app = typer.Typer(no_args_is_help=True, help="List and show encoders, and download their weights ahead.")


@app.command("list")
def list_encoders() -> None:
    """Families, with input, licence, towers, channels, cost and size; any other name of open_clip or timm does too."""
    from aigiscan.encoders.catalogue import CATALOGUE
    from aigiscan.encoders.registry import ENCODERS

    header = ("name", "input", "licence", "text", "heads", "blocks", "GFLOPs", "MB")
    console.out("\t".join(header) + "\n")
    for entry in CATALOGUE:
        flags = ("yes" if value else "no" for value in (entry.text, entry.heads, entry.blocks))
        numbers = (f"{entry.gflops:.0f}", f"{entry.megabytes:.0f}")
        console.out("\t".join((entry.name, str(entry.side), entry.licence, *flags, *numbers)) + "\n")
    for kind in ENCODERS.values():
        console.note(f"{kind.usage}: {kind.about}")


@app.command("show")
def show(name: str = typer.Argument(..., metavar="NAME", help="An encoder, e.g. ViT-L-14/openai.")) -> None:
    """What an encoder is, told without its weights: columns, input, licence, channels, cost, size, place."""
    from aigiscan.encoders.catalogue import facts_of

    facts = facts_of(name)
    entry = facts.entry
    lines = {"name": entry.name, "columns": facts.columns, "licence": entry.licence}
    if facts.parameters:
        lines |= {
            "input": f"{entry.side} pixels",
            "text tower": "yes" if entry.text else "no",
            "heads": "yes (--heads)" if entry.heads else "no",
            "blocks": "yes (--blocks)" if entry.blocks else "no",
            "cost": f"about {entry.gflops:.3g} GFLOPs a picture (a multiplication and an addition are two)",
            "parameters": f"{facts.parameters / 1e6:.4g} million, about {entry.megabytes:.4g} MB in float32",
        }
    lines["weights"] = "nothing to download"
    if facts.remote is not None:
        here = facts.remote.cached()
        lines["weights"] = f"here: {here}" if here else f"to be downloaded: {facts.remote.address}"
    for key, value in lines.items():
        console.out(f"{key}: {value}\n")


@app.command("fetch")
def fetch(
    name: str = typer.Argument(..., metavar="NAME", help="An encoder; several joined by + are fetched one by one."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be downloaded, and how much of it."),
) -> None:
    """Download an encoder's weights ahead; afterwards everything works without a network."""
    from aigiscan.encoders import create_encoder
    from aigiscan.encoders.catalogue import facts_of

    whole = create_encoder(name)
    for part in getattr(whole, "parts", [whole]):
        remote = part.remote()
        here = None if remote is None else remote.cached()
        if remote is None or here is not None:
            console.out(f"{part.name}: {'nothing to download' if here is None else f'here: {here}'}\n")
            continue
        about = f"{remote.address}, about {facts_of(part.name).entry.megabytes:.4g} MB"
        if dry_run:
            console.out(f"{part.name}: {about}\n")
            continue
        console.note(f"downloading {about}")
        source = getattr(part, "source", part)
        console.out(f"{part.name}: here: {source.weights()}\n")
