"""README, docs and examples name only commands, options and links that exist; the example program runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from aigiscan.cli.app import app
from aigiscan.detector.verdict import REPORT_COLUMNS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "examples" / "session.sh", *sorted((ROOT / "docs").glob("*.md"))]


def commands_in(page: Path) -> list[str]:
    """Lines of shell that call aigiscan, from code blocks (or a script), comments and pipes cut off."""
    text = page.read_text(encoding="utf-8")
    blocks = [text] if page.suffix == ".sh" else re.findall(r"```(?:sh|)\n(.*?)```", text, re.DOTALL)
    blocks += re.findall(r"`(aigiscan [^`]+)`", text) if page.name == "papers.md" else []
    found = []
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s#\s|\s#$|\||>", line):
                if re.match(r"\s*aigiscan\s", part):
                    found.append(part.strip())
    return found


def known(command: Any) -> set[str]:
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}


CASES = [(page, line) for page in PAGES for line in commands_in(page)]


def test_there_are_commands_to_check() -> None:
    assert len([1 for page, _ in CASES if page.name == "README.md"]) >= 20
    assert len([1 for page, _ in CASES if page.name == "papers.md"]) >= 30


@pytest.mark.parametrize(("page", "line"), CASES, ids=[f"{p.name}:{line[:50]}" for p, line in CASES])
def test_documented_commands_and_options_exist(page: Path, line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line.replace("[", " ").replace("]", " "))[1:]
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"{page.name}: no such command in {line!r}"
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.split("=")[0] in known(command), f"{page.name}: {line!r} has unknown {word}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.suffix == ".md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"aigiscan {name}" in text, name


def test_report_columns_are_documented_in_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("| column | meaning |")[1].split("\n\n")[0]
    names = [n for line in table.splitlines()[2:] for n in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert tuple(names) == REPORT_COLUMNS


def test_readme_figures_are_those_of_the_card() -> None:
    import yaml

    card = yaml.safe_load((ROOT / "models" / "builtin" / "card.yaml").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for spec, row in (("reduce:2,limit:512,jpeg:80", "at most 512 px"), ("square:224,jpeg:75", "224 px, JPEG 75")):
        figures = card["metrics"]["held_out"][spec]
        told = next(line for line in text.splitlines() if line.startswith(f"| {row}"))
        keys = ("auc", "tpr_at_5_percent_fpr", "tpr_at_1_percent_fpr")
        value, low, high = ([f"{figures[key][i]:.2f}" for key in keys] for i in range(3))
        assert told.split(" | ")[1:] == [
            f"{v} [{a}, {b}]" + end for v, a, b, end in zip(value, low, high, ("", "", " |"), strict=True)
        ]
    for rate, promised in zip(card["metrics"]["achieved"], (1, 5), strict=True):
        low, high = (f"{100 * v:.1f}" for v in rate["flagged_interval"])
        assert f"{100 * rate['flagged']:.1f} % [{low}, {high}] where {promised} % was" in text
    assert f"fitted on {card['training']['images']:,} development pictures" in text


def test_pictures_of_the_tour_are_small_and_shown() -> None:
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\((tour/[^)]+)\)", text))
    made = {f"tour/{path.name}": path.stat().st_size for path in (ROOT / "docs" / "tour").iterdir()}
    assert shown == set(made) and 0 < len(made) <= 3
    assert max(made.values()) < 150_000


def test_example_program_runs() -> None:
    done = subprocess.run([sys.executable, ROOT / "examples" / "scan.py"], capture_output=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    judged = [line.split() for line in done.stdout.decode().splitlines()[:-1]]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([\w.-]+\.(?:jpg|png))` \| [^|]+ \| (\w+) \|", text, re.MULTILINE))
    assert {Path(words[2]).name: words[0] for words in judged} == told
    assert len(told) == 17
