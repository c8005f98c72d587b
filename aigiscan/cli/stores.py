"""``aigiscan stores show``: what a store holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from aigiscan.store import EmbeddingStore

app = typer.Typer(no_args_is_help=True, help="Look into stores of embeddings.")
_LABELS = {0: "real", 1: "fake", -1: "unknown"}
_SHOWN_FAILURES = 20


@app.command("show")
def show(
    store: Path = typer.Argument(..., metavar="STORE", help="A store: NAME.h5 or a folder of parts."),
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
    for key, value in facts["fingerprint"].items():
        typer.echo(f"encoder {key}: {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo("versions: " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()))
    typer.echo(f"unreadable files: {len(facts['failures'])}")
    for path, error in facts["failures"][:_SHOWN_FAILURES]:
        typer.echo(f"  {path!r}: {error}")
    if len(facts["failures"]) > _SHOWN_FAILURES:
        typer.echo(f"  … and {len(facts['failures']) - _SHOWN_FAILURES} more (--json gives all)")


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
        "fingerprint": store.fingerprint,
        "versions": store.versions,
        "failures": [list(failure) for failure in store.failures],
    }
