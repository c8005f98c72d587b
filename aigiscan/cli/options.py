"""Options that several commands have, said once; and the groups under which ``--help`` shows all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aigiscan.errors import InputError

INPUT, MODEL, PROMISE, OUTPUT, RUNNING = "Input", "Model", "Promise", "Output", "Running"
PROVENANCE = "Provenance (docs/provenance.md)"

Real = Annotated[
    list[str],
    typer.Option("--real", help="Photographs (repeatable), with --fake."),
]
Fake = Annotated[
    list[str],
    typer.Option("--fake", help="AI-generated pictures (repeatable), with --real."),
]
Include = Annotated[
    list[str],
    typer.Option("--include", help="Only files whose path below PATH matches this glob (repeatable)."),
]
Exclude = Annotated[
    list[str],
    typer.Option("--exclude", help="Skip files whose path below PATH matches this glob (repeatable)."),
]
AllFiles = Annotated[
    bool,
    typer.Option("--all-files", help="A row for every file of a folder, also for what is no image."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", min=1, help="Files with more pixels are not decoded but reported."),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", min=1, help="Images encoded at once."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Threads that read and decode files (default: by the number of cores).",
    ),
]
Isolate = Annotated[
    bool,
    typer.Option(
        "--isolate",
        help="Decode in processes of their own: a file that hangs or crashes a decoder costs its row, not the run.",
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option("--time-limit", min=0.1, help="With --isolate: what one file may take to be decoded."),
]
Device = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps."),
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Store to take known embeddings from and to add new ones to."),
]
Encoder = Annotated[
    str,
    typer.Option("--encoder", "-e", help="Encoder, e.g. lite+spam or ViT-L-14/openai. A store names its own."),
]
Detectors = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Detector to write.")]
Param = Annotated[
    list[str],
    typer.Option("--param", "-p", help="A parameter of the classifier (repeatable)."),
]
Weighting = Annotated[
    str,
    typer.Option("--weighting", help="source, class or none: how much each picture counts."),
]
MaxFpr = Annotated[
    float,
    typer.Option("--max-fpr", help="At most this share of real photographs may be called ai."),
]
MaxMiss = Annotated[
    float,
    typer.Option("--max-miss", help="At most this share of fakes may be called real."),
]
MaybeMaxFpr = Annotated[
    float | None,
    typer.Option("--max-fpr", help="At most this share of real photographs may be called ai. Default: 0.01."),
]
MaybeMaxMiss = Annotated[
    float | None,
    typer.Option("--max-miss", help="At most this share of fakes may be called real. Default: 0.05."),
]
Folds = Annotated[
    int,
    typer.Option("--folds", min=2, help="Folds that leave out whole generators and photo sources."),
]
CardName = Annotated[
    str | None,
    typer.Option("--name", help="Name in the card. Default: the folder's name."),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, help="Seed of the folds and of the classifier."),
]
Deep = Annotated[
    bool,
    typer.Option("--deep", help="With claims alone: also look into the pixels (hidden texts, EXIF thumbnails)."),
]
C2paTrust = Annotated[
    list[Path],
    typer.Option("--c2pa-trust", help="Certificates of C2PA signers to trust (repeatable)."),
]
Online = Annotated[
    bool,
    typer.Option("--online", help="Let C2PA fetch remote manifests and revocations."),
]
Backend = Annotated[
    str,
    typer.Option("--backend", help="local, or dask: on an existing cluster."),
]
Scheduler = Annotated[
    str,
    typer.Option("--scheduler", help="With --backend dask: address of the scheduler, e.g. tcp://HOST:8786."),
]

# ---- of the searches

Score = Annotated[str, typer.Option("--score", help="What counts: accuracy (balanced, at 0), auc or ap.")]
Penalty = Annotated[float, typer.Option("--C", help="Inverse strength of the L2 penalty.")]
SplitSeed = Annotated[
    int, typer.Option("--seed", help="Seed of the 7:3 split by group, where the manifest has no split.")
]
Train = Annotated[str, typer.Option("--train", help="Generator whose fakes the regressions are fitted on.")]
Validate = Annotated[str, typer.Option("--validate", help="Generator whose fakes they are scored on.")]
Selection = Annotated[Path, typer.Option("--output", "-o", help="Selection to write (YAML).")]
Strategy = Annotated[
    str,
    typer.Option("--strategy", help="top: the best alone; forward: one after the other; pairs: the best pair."),
]
Among = Annotated[int, typer.Option("--among", min=0, help="forward and pairs: try only so many of the best (0: all).")]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune/--no-tune", help="Fit with each C of the paper's grid; the best on the validation side counts."
    ),
]
Intercept = Annotated[bool, typer.Option("--intercept/--no-intercept", help="Fit a bias term; it has no penalty.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")]


def check_backend(backend: str, scheduler: str) -> None:
    """InputError unless the two options go together."""
    if backend not in ("local", "dask"):
        raise InputError(f"--backend {backend} is not known: use local or dask")
    if (backend == "dask") != bool(scheduler):
        raise InputError("--backend dask and --scheduler ADDRESS go together")


Thumbnails = Annotated[
    Path | None,
    typer.Option("--thumbnails", help="Folder for the page's thumbnails. Default: they go into the page."),
]
