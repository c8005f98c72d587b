"""``--help`` and completion: grouped, in words, for every command there is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_calls import call
from fake_encoder import FakeEncoder
from typer.main import get_command

from aigiscan.cli import completion, options
from aigiscan.cli.app import app


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*before, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))


GROUPS = {value for name, value in vars(options).items() if name.isupper()}
ALL = list(commands(get_command(app)))


@pytest.mark.parametrize(("name", "command"), ALL, ids=["-".join(name) for name, _ in ALL])
def test_every_option_stands_in_a_group_and_no_type_is_a_python_type(name: tuple[str, ...], command: Any) -> None:
    text = call(*name, "--help").stdout
    for wrong in ("<bool>", "<str>", "<path>", "<list[", "<int", "<float"):
        assert wrong not in text
    for param in command.params:
        if param.param_type_name == "option":
            assert param.rich_help_panel in GROUPS, f"{param.name} needs a group in aigiscan/cli/describe.py"
            assert param.is_flag or param.metavar == param.metavar.upper(), param.metavar


def test_alone_it_shows_its_help_and_is_content() -> None:
    assert "scan" in call().stdout and "Usage" in call().stdout
    assert "show" in call("detectors").stdout


def test_a_shell_is_given_what_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    assert completion.detectors("b") == ["builtin", os.path.join("build", "")]
    assert completion.detectors(os.path.join("no", "where")) == []
    assert "lite+spam" in completion.encoders("lite+s") and "timm:" in completion.encoders("")
    assert completion.classifiers("kn") == ["knn"]
    assert completion.verdicts("ai,un") == ["ai,uncertain", "ai,unreadable"]
    environment = {"COMP_WORDS": "aigiscan scan --sort ", "COMP_CWORD": "3", "_AIGISCAN_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv[0] = 'aigiscan'; from aigiscan.cli.process import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, **environment})
    assert done.stdout.split() == [b"path", b"p_ai"], done.stderr


def test_generators_are_those_of_the_store(make_images: Any, tmp_path: Path) -> None:
    from aigiscan.embedding import embed
    from aigiscan.images.records import ImageRecord

    records = [ImageRecord(str(path), 1, generator=name) for path, name in zip(make_images(2), "ab", strict=True)]
    embed(records, FakeEncoder(), tmp_path / "s.h5")

    def found(store: Path, incomplete: str = "") -> list[str]:
        return completion.generators(SimpleNamespace(params={"store": str(store)}), incomplete)

    assert found(tmp_path / "s.h5") == ["a", "b"]
    assert found(tmp_path / "s.h5", "b") == ["b"]
    assert found(tmp_path) == []
