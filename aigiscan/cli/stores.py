"""``aigiscan stores``: what a store holds, whether it is sound, and other forms of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console
from aigiscan.text import visible

if TYPE_CHECKING:
    from aigiscan.store import EmbeddingStore

app = typer.Typer(no_args_is_help=True, help="Look into stores of embeddings, check, pack, merge and export them.")
_LABELS = {0: "real", 1: "fake", -1: "unknown"}
_SHOWN_FAILURES = 20


@app.command("show")
def show(
    store: Path = typer.Argument(..., metavar="STORE", help="A store: a folder, or a packed file NAME.h5."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object instead of text, with all failures."),
) -> None:
    """Counts per label, generator and format; channels, encoder fingerprint, size; files that could not be read."""
    from aigiscan.store import EmbeddingStore

    with EmbeddingStore(store) as opened:
        facts = describe(opened)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"{store}: {facts['images']} images, {facts['bytes'] / 1e6:.1f} MB in {facts['files']} file(s)")
    if facts["unfinished"]:
        typer.echo("unfinished: run the same 'aigiscan embed' again to complete it")
    for name, (shape, dtype) in facts["channels"].items():
        typer.echo(f"channel {name}: {' x '.join(map(str, shape)) or 'one number'} {dtype} per image")
    for what in ("label", "generator", "family", "split", "source", "format"):
        counts = facts["counts"][what]
        if set(counts) != {""}:
            typer.echo(f"{what}: " + ", ".join(f"{key or '(none)'} {n}" for key, n in counts.items()))
    for what, n in facts["beside"].items():
        typer.echo(f"{what}: {n} of {facts['images']} images")
    for key, value in facts["fingerprint"].items():
        typer.echo(f"encoder {key}: {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo("versions: " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()))
    typer.echo(f"unreadable files: {len(facts['failures'])}")
    for path, error in facts["failures"][:_SHOWN_FAILURES]:
        typer.echo(f"  {path!r}: {error}")
    if len(facts["failures"]) > _SHOWN_FAILURES:
        typer.echo(f"  … and {len(facts['failures']) - _SHOWN_FAILURES} more (--json gives all)")


@app.command("pack")
def pack(
    store: Path = typer.Argument(..., metavar="STORE", help="The store to pack."),
    output: Path = typer.Argument(..., metavar="OUT.h5", help="The file to write."),
) -> None:
    """Write a store as one HDF5 file, for other programs, other machines, or to keep."""
    from aigiscan.store import EmbeddingStore
    from aigiscan.store.exchange import pack as pack_store

    with EmbeddingStore(store) as opened:
        pack_store(opened, output)
        console.note(f"packed {len(opened)} images into {output}, {output.stat().st_size / 1e6:.1f} MB")


@app.command("merge")
def merge(
    stores: list[Path] = typer.Argument(..., metavar="STORE...", help="Stores of one encoder."),
    output: Path = typer.Option(..., "--output", "-o", help="Store to make, or to add to: a folder or NAME.h5."),
) -> None:
    """Put the rows of several stores into one; of a picture in several of them the last given holds."""
    from aigiscan.store import EmbeddingStore
    from aigiscan.store.exchange import merge as merge_stores

    merge_stores(stores, output)
    with EmbeddingStore(output) as opened:
        console.note(f"{output}: {len(opened)} images, {opened.size / 1e6:.1f} MB")


@app.command("export")
def export(
    store: Path = typer.Argument(..., metavar="STORE", help="The store to export."),
    output: Path = typer.Argument(..., metavar="OUT", help="Table to write: NAME.csv or NAME.parquet."),
    channel: list[str] = typer.Option([], "--channel", help="Also the numbers of this channel (repeatable)."),
) -> None:
    """Write the row table as CSV or Parquet, with the numbers of some channels if wanted."""
    from aigiscan.store import EmbeddingStore
    from aigiscan.store.exchange import export as export_store

    with EmbeddingStore(store) as opened:
        export_store(opened, output, channel)
        console.note(f"wrote {output}: {len(opened)} images")


@app.command("verify")
def verify(store: Path = typer.Argument(..., metavar="STORE", help="The store to check.")) -> None:
    """Read a store whole: every file against the digests it was written with, rows against parts. Exit 1 if anything
    is wrong."""
    from aigiscan.store.verify import verify as verify_store

    findings = list(verify_store(store))
    for finding in findings:
        typer.echo(f"{visible(str(finding.file))}: {visible(finding.what)}; {finding.advice}")
    if findings:
        raise typer.Exit(1)
    typer.echo(f"{visible(str(store))}: everything is as it was written")


def _beside(store: EmbeddingStore) -> dict[str, int]:
    """How many images have a caption, objects and a twin, of what the store knows at all."""
    import numpy as np

    known = {"captions": np.asarray(store.rows.caption) != ""}
    if "objects" in store.channels:
        known["objects"] = store.read("objects") > 0
    if "twin" in store.channels:
        known["twins"] = np.ones(len(store), dtype=bool)
    return {name: int(mask.sum()) for name, mask in known.items() if mask.any() or name != "captions"}


def describe(store: EmbeddingStore) -> dict:
    """Everything ``show`` prints, as JSON values; counts are sorted by number, then name."""

    def count(values: list[str]) -> dict[str, int]:
        return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))

    rows = store.rows
    counts = {"label": count([_LABELS.get(int(v), str(v)) for v in rows.label])}
    for name in ("generator", "family", "split", "source", "format"):
        counts[name] = count(getattr(rows, name).tolist())
    return {
        "images": len(store),
        "bytes": store.size,
        "files": len(store.files),
        "unfinished": store.unfinished,
        "channels": {name: [list(s.shape), s.dtype] for name, s in sorted(store.channels.items())},
        "counts": counts,
        "beside": _beside(store),
        "fingerprint": store.fingerprint,
        "versions": store.versions,
        "failures": [list(failure) for failure in store.failures],
    }
