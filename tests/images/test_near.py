from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aigiscan.images.near as near_module
from aigiscan.images.near import bit_count, near_components


def brute_force(hashes: list[int], distance: int, within: list[int]) -> list[int]:
    """Components by comparing all pairs and flooding."""
    numbers = [-1] * len(hashes)
    for start in range(len(hashes)):
        if numbers[start] >= 0:
            continue
        number = max(numbers) + 1
        waiting = [start]
        while waiting:
            i = waiting.pop()
            numbers[i] = number
            for j, other in enumerate(hashes):
                if numbers[j] < 0 and within[i] == within[j] and bin(hashes[i] ^ other).count("1") <= distance:
                    waiting.append(j)
    return numbers


@given(
    base=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4),
    flips=st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=7)), max_size=40),
    distance=st.integers(0, 8),
    several=st.booleans(),
)
def test_exactly_what_comparing_all_pairs_gives(
    base: list[int], flips: list[tuple[int, list[int]]], distance: int, several: bool
) -> None:
    hashes = list(base)
    for which, bits in flips:
        hashes.append(base[which % len(base)] ^ sum(1 << bit for bit in set(bits)))
    within = [i % 2 if several else 0 for i in range(len(hashes))]
    found = near_components(np.array(hashes, dtype=np.uint64), distance, np.array(within))
    assert found.tolist() == brute_force(hashes, distance, within)


def test_reducing_the_edges_in_between_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = np.repeat(rng.integers(0, 2**63, 40, dtype=np.uint64), 30)
    hashes ^= np.uint64(1) << rng.integers(0, 64, len(hashes), dtype=np.uint64)
    expected = near_components(hashes, 4)
    assert len(set(expected.tolist())) == 40
    monkeypatch.setattr(near_module, "_MOST_EDGES", 10)
    monkeypatch.setattr(near_module, "_CHUNK", 7)
    assert np.array_equal(near_components(hashes, 4), expected)


def test_bit_count_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 2**63, (5, 7), dtype=np.uint64)
    expected = [[bin(int(v)).count("1") for v in row] for row in values]
    assert bit_count(values).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bit_count(values).tolist() == expected


def test_nothing_and_one() -> None:
    assert near_components(np.zeros(0, np.uint64), 4).tolist() == []
    assert near_components(np.zeros(1, np.uint64), 4).tolist() == [0]
