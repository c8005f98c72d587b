"""The command line: one Typer application; each command lives in a file of its own.

Only typer is imported here: torch, open_clip and scikit-learn are imported inside command bodies, so that
``aigiscan --help`` answers at once.
"""

from __future__ import annotations

import os
import sys

import typer

from aigiscan import __version__
from aigiscan.cli import stores
from aigiscan.cli.embed import embed
from aigiscan.cli.fit import fit
from aigiscan.cli.scan import scan
from aigiscan.errors import AigiscanError

app = typer.Typer(
    name="aigiscan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tell photographs from AI-generated images, say how sure, and why.",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"aigiscan {__version__}")
        raise typer.Exit()


@app.callback()
def _common(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback instead of one line."),
) -> None:
    if debug:
        os.environ["AIGISCAN_DEBUG"] = "1"


# One line per command; the order is the order of work and of `--help`.
app.command("scan")(scan)
app.command("fit")(fit)
app.command("embed")(embed)
app.add_typer(stores.app, name="stores")


def main() -> None:
    """Entry point: one line per error, exit codes as README states them."""
    try:
        app()
    except AigiscanError as error:
        if os.environ.get("AIGISCAN_DEBUG"):
            raise
        print(f"aigiscan: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our report went away (``| head``): nothing is wrong. Point stdout at nothing so that the
        # interpreter's own flush at exit does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("aigiscan: interrupted", file=sys.stderr)
        sys.exit(130)
