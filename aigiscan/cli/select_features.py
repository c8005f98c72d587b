"""``aigiscan select-features``: which components of the embedding transfer between two generators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aigiscan.cli import console, options
from aigiscan.cli.describe import Command
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.search.features import DirectionResult


_BETWEEN = "\x1f"  # joins the two names of a pair on their way through Typer, which knows no list of pairs


class PairCommand(Command):
    """``--pair A B`` takes two values, as often as it is given."""

    def parse_args(self, ctx, args):  # noqa: D102
        joined = []
        rest = list(args)
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] == "--pair" and rest:
                joined.append(rest.pop(0))
                if rest and not rest[0].startswith("-"):
                    joined[-1] += _BETWEEN + rest.pop(0)
        return super().parse_args(ctx, joined)


def select_features(
    store: Path = typer.Argument(..., help="Store of labelled images (aigiscan embed)."),
    pair: list[str] = typer.Option(..., "--pair", help="Two generators (repeatable: one search for each pair)."),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Selection to write (YAML). With several pairs -A-B is added to its name."
    ),
    C: options.Penalty = 1.0,
    score: options.Score = "accuracy",
    intercept: bool = typer.Option(
        False, "--intercept/--no-intercept", help="Fit a bias term; it has no penalty and is never removed."
    ),
    standardize: bool = typer.Option(
        False, "--standardize/--no-standardize", help="Scale columns to unit variance of the training rows first."
    ),
    max_steps: int = typer.Option(0, "--max-steps", min=0, help="Stop after so many removals (0: until one is left)."),
    seed: options.SplitSeed = 0,
    jobs: int = typer.Option(
        0, "--jobs", "-j", min=0, help="Searches at a time; each direction of each pair is one (0: one per core)."
    ),
    plot: Path | None = typer.Option(None, "--plot", help="Picture of the score curves (.png, .pdf, .svg)."),
    restart: bool = typer.Option(False, "--restart", help="Forget what an interrupted search has done already."),
    backend: options.Backend = "local",
    scheduler: options.Scheduler = "",
) -> None:
    """Remove components one by one, always the one whose removal transfers best, in both directions of a pair.

    Gives exactly the answer of one regression per candidate. A search that was cut goes on from its last step.
    """
    import os

    from aigiscan.features.selection import write_yaml
    from aigiscan.files import check_file
    from aigiscan.search.features import as_yaml, pair_problems, progress, remove_journals, search_pairs
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.store import EmbeddingStore

    options.check_backend(backend, scheduler)
    check_file(output)
    pairs = [_parse_pair(text) for text in pair]
    chosen = SearchOptions(C=C, score=score, intercept=intercept, max_steps=max_steps)
    settings = {"standardize": standardize, "seed": seed, "max_steps": max_steps}
    with EmbeddingStore(store) as opened:
        problems = [pair_problems(opened, names, seed=seed, standardize=standardize) for names in pairs]
        for forth, _ in problems:
            console.note(f"{forth.train} and {forth.test}: {len(forth.columns)} components")
        if restart:
            remove_journals(problems, chosen, output)
        at_a_time = jobs or os.cpu_count() or 1
        with console.watch(progress(problems, chosen, output)):
            found = search_pairs(problems, chosen, jobs=at_a_time, scheduler=scheduler, journals=output, done=_report)
        for result in found:
            path = output if len(found) == 1 else output.with_name(_named(output, result.pair))
            write_yaml(path, as_yaml(opened, result, chosen, settings))
            kept = f"{len(result.kept)} of {len(problems[0][0].columns)} components kept"
            console.note(f"wrote {path}: {kept}; use it with: aigiscan fit {store} --features components:{path}")
    remove_journals(problems, chosen, output)
    if plot is not None:
        from aigiscan.search.plots import plot_curves

        plot_curves(found, score, plot)
        console.note(f"wrote {plot}")


def warn_of_chance(score: float, chance: float, way: str, tries: str) -> None:
    """Say where a choice is no better than one among features that know nothing."""
    if score <= chance:
        console.warn(
            f"{way}: {score:.3f} is no more than {tries} would reach by chance ({chance:.3f}): this choice says "
            "nothing; take more pictures of both classes, or other generators"
        )


def _parse_pair(text: str) -> tuple[str, str]:
    names = text.split(_BETWEEN)
    if len(names) != 2 or not all(names) or any(name.startswith("-") for name in names):
        raise InputError(f"--pair {' '.join(names)} does not name two generators: write --pair A B")
    return names[0], names[1]


def _named(output: Path, pair: tuple[str, str]) -> str:
    names = ["".join(c if c.isalnum() or c in "-_+." else "_" for c in name) for name in pair]
    return f"{output.stem}-{'-'.join(names)}{output.suffix}"


def _report(direction: DirectionResult) -> None:
    way = f"{direction.train} → {direction.test}"
    train, test = direction.rows["train"], direction.rows["test"]
    console.note(
        f"{way}: fitted on {train['real']} photographs and {train['fake']} fakes, scored on {test['real']} and "
        f"{test['fake']}; {direction.baseline:.4f} with all, {direction.best_score:.4f} after "
        f"{direction.best_step} of {len(direction.removed)} removals; {direction.counters['proper_solves']} of "
        f"{direction.counters['candidates']} candidates needed a solve of their own"
    )
    warn_of_chance(direction.best_score, direction.chance, way, "the best of so many candidates")
