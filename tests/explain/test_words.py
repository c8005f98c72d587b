from __future__ import annotations

import numpy as np
import pytest

from aigiscan.errors import InputError
from aigiscan.explain.words import WordList, bias_warning, describe, read_phrases, residual


def planted(d: int = 8) -> WordList:
    """Words along the axes: text k is axis k."""
    return WordList(tuple(f"axis {k}" for k in range(d)), np.eye(d, dtype=np.float32))


def test_shipped_phrases() -> None:
    phrases = read_phrases()
    assert len(phrases) >= 600
    assert len({phrase.casefold() for phrase in phrases}) == len(phrases)
    assert all(phrase == phrase.strip() and 3 <= len(phrase) <= 80 for phrase in phrases)
    for needed in ("a blurred photograph", "a sharp photograph", "a low-quality JPEG", "a noisy photograph"):
        assert needed in phrases


def test_phrases_of_a_file(tmp_path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\ufeff# mine\n a b \n\na b\nc\n", encoding="utf-8")
    assert read_phrases(path) == ["a b", "c"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_phrases(path)
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="no phrase"):
        read_phrases(path)
    with pytest.raises(InputError, match=r"absent\.txt"):
        read_phrases(tmp_path / "absent.txt")


def test_nearest_and_farthest() -> None:
    direction = np.array([0, 3.0, 0, 0, 0, -4.0, 0, 0])
    ends = planted().ends(direction, 2)
    assert ends["positive"][0] == {"text": "axis 1", "cosine": 0.6}
    assert ends["negative"][0] == {"text": "axis 5", "cosine": -0.8}
    assert [entry["text"] for entry in ends["positive"]] == ["axis 1", "axis 0"]
    assert planted().interpretability(direction) == pytest.approx(0.6)
    assert planted().interpretability(np.zeros(8)) == 0


def test_kinds_of_tokens_are_told_apart() -> None:
    words = WordList(("blur", "blur"), np.eye(2, dtype=np.float32), ("word-end", "sub-word"))
    assert words.ends(np.array([0, 1.0]), 1)["positive"] == [{"text": "blur", "cosine": 1.0, "kind": "sub-word"}]


def test_residual_is_the_difference_of_unit_means() -> None:
    fakes = np.array([[2.0, 0], [4.0, 0]])
    reals = np.array([[0, 0.1], [0, 0.3]])
    np.testing.assert_allclose(residual(fakes, reals), [1, -1])


def test_warning_only_for_a_clear_meaning() -> None:
    rng = np.random.default_rng(0)
    d = 64
    vectors = rng.normal(size=(50, d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = WordList(tuple(f"word {k}" for k in range(50)), vectors.astype(np.float32))
    chance = {"phrases": 0.4}
    clear = describe(vectors[17] - vectors[3], {"phrases": words}, 3)
    warning = bias_warning(clear, chance)
    assert "“word 17”" in warning
    assert "“word 3”" in warning
    assert "Gaintseva" in warning
    # a direction that is orthogonal to all words has no meaning
    basis, _ = np.linalg.qr(np.concatenate([vectors, rng.normal(size=(14, d))]).T)
    assert bias_warning(describe(basis[:, 60], {"phrases": words}, 3), chance) == ""


def test_what_all_texts_share_is_no_meaning() -> None:
    shared = WordList(("a", "b"), np.array([[0.8, 0.6, 0], [0.8, -0.6, 0]], dtype=np.float32))
    along = np.array([1.0, 0, 0])
    assert shared.interpretability(along) == pytest.approx(0.8)
    assert shared.clarity(along) == pytest.approx(0, abs=1e-6)
    assert shared.clarity(np.array([5.0, 1, 0])) == pytest.approx(0.6)
