"""Settings in files, and ``doctor``."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_calls import call

from aigiscan.cli.config import config_files


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CONFIG", str(tmp_path / "own.toml"))
    (tmp_path / "project" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "below")


def own(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(text)


def project(tmp_path: Path, text: str) -> None:
    (tmp_path / "project" / "pyproject.toml").write_text(text)


def test_the_project_goes_before_the_person_and_the_command_line_before_both(tmp_path: Path) -> None:
    own(tmp_path, 'detector = "mine"\n[scan]\nbatch-size = 7\n')
    assert "[default: 7]" in call("scan", "--help").stdout
    call("scan", ".", refused="no detector mine")
    project(tmp_path, '[tool.aigiscan.scan]\ndetector = "ours"\n')
    call("scan", ".", refused="no detector ours")
    call("scan", ".", "-d", "theirs", refused="no detector theirs")
    assert "[default: 7]" in call("scan", "--help").stdout
    project(tmp_path, '[tool.other]\nx = 1\n[tool.aigiscan.scan]\nfail-on = ["never"]\n')
    call("scan", ".", refused="--fail-on never")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "no command has an option --colour"),
        ("[scan]\nclassifier = 'knn'", "no command scan has an option --classifier"),
        ("[paint]\nx = 1", "there is no command paint"),
        ("[scan]\noutput = '/etc/passwd'", "output cannot be set in a file"),
        ("batch_size = ", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    own(tmp_path, text)
    call("scan", ".", refused=words)


def test_doctor_says_what_is_there_and_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))
    project(tmp_path, '[tool.aigiscan.scan]\ndetector = "ours"\n')
    done = call("doctor")
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert {"aigiscan", "python", "versions", "device", "detectors", "cache", "settings", "advice"} <= set(facts)
    assert "torch 2" in facts["versions"] and "builtin" in facts["detectors"]
    assert facts["settings"] == f"{tmp_path / 'project' / 'pyproject.toml'}: scan.detector='ours'"
    own(tmp_path, "broken = ")
    call("doctor", refused="is not TOML")
    own(tmp_path, "")
    assert [file.path.name for file in config_files()] == ["own.toml", "pyproject.toml"]
