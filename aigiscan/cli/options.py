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
    typer.Option("--real", metavar="PATH", help="Photographs (repeatable), with --fake.", rich_help_panel=INPUT),
]
Fake = Annotated[
    list[str],
    typer.Option(
        "--fake", metavar="PATH", help="AI-generated pictures (repeatable), with --real.", rich_help_panel=INPUT
    ),
]
Include = Annotated[
    list[str],
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only files whose path below PATH matches this glob (repeatable).",
        rich_help_panel=INPUT,
    ),
]
Exclude = Annotated[
    list[str],
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Skip files whose path below PATH matches this glob (repeatable).",
        rich_help_panel=INPUT,
    ),
]
AllFiles = Annotated[
    bool,
    typer.Option(
        "--all-files",
        help="A row for every file of a folder, also for what is no image.",
        rich_help_panel=INPUT,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        metavar="NUMBER",
        help="Files with more pixels are not decoded but reported.",
        rich_help_panel=INPUT,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", min=1, metavar="NUMBER", help="Images encoded at once.", rich_help_panel=RUNNING),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        metavar="NUMBER",
        help="Threads that read and decode files (default: by the number of cores).",
        rich_help_panel=RUNNING,
    ),
]
Isolate = Annotated[
    bool,
    typer.Option(
        "--isolate",
        help="Decode in processes of their own: a file that hangs or crashes a decoder costs its row, not the run.",
        rich_help_panel=RUNNING,
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        "--time-limit",
        min=0.1,
        metavar="SECONDS",
        help="With --isolate: what one file may take to be decoded.",
        rich_help_panel=RUNNING,
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=RUNNING),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="STORE",
        help="Store to take known embeddings from and to add new ones to.",
        rich_help_panel=RUNNING,
    ),
]
Encoder = Annotated[
    str,
    typer.Option(
        "--encoder",
        "-e",
        metavar="NAME",
        help="Encoder, e.g. lite+spam or ViT-L-14/openai. A store names its own.",
        rich_help_panel=MODEL,
    ),
]
Detectors = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Detector to write.")]
Param = Annotated[
    list[str],
    typer.Option(
        "--param",
        "-p",
        metavar="KEY=VALUE",
        help="A parameter of the classifier (repeatable).",
        rich_help_panel=MODEL,
    ),
]
Weighting = Annotated[
    str,
    typer.Option(
        "--weighting",
        metavar="HOW",
        help="source, class or none: how much each picture counts.",
        rich_help_panel=MODEL,
    ),
]
MaxFpr = Annotated[
    float,
    typer.Option(
        "--max-fpr",
        metavar="RATE",
        help="At most this share of real photographs may be called ai.",
        rich_help_panel=PROMISE,
    ),
]
MaxMiss = Annotated[
    float,
    typer.Option(
        "--max-miss",
        metavar="RATE",
        help="At most this share of fakes may be called real.",
        rich_help_panel=PROMISE,
    ),
]
MaybeMaxFpr = Annotated[
    float | None,
    typer.Option(
        "--max-fpr",
        metavar="RATE",
        help="At most this share of real photographs may be called ai. Default: 0.01.",
        rich_help_panel=PROMISE,
    ),
]
MaybeMaxMiss = Annotated[
    float | None,
    typer.Option(
        "--max-miss",
        metavar="RATE",
        help="At most this share of fakes may be called real. Default: 0.05.",
        rich_help_panel=PROMISE,
    ),
]
Folds = Annotated[
    int,
    typer.Option(
        "--folds",
        min=2,
        metavar="NUMBER",
        help="Folds that leave out whole generators and photo sources.",
        rich_help_panel=PROMISE,
    ),
]
CardName = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="TEXT", help="Name in the card. Default: the folder's name.", rich_help_panel=OUTPUT
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, metavar="NUMBER", help="Seed of the folds and of the classifier.", rich_help_panel=RUNNING
    ),
]
Deep = Annotated[
    bool,
    typer.Option(
        "--deep",
        help="With claims alone: also look into the pixels (hidden texts, EXIF thumbnails).",
        rich_help_panel=PROVENANCE,
    ),
]
C2paTrust = Annotated[
    list[Path],
    typer.Option(
        "--c2pa-trust",
        metavar="PEM",
        help="Certificates of C2PA signers to trust (repeatable).",
        rich_help_panel=PROVENANCE,
    ),
]
Online = Annotated[
    bool,
    typer.Option("--online", help="Let C2PA fetch remote manifests and revocations.", rich_help_panel=PROVENANCE),
]
Backend = Annotated[
    str,
    typer.Option("--backend", metavar="WHERE", help="local, or dask: on an existing cluster.", rich_help_panel=RUNNING),
]
Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="With --backend dask: address of the scheduler, e.g. tcp://HOST:8786.",
        rich_help_panel=RUNNING,
    ),
]


def check_backend(backend: str, scheduler: str) -> None:
    """InputError unless the two options go together."""
    if backend not in ("local", "dask"):
        raise InputError(f"--backend {backend} is not known: use local or dask")
    if (backend == "dask") != bool(scheduler):
        raise InputError("--backend dask and --scheduler ADDRESS go together")


Thumbnails = Annotated[
    Path | None,
    typer.Option(
        "--thumbnails",
        metavar="FOLDER",
        help="Folder for the page's thumbnails. Default: they go into the page.",
        rich_help_panel=OUTPUT,
    ),
]
