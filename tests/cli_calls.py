"""Shared by the tests of the command line: run a command in this process."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from aigiscan.cli.app import app


def call(*arguments: object, refused: str = "", code: int = 0) -> Result:
    """Run a command that ends with ``code``; ``refused``: with code 2 and one line that has this in it."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if refused:
        assert result.exit_code == 2, result.output
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("aigiscan: error: ") and refused in last, result.output
    else:
        assert result.exit_code == code, result.output
    return result
