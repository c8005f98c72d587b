"""The Python side: every example of :mod:`aigiscan.api` runs, and the examples folder with it."""

from __future__ import annotations

import builtins
import doctest
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from labelled_pictures import labelled, pictures

import aigiscan
from aigiscan import api
from aigiscan.detector.verdict import Verdict
from aigiscan.errors import InputError, MissingDependencyError
from aigiscan.explain import images

ROOT = Path(__file__).parents[1]
EXAMPLES = (
    "embed", "fit_store", "calibrate", "continue_fit", "stack", "select_features", "select_heads", "select_layers",
    "evaluate", "explain", "report", "label_by_claims", "to_frame",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``labelled``, ``others`` (other pictures of the same kinds) and ``photographs``."""
    folder = tmp_path_factory.mktemp("api")
    labelled(folder / "labelled")
    labelled(folder / "others", seed=50)
    pictures(folder / "photographs", 90)
    return folder


def run_examples(module: Any, name: str) -> None:
    (test,) = (t for t in doctest.DocTestFinder().find(module) if t.name == f"{module.__name__}.{name}")
    assert test.examples, f"{name} has no example"
    found = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert not found.failed


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_docstrings_run(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    if not (place / "my-detector").exists():
        api.fit_store(api.embed("labelled", "store.h5", encoder="color:rgb"), "my-detector", max_fpr=0.1)
    run_examples(api, name)


def test_the_example_of_the_explainer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run_examples(images, "Explainer")


def test_every_public_function_has_an_example() -> None:
    own = {name for name, value in vars(api).items() if getattr(value, "__module__", "") == api.__name__}
    assert {name for name in own if not name.startswith("_")} == set(EXAMPLES)
    assert set(aigiscan.__all__) >= {"api", "Detector", "fit"} and aigiscan.api is api


def test_what_makes_no_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(api.to_frame([Verdict("a.jpg", "real", 0.5)]).p_ai) == [0.5]
    assert api.to_frame([]).empty
    with pytest.raises(InputError, match="not of int"):
        api.to_frame([1])
    plain = builtins.__import__
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: plain("no_pandas_here" if name == "pandas" else name, *rest)
    )
    with pytest.raises(MissingDependencyError, match=r"aigiscan\[pandas\]"):
        api.to_frame([])


def test_what_was_seen_is_not_evaluated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    store = api.embed("labelled", "store.h5", encoder="color:rgb")
    with pytest.raises(InputError, match="has seen all 96"):
        api.evaluate(api.fit_store(store, max_fpr=0.1), store)


def test_the_pipeline_example_runs(place: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        api.embed("labelled", "store.h5", encoder="color:rgb")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, ROOT / "examples" / "pipeline.py", "store.h5"]
    done = subprocess.run(program, capture_output=True, cwd=place, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith("balanced accuracy on left-out sources: ")
