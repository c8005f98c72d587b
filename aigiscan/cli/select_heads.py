"""``aigiscan select-heads``: which attention heads transfer between two generators."""

from __future__ import annotations

from pathlib import Path

import typer

from aigiscan.cli import console


def select_heads(
    store: Path = typer.Argument(..., help="Store of labelled images with heads (aigiscan embed --heads)."),
    train: str = typer.Option(..., "--train", help="Generator whose fakes the regressions are fitted on."),
    validate: str = typer.Option(..., "--validate", help="Generator whose fakes they are scored on."),
    output: Path = typer.Option(..., "--output", "-o", help="Selection to write (YAML)."),
    top: int = typer.Option(3, "--top", min=1, help="Heads to keep."),
    strategy: str = typer.Option(
        "top", "--strategy", help="top: the best alone; forward: one after the other; pairs: the best pair."
    ),
    among: int = typer.Option(
        0, "--among", min=0, help="forward and pairs: try only so many of the best heads (0: all)."
    ),
    C: float = typer.Option(1.0, "--C", help="Inverse strength of the L2 penalty."),
    score: str = typer.Option("accuracy", "--score", help="What counts: accuracy (at 0), auc or ap."),
    intercept: bool = typer.Option(False, "--intercept/--no-intercept", help="Fit a bias term; it has no penalty."),
    seed: int = typer.Option(0, "--seed", help="Seed of the 7:3 split by group, where the manifest has no split."),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Processes."),
    plot: Path | None = typer.Option(None, "--plot", help="Layer × head heat map of the scores (.png, .pdf, .svg)."),
    backend: str = typer.Option("local", "--backend", help="local, or dask: on an existing cluster."),
    scheduler: str = typer.Option("", "--scheduler", help="Address of the Dask scheduler, e.g. tcp://HOST:8786."),
) -> None:
    """Fit one regression per attention head on one generator, score it on another, keep the best heads."""
    from aigiscan.cli.select_features import check_backend
    from aigiscan.features.selection import write_yaml
    from aigiscan.files import check_file
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.heads import as_yaml, head_data, score_grid, search_heads, store_factors
    from aigiscan.store import EmbeddingStore

    check_backend(backend, scheduler)
    check_file(output)
    options = SearchOptions(C=C, score=score, intercept=intercept)
    if strategy == "pairs":
        top = 2
    with EmbeddingStore(store) as opened:
        fingerprint = opened.fingerprint
        factors = store_factors(opened)
        data = head_data(opened, train, validate, factors, seed=seed)
    console.note(f"{len(data.names)} heads, {len(data.y)} rows to fit, {len(data.z)} to score")
    found = search_heads(data, options, top=top, strategy=strategy, among=among, jobs=jobs, scheduler=scheduler)
    settings = {"strategy": strategy, "seed": seed}
    write_yaml(output, as_yaml(fingerprint, train, validate, found, options, settings))
    rows = [(f"layer {s.heads[0][0]} head {s.heads[0][1]}", s.score, s.log_loss) for s in found.ranking[:10]]
    console.table(f"best heads, {train} → {validate}", ("head", score, "log loss"), rows)
    kept = ", ".join(f"({layer}, {head})" for layer, head in found.kept)
    console.note(f"wrote {output}: {kept}, together {found.together.score:.4f}")
    console.note(f"use it with: aigiscan fit {store} --features heads:{output}")
    if plot is not None:
        from aigiscan.search.plots import plot_heads

        title = f"one regression per head, {train} → {validate}"
        plot_heads(score_grid(found.ranking, factors.shape[:2]), found.kept, title, score, plot)
        console.note(f"wrote {plot}")
