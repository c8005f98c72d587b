"""``--help`` and shell completion of every command, by the names of its parameters.

A command says what an option does; in which group it stands, what its value is called and how the value is completed is
said here once, as the same options occur in several commands. What a command says itself goes first.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo, OptionInfo

from aigiscan.cli import completion
from aigiscan.cli.options import INPUT, MODEL, OUTPUT, PROMISE, PROVENANCE, RUNNING

_GROUPS = {
    INPUT: "include exclude all_files max_pixels unlabelled train_on pair train validate neighbours phrases real fake "
    "also old twins equalize explanations",
    MODEL: "detector encoder heads blocks pooling projection normalize precision classifier features param C intercept "
    "standardize grid base from_ weighting families captions prompt objects score max_steps strategy among tune",
    PROMISE: "max_fpr max_miss fdr prior calibrate_on folds",
    OUTPUT: "output channel captions_only top k plot as_json gallery transfer held_out audit robustness "
    "quality_matrix geometry spectra spectra_size min_images max_images draws full windows name grade description "
    "limit least_side smoothest html thumbnails report_format excel_safe only sort table print0 quiet fail_on",
    RUNNING: "resume prune yes cache restart batch_size dry_run workers jobs device seed backend scheduler isolate "
    "time_limit",
    PROVENANCE: "deep c2pa_trust online provenance_only hashed personal",
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names.split()}
_METAVARS = {
    name: word
    for word, names in {
        "PATH": "paths real fake",
        "IMAGE": "images",
        "STORE": "store train_on neighbours also cache",
        "FOLDER": "calibrate_on twins thumbnails explanations",
        "FILE": "families phrases html",
        "DATA": "old",
        "DETECTOR": "from_ base",
        "GENERATOR": "train validate",
        "A B": "pair",
        "NAME": "encoder classifier grid",
        "VIEW": "features",
        "STEPS": "equalize",
        "SOURCE": "captions objects",
        "KEY=VALUE": "param",
        "HOW": "weighting",
        "RATE": "max_fpr max_miss fdr",
        "SHARE": "prior smoothest",
        "PIXELS": "least_side",
        "SECONDS": "time_limit",
        "TEXT": "name grade description limit prompt",
        "VERDICTS": "only fail_on",
        "ORDER": "sort",
        "FORMAT": "report_format",
        "GLOB": "include exclude",
        "PEM": "c2pa_trust",
        "WHERE": "backend",
        "ADDRESS": "scheduler",
    }.items()
    for name in names.split()
}
_BY_TYPE = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
_COMPLETERS: dict[str, Callable[..., list[str]]] = {
    "detector": completion.detectors,
    "base": completion.detectors,
    "from_": completion.detectors,
    "target": completion.detectors,
    "encoder": completion.encoders,
    "classifier": completion.classifiers,
    "train": completion.generators,
    "validate": completion.generators,
    "pair": completion.generators,
    "only": completion.verdicts,
    "fail_on": completion.verdicts,
    "device": completion.one_of("auto", "cpu", "cuda", "mps"),
    "precision": completion.one_of("auto", "fp32", "bf16", "fp16"),
    "report_format": completion.one_of("csv", "jsonl"),
    "sort": completion.one_of("path", "p_ai"),
    "backend": completion.one_of("local", "dask"),
}


class Command(TyperCommand):
    """A command in whose help types stand only where they say something."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, flags and arguments without a type."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group that shows its help, and has done what was asked, when it is called alone."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, flags and arguments without a type."""
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Alone: help and exit code 0."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit(0)
        return super().parse_args(ctx, args)


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if param.param_type_name == "argument" and hasattr(param, "display_type_rich"):
            param.display_type_rich = lambda ctx: ""  # its name says it; Typer has no setting for that
        if (getattr(param, "is_flag", False) or getattr(param, "count", False)) and param.metavar is None:
            param.metavar = ""
    return params


def describe(app: typer.Typer) -> None:
    """Fill in groups, metavars and completion of all commands of an application, and of the groups in it."""
    for command in app.registered_commands:
        command.cls = command.cls if command.cls not in (None, TyperCommand) else Command
        if command.callback is not None:
            _fill_in(command.callback)
    for group in app.registered_groups:
        group.cls = Group
        if group.typer_instance is not None:
            describe(group.typer_instance)


def _fill_in(callback: Callable[..., Any]) -> None:
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        hint = hints.get(name)
        said = [parameter.default, *getattr(hint, "__metadata__", ())]
        info = next((found for found in said if isinstance(found, (OptionInfo, ArgumentInfo))), None)
        if info is None:
            continue
        if isinstance(info, OptionInfo):
            info.rich_help_panel = info.rich_help_panel or _GROUP_OF.get(name)
        if info.metavar is None:
            info.metavar = _METAVARS.get(name) or _metavar(name, hint)
        if isinstance(info, ArgumentInfo) and info.metavar is not None:
            info.metavar = info.metavar.removesuffix("...")  # Typer adds them
        if info.autocompletion is None and info.shell_complete is None:
            info.autocompletion = _COMPLETERS.get(name)


def _metavar(name: str, hint: Any) -> str | None:
    kinds = _plain_types(hint)
    if bool in kinds:
        return None
    known = [_BY_TYPE[kind] for kind in kinds if kind in _BY_TYPE]
    return known[0] if known else name.strip("_").upper()


def _plain_types(hint: Any) -> set[Any]:
    """The types that a hint is made of: ``list[str] | None`` → {str, NoneType}."""
    parts = typing.get_args(hint)
    if not parts:
        return {hint}
    if hasattr(hint, "__metadata__"):
        parts = parts[:1]
    return set().union(*map(_plain_types, parts))
