"""``aigiscan select-heads`` and ``select-layers``: which parts of an encoder transfer between two generators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aigiscan.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.parts import PartData, PartSearch


def select_heads(
    store: Path = typer.Argument(..., help="Store of labelled images with heads (aigiscan embed --heads)."),
    train: options.Train = ...,  # type: ignore[assignment]
    validate: options.Validate = ...,  # type: ignore[assignment]
    output: options.Selection = ...,  # type: ignore[assignment]
    top: int = typer.Option(3, "--top", min=1, help="Heads to keep."),
    strategy: options.Strategy = "top",
    among: options.Among = 0,
    C: options.Penalty = 1.0,
    tune: options.Tune = False,
    score: options.Score = "accuracy",
    intercept: options.Intercept = False,
    seed: options.SplitSeed = 0,
    jobs: options.Jobs = 1,
    plot: Path | None = typer.Option(None, "--plot", help="Layer × head heat map of the scores (.png, .pdf, .svg)."),
    backend: options.Backend = "local",
    scheduler: options.Scheduler = "",
) -> None:
    """Fit one regression per attention head on one generator, score it on another, keep the best heads."""
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.heads import head_data, store_factors
    from aigiscan.store import EmbeddingStore

    options.check_backend(backend, scheduler)
    chosen = SearchOptions(C=C, score=score, intercept=intercept)
    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
        factors = store_factors(opened)
        data = head_data(opened, train, validate, factors, seed=seed)
    how = {"top": top, "strategy": strategy, "among": among, "jobs": jobs, "scheduler": scheduler}
    found = _search("heads", store, fingerprint, (train, validate), data, chosen, how, tune, seed, output)
    if plot is not None:
        from aigiscan.search.parts import score_grid
        from aigiscan.search.plots import plot_heads

        title = f"one regression per head, {train} → {validate}"
        plot_heads(score_grid(found.ranking, factors.shape[:2]), found.kept, title, score, plot)
        console.note(f"wrote {plot}")


def select_layers(
    store: Path = typer.Argument(..., help="Store of labelled images with blocks (aigiscan embed --blocks)."),
    train: options.Train = ...,  # type: ignore[assignment]
    validate: options.Validate = ...,  # type: ignore[assignment]
    output: options.Selection = ...,  # type: ignore[assignment]
    top: int = typer.Option(1, "--top", min=1, help="Layers to keep."),
    strategy: options.Strategy = "top",
    among: options.Among = 0,
    C: options.Penalty = 1.0,
    tune: options.Tune = False,
    score: options.Score = "accuracy",
    intercept: options.Intercept = False,
    seed: options.SplitSeed = 0,
    jobs: options.Jobs = 1,
    plot: Path | None = typer.Option(None, "--plot", help="Curve of the scores over depth (.png, .pdf, .svg)."),
    backend: options.Backend = "local",
    scheduler: options.Scheduler = "",
) -> None:
    """Fit one regression per layer on one generator, score it on another, keep the best layers."""
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.layers import layer_data
    from aigiscan.store import EmbeddingStore

    options.check_backend(backend, scheduler)
    chosen = SearchOptions(C=C, score=score, intercept=intercept)
    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
        data = layer_data(opened, train, validate, seed=seed)
    how = {"top": top, "strategy": strategy, "among": among, "jobs": jobs, "scheduler": scheduler}
    found = _search("layers", store, fingerprint, (train, validate), data, chosen, how, tune, seed, output)
    if plot is not None:
        from aigiscan.search.parts import score_grid
        from aigiscan.search.plots import plot_layers

        title = f"one regression per layer, {train} → {validate}"
        plot_layers(
            score_grid(found.ranking, (len(data.names),)), [layer for (layer,) in found.kept], title, score, plot
        )
        console.note(f"wrote {plot}")


def _search(
    kind: str,
    store: Path,
    fingerprint: Mapping[str, Any],
    sides: tuple[str, str],
    data: PartData,
    chosen: SearchOptions,
    how: dict[str, Any],
    tune: bool,
    seed: int,
    output: Path,
) -> PartSearch:
    """Search, say what was found, write the selection."""
    from aigiscan.classifiers.grid import PAPER_C
    from aigiscan.cli.select_features import warn_of_chance
    from aigiscan.features.selection import write_yaml
    from aigiscan.search.parts import PART_KEYS, as_yaml, search_parts
    from aigiscan.search.problem import counts

    if how["strategy"] == "pairs":
        how = {**how, "top": 2}
    for what, generator, labels in (("fit", sides[0], data.y), ("score", sides[1], data.z)):
        found_counts = counts(labels)
        console.note(f"to {what}: {found_counts['real']} photographs, {found_counts['fake']} of {generator}")
    found = search_parts(data, chosen, Cs=PAPER_C if tune else (), **how)
    settings = {"strategy": how["strategy"], "tuned": tune, "seed": seed}
    content = as_yaml(kind, fingerprint, sides, data, found, chosen, settings)
    write_yaml(output, content)

    def name(part: tuple[int, ...]) -> str:
        return " ".join(f"{key} {number}" for key, number in zip(PART_KEYS[kind], part, strict=True))

    rows = [(name(s.parts[0]), s.score, s.log_loss, s.C) for s in found.ranking[:10]]
    console.table(f"best {kind}, {sides[0]} → {sides[1]}", (kind[:-1], chosen.score, "log loss", "C"), rows)
    console.note(f"wrote {output}: {', '.join(name(part) for part in found.kept)}; {found.together.score:.4f} together")
    warn_of_chance(found.together.score, content["chance"], " → ".join(sides), f"the best of {len(data.names)} {kind}")
    penalty = f" --C {found.together.C:g}" if tune else ""
    console.note(f"use it with: aigiscan fit {store} --features {kind}:{output}{penalty}")
    return found
