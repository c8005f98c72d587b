"""Scripts beside the package are run by hand: what they import of it has to be there still."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("benchmarks", "models", "examples") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_of_the_package_is_there(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aigiscan":
            module = import_module(node.module or "")
            for alias in node.names:
                there = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
                assert there, f"{node.module}.{alias.name}"


def test_what_the_mutations_break_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for mutation in import_module("mutations").MUTATIONS:
        found = (ROOT / "aigiscan" / mutation.file).read_text(encoding="utf-8").count(mutation.old)
        assert found == 1, f"{mutation.name}: {found} times in {mutation.file}"
