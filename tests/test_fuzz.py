"""A small share of ``benchmarks/fuzz.py``: damaged input ends in a row, an error of ours, or what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigiscan.errors import AigiscanError

_PLACE = Path(__file__).resolve().parent.parent / "benchmarks" / "fuzz.py"
_SPEC = importlib.util.spec_from_file_location("fuzz", _PLACE)
assert _SPEC is not None and _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)

SOUND = {name: make() for name, (_, make, _) in fuzz.TARGETS.items()}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep_walk(monkeypatch)
    for data in SOUND[name]:
        assert fuzz.TARGETS[name][0](tmp_path, data) == "read"


@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 2**32), which=st.integers(0, 99))
def test_damage_never_gets_further_than_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int, which: int
) -> None:
    _keep_walk(monkeypatch)
    sound = SOUND[name]
    rng = np.random.default_rng(seed)
    data = fuzz.damaged(sound[which % len(sound)], rng, sound[int(rng.integers(len(sound)))])
    try:
        assert fuzz.TARGETS[name][0](tmp_path, data) in ("read", "refused")
    except AigiscanError as error:
        assert str(error)


@pytest.mark.parametrize("number", [8, 293])
def test_damaged_heads_that_once_ended_in_a_traceback(tmp_path: Path, number: int) -> None:
    rng = np.random.default_rng([1, list(fuzz.TARGETS).index("heads"), number])
    data = fuzz.damaged(SOUND["heads"][0], rng, SOUND["heads"][int(rng.integers(1))])
    with pytest.raises(AigiscanError):
        fuzz.TARGETS["heads"][0](tmp_path, data)


def _keep_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target for lists replaces the walk; put it back after the test."""
    from aigiscan.images import find

    monkeypatch.setattr(find._Search, "walk", find._Search.walk)
