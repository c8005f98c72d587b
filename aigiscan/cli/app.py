"""The command line: one Typer application; each command lives in a file of its own.

Only typer is imported here: torch, open_clip and scikit-learn are imported inside command bodies, so that
``aigiscan --help`` answers at once.
"""

from __future__ import annotations

from typing import Any

import typer

from aigiscan import __version__
from aigiscan.cli import config, console, detectors, encoders, stores
from aigiscan.cli.calibrate import calibrate
from aigiscan.cli.describe import Group, describe
from aigiscan.cli.doctor import doctor
from aigiscan.cli.embed import embed
from aigiscan.cli.evaluate import evaluate
from aigiscan.cli.explain import explain
from aigiscan.cli.fit import fit
from aigiscan.cli.further import continue_, stack
from aigiscan.cli.label_by_claims import label_by_claims
from aigiscan.cli.process import exit_code, main, settle_stdout
from aigiscan.cli.report import report
from aigiscan.cli.scan import scan
from aigiscan.cli.select_features import PairCommand, select_features
from aigiscan.cli.select_parts import select_heads, select_layers
from aigiscan.errors import AigiscanError
from aigiscan.files import reason

__all__ = ["app", "main"]


class _Commands(Group):
    """One line per error and the exit codes that README states, whichever command runs."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            console.out("")
        except BrokenPipeError:  # the reader of our report went away (``| head``): nothing is wrong
            settle_stdout()
            raise typer.Exit(0) from None
        except (AigiscanError, OSError) as error:
            settle_stdout()
            if ctx.params.get("debug"):
                raise
            console.error(error if isinstance(error, AigiscanError) else _refusal(error))
            raise typer.Exit(getattr(error, "exit_code", AigiscanError.exit_code)) from None
        except KeyboardInterrupt as stop:
            console.note("interrupted; what was finished has been written")
            raise typer.Exit(exit_code(stop)) from None
        return result


def _refusal(error: OSError) -> str:
    """One line for what the system refused in a place that had no better words for it."""
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{reason(error)} (--debug shows where)"


app = typer.Typer(
    name="aigiscan",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tell photographs from AI-generated images, say how sure, and why.",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"aigiscan {__version__}")
        raise typer.Exit()


@app.callback()
def _common(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback instead of one line."),
    verbose: int = typer.Option(
        0,
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Say what is being done; -vv: also what the libraries say.",
    ),
) -> None:
    console.set_verbosity(verbose)
    if ctx.invoked_subcommand != "doctor":  # which is to say what is wrong with them
        files = config.config_files()
        if files:
            ctx.default_map = config.defaults(files, ctx.command.commands)  # type: ignore[attr-defined]


# One line per command; the order is the order of `--help`.
app.command("scan")(scan)
app.command("fit")(fit)
app.command("calibrate")(calibrate)
app.command("continue")(continue_)
app.command("stack")(stack)
app.command("embed")(embed)
app.command("evaluate")(evaluate)
app.command("explain")(explain)
app.command("select-features", cls=PairCommand)(select_features)
app.command("select-heads")(select_heads)
app.command("select-layers")(select_layers)
app.command("report")(report)
app.command("label-by-claims")(label_by_claims)
app.command("doctor")(doctor)
app.add_typer(stores.app, name="stores")
app.add_typer(detectors.app, name="detectors")
app.add_typer(encoders.app, name="encoders")
describe(app)
