"""``aigiscan select-heads`` and ``select-layers``: which parts of an encoder transfer between two generators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aigiscan.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.parts import PartData, PartSearch

_TRAIN = typer.Option(..., "--train", help="Generator whose fakes the regressions are fitted on.")
_VALIDATE = typer.Option(..., "--validate", help="Generator whose fakes they are scored on.")
_OUTPUT = typer.Option(..., "--output", "-o", help="Selection to write (YAML).")
_STRATEGY = typer.Option(
    "top", "--strategy", help="top: the best alone; forward: one after the other; pairs: the best pair."
)
_AMONG = typer.Option(0, "--among", min=0, help="forward and pairs: try only so many of the best (0: all).")
_C = typer.Option(1.0, "--C", help="Inverse strength of the L2 penalty.")
_TUNE = typer.Option(
    False, "--tune/--no-tune", help="Fit with each C of the paper's grid; the best on the validation side counts."
)
_SCORE = typer.Option("accuracy", "--score", help="What counts: accuracy (balanced, at 0), auc or ap.")
_INTERCEPT = typer.Option(False, "--intercept/--no-intercept", help="Fit a bias term; it has no penalty.")
_SEED = typer.Option(0, "--seed", help="Seed of the 7:3 split by group, where the manifest has no split.")
_JOBS = typer.Option(1, "--jobs", "-j", min=1, help="Processes.")
_BACKEND = typer.Option("local", "--backend", help="local, or dask: on an existing cluster.")
_SCHEDULER = typer.Option("", "--scheduler", help="Address of the Dask scheduler, e.g. tcp://HOST:8786.")


def select_heads(
    store: Path = typer.Argument(..., help="Store of labelled images with heads (aigiscan embed --heads)."),
    train: str = _TRAIN,
    validate: str = _VALIDATE,
    output: Path = _OUTPUT,
    top: int = typer.Option(3, "--top", min=1, help="Heads to keep."),
    strategy: str = _STRATEGY,
    among: int = _AMONG,
    C: float = _C,
    tune: bool = _TUNE,
    score: str = _SCORE,
    intercept: bool = _INTERCEPT,
    seed: int = _SEED,
    jobs: int = _JOBS,
    plot: Path | None = typer.Option(None, "--plot", help="Layer × head heat map of the scores (.png, .pdf, .svg)."),
    backend: str = _BACKEND,
    scheduler: str = _SCHEDULER,
) -> None:
    """Fit one regression per attention head on one generator, score it on another, keep the best heads."""
    from aigiscan.cli.select_features import check_backend
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.heads import head_data, store_factors
    from aigiscan.store import EmbeddingStore

    check_backend(backend, scheduler)
    options = SearchOptions(C=C, score=score, intercept=intercept)
    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
        factors = store_factors(opened)
        data = head_data(opened, train, validate, factors, seed=seed)
    how = {"top": top, "strategy": strategy, "among": among, "jobs": jobs, "scheduler": scheduler}
    found = _search("heads", store, fingerprint, (train, validate), data, options, how, tune, seed, output)
    if plot is not None:
        from aigiscan.search.parts import score_grid
        from aigiscan.search.plots import plot_heads

        title = f"one regression per head, {train} → {validate}"
        plot_heads(score_grid(found.ranking, factors.shape[:2]), found.kept, title, score, plot)
        console.note(f"wrote {plot}")


def select_layers(
    store: Path = typer.Argument(..., help="Store of labelled images with blocks (aigiscan embed --blocks)."),
    train: str = _TRAIN,
    validate: str = _VALIDATE,
    output: Path = _OUTPUT,
    top: int = typer.Option(1, "--top", min=1, help="Layers to keep."),
    strategy: str = _STRATEGY,
    among: int = _AMONG,
    C: float = _C,
    tune: bool = _TUNE,
    score: str = _SCORE,
    intercept: bool = _INTERCEPT,
    seed: int = _SEED,
    jobs: int = _JOBS,
    plot: Path | None = typer.Option(None, "--plot", help="Curve of the scores over depth (.png, .pdf, .svg)."),
    backend: str = _BACKEND,
    scheduler: str = _SCHEDULER,
) -> None:
    """Fit one regression per layer on one generator, score it on another, keep the best layers."""
    from aigiscan.cli.select_features import check_backend
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.layers import layer_data
    from aigiscan.store import EmbeddingStore

    check_backend(backend, scheduler)
    options = SearchOptions(C=C, score=score, intercept=intercept)
    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
        data = layer_data(opened, train, validate, seed=seed)
    how = {"top": top, "strategy": strategy, "among": among, "jobs": jobs, "scheduler": scheduler}
    found = _search("layers", store, fingerprint, (train, validate), data, options, how, tune, seed, output)
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
    options: SearchOptions,
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
    found = search_parts(data, options, Cs=PAPER_C if tune else (), **how)
    settings = {"strategy": how["strategy"], "tuned": tune, "seed": seed}
    content = as_yaml(kind, fingerprint, sides, data, found, options, settings)
    write_yaml(output, content)

    def name(part: tuple[int, ...]) -> str:
        return " ".join(f"{key} {number}" for key, number in zip(PART_KEYS[kind], part, strict=True))

    rows = [(name(s.parts[0]), s.score, s.log_loss, s.C) for s in found.ranking[:10]]
    console.table(f"best {kind}, {sides[0]} → {sides[1]}", (kind[:-1], options.score, "log loss", "C"), rows)
    console.note(f"wrote {output}: {', '.join(name(part) for part in found.kept)}; {found.together.score:.4f} together")
    warn_of_chance(found.together.score, content["chance"], " → ".join(sides), f"the best of {len(data.names)} {kind}")
    penalty = f" --C {found.together.C:g}" if tune else ""
    console.note(f"use it with: aigiscan fit {store} --features {kind}:{output}{penalty}")
    return found
