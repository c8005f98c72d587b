"""The house: what imports what, what is installed, and that `--help` stays light."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aigiscan"

#: the way of the data; a room imports only from those before it
ROOMS = [
    "errors", "text", "files", "metrics", "pages", "provenance", "images", "encoders", "store", "loader", "runner",
    "embedding", "features", "search", "classifiers", "detector", "evaluation", "explain", "reports", "api", "cli",
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


def test_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    """The shipped models travel with the package: build it, install it elsewhere, scan with the built-in detector."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    source = tmp_path / "source"
    shutil.copytree(ROOT / "aigiscan", source / "aigiscan", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "models", source / "models", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    done = subprocess.run(build, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", tmp_path / "site", wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import aigiscan; print(aigiscan.__file__)"],
        capture_output=True, cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    assert str(tmp_path / "site") in where.stdout.decode()
    shutil.copy(ROOT / "examples" / "photos" / "rocket.jpg", tmp_path / "a.jpg")
    scan = [sys.executable, "-m", "aigiscan", "scan", "a.jpg"]
    done = subprocess.run(scan, capture_output=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines()[1].startswith("a.jpg,")
    assert done.stderr.decode().count("demonstration grade") == 1
    # whatever is no code in the checkout is data that some command reads
    data = {p.relative_to(ROOT) for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert {p.name for p in data} >= {"phrases.txt", "explain.html", "style.css", "list.js", "py.typed"}
    assert {p for p in data if not (tmp_path / "site" / p).is_file()} == set()
