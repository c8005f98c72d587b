"""The house: what imports what, what is installed, and that `--help` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aigiscan"

#: the way of the data; a room imports only from those before it
ROOMS = [
    "errors", "images", "encoders", "store", "loader", "runner", "embedding", "features", "search", "classifiers",
    "detector", "evaluation", "explain", "reports", "cli",
]  # fmt: skip


def imported_rooms(path: Path) -> set[str]:
    """Rooms of aigiscan that a file imports when it runs (imports for type checkers alone do not count)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for child in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("aigiscan."):
            found.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("aigiscan.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_flows_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] in ("__init__", "__main__"):
        return
    allowed = set(ROOMS[: ROOMS.index(parts[0]) + 1])
    assert imported_rooms(path) <= allowed


def test_every_package_is_listed_for_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    listed = {line.strip().strip('",') for line in text.split("packages = [")[1].split("]")[0].splitlines() if line}
    assert {name for name in listed if name} == folders | {"aigiscan._models"}


def test_help_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; sys.argv = ['aigiscan', '--help']\n"
        "from aigiscan.cli.app import app\n"
        "try: app()\n"
        "except SystemExit as done: assert not done.code\n"
        "heavy = {'torch', 'sklearn', 'open_clip', 'timm', 'h5py', 'matplotlib', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"scan" in done.stdout
