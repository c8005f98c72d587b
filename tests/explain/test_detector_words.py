from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from planted_clip import FP32, PLANTED_HEAD, make_detector

from aigiscan.classifiers import make_classifier
from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.heads import head_matrices
from aigiscan.errors import EncoderError, StoreError
from aigiscan.explain.detector_words import chance_of_residual, chance_of_weights, explain_words
from aigiscan.explain.head_words import encoder_with_words, heads_of_encoder, heads_of_store
from aigiscan.explain.words import WordList, phrase_list, residual
from aigiscan.explain.write import write_words
from aigiscan.features.views import ComponentsView, HeadsView
from aigiscan.store import EmbeddingStore

PHRASES = ["a red picture", "a green picture", "a blue picture", "a cat", "a dog", "two houses", "an old lamp"]


def ends(entry: dict, kind: str) -> tuple[str, str]:
    return entry[kind]["positive"][0]["text"], entry[kind]["negative"][0]["text"]


@pytest.mark.parametrize("classifier", ["logistic", "svm", "residual"])
def test_planted_words_of_the_weights(planted: Any, pictures: Any, classifier: str) -> None:
    params = {"standardize": False} if classifier != "residual" else {}
    words = explain_words(make_detector(planted, pictures, classifier=classifier, **params), planted, PHRASES, top=5)
    assert ends(words, "phrases") == ("a red picture", "a green picture")
    assert ends(words, "tokens") == ("red", "green")
    top = words["tokens"]["positive"][0]
    assert top["kind"] == "word-end"
    assert len(words["tokens"]["negative"]) == 5
    assert words["interpretability"]["tokens"] == top["cosine"]
    assert (words["chance"], words["warning"]) == ({}, "")  # nothing to hold it against
    assert "--neighbours" in words["missing"]["chance"]
    assert words["generators"] == {}
    assert "generators" in words["missing"]


def test_a_clear_meaning_is_one_that_dealt_labels_do_not_reach(planted: Any, pictures: Any) -> None:
    """Labels that decide along word 3 are clear; labels that mean nothing hardly ever are, nor are random halves."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = {"phrases": WordList(tuple(f"word {i}" for i in range(60)), vectors.astype(np.float32))}
    # pictures differ most along word 7, whatever their label: such directions have words, and mean nothing
    X = rng.normal(size=(240, 32)) + 4.0 * rng.normal(size=(240, 1)) * vectors[7]
    labels = np.arange(240) % 2
    detector = make_detector(planted, pictures, standardize=False)

    def clear(X: np.ndarray, labels: np.ndarray) -> tuple[bool, bool]:
        judge = make_classifier("logistic", standardize=False).fit(X, labels)
        weights, why = chance_of_weights(detector, planted, Known(X, labels), lists)  # type: ignore[arg-type]
        assert why == ""
        fake, real = X[labels == 1], X[labels == 0]
        level = chance_of_residual(fake, real, lists)["phrases"]
        found = lists["phrases"]
        return found.clarity(judge.coef_[0]) > weights["phrases"], found.clarity(residual(fake, real)) > level

    assert clear(X + 3.0 * labels[:, None] * vectors[3], labels)[0]
    nothing = [clear(X, np.random.default_rng(seed).permutation(labels)) for seed in range(12)]
    assert np.mean([one for one, _ in nothing]) <= 0.25 and np.mean([other for _, other in nothing]) <= 0.25


def test_the_warning_is_held_against_the_store(planted: Any, pictures: Any, coloured_store: Path) -> None:
    detector = make_detector(planted, pictures, standardize=False)
    words = explain_words(detector, planted, PHRASES, store=EmbeddingStore(coloured_store))
    assert set(words["chance"]) == {"phrases", "tokens"} == set(words["generators"]["red_gan"]["chance"])
    clear = any(words["clarity"][name] > level for name, level in words["chance"].items())
    assert bool(words["warning"]) == clear
    knn = make_detector(planted, pictures, classifier="knn", k=3)
    assert explain_words(knn, planted, PHRASES, store=EmbeddingStore(coloured_store))["chance"] == {}


class Known:
    """The part of a store that words are made from."""

    path, channel_names = "known", ("embedding",)

    def __init__(self, X: np.ndarray, labels: np.ndarray) -> None:
        self.X = X
        self.rows = SimpleNamespace(label=labels, generator=np.where(labels == 1, "red_gan", ""))

    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.X[rows]


def test_generators_by_their_residuals(
    planted: Any, pictures: Any, coloured_store: Path, coloured_folder: Path
) -> None:
    store = EmbeddingStore(coloured_store)
    words = explain_words(make_detector(planted, pictures, standardize=False), planted, PHRASES, store=store)
    assert set(words["generators"]) == {"red_gan", "blue_gan"}
    red, blue = words["generators"]["red_gan"], words["generators"]["blue_gan"]
    assert ends(red, "phrases") == ("a red picture", "a green picture")
    assert ends(blue, "tokens") == ("blue", "green")
    assert ends(blue["weights"], "tokens") == ("blue", "green")
    assert red["cosine_with_detector"] > 0.9 > blue["cosine_with_detector"]
    assert red["images"] == {"fake": 8, "real": 8}
    X = store.read("embedding")
    mine = residual(X[store.rows.generator == "red_gan"], X[store.rows.label == 0])
    index = phrase_list(planted, PHRASES)
    assert red["phrases"]["positive"][0]["cosine"] == pytest.approx(index.interpretability(mine), abs=1e-5)


def test_generators_have_words_where_the_classifier_has_no_weights(
    planted: Any, pictures: Any, coloured_store: Path
) -> None:
    detector = make_detector(planted, pictures, classifier="knn", k=3)
    words = explain_words(detector, planted, PHRASES, store=EmbeddingStore(coloured_store))
    assert "not linear" in words["missing"]["words"]
    assert words["phrases"]["positive"] == []
    assert ends(words["generators"]["blue_gan"], "phrases") == ("a blue picture", "a green picture")
    assert words["generators"]["blue_gan"]["cosine_with_detector"] is None


def test_removed_components_have_no_say(planted: Any, pictures: Any, coloured_store: Path) -> None:
    kept = [i for i in range(32) if i not in (0, 1)]  # neither red nor green
    detector = make_detector(planted, pictures, view=ComponentsView(kept), standardize=False)
    words = explain_words(detector, planted, PHRASES, store=EmbeddingStore(coloured_store))
    assert words["tokens"]["positive"][0]["text"] != "red"
    assert ends(words["generators"]["blue_gan"], "tokens")[0] == "blue"
    assert ends(words["generators"]["red_gan"], "tokens")[1] != "green"


def test_heads_of_a_detector_in_words(planted_name: str, pictures: Any) -> None:
    encoder = create_encoder(planted_name, EncoderOptions(heads=True, **FP32))
    view = HeadsView([PLANTED_HEAD], head_matrices(encoder).R[PLANTED_HEAD][None])
    words = explain_words(make_detector(encoder, pictures, view=view, standardize=False), encoder, PHRASES)
    assert ends(words["heads"]["0:1"], "tokens") == ("red", "green")
    assert words["tokens"] == words["heads"]["0:1"]["tokens"]


def test_no_words_without_a_text_tower(pictures: Any, tmp_path: Path) -> None:
    encoder = create_encoder("spam", EncoderOptions(**FP32))
    words = explain_words(make_detector(encoder, pictures), encoder, PHRASES)
    assert words["phrases"] == words["tokens"] == {"positive": [], "negative": []}
    assert "spam has no text tower" in words["missing"]["words"]
    write_words(tmp_path, words)
    assert json.loads((tmp_path / "words.json").read_text()) == words


def test_written_words(planted: Any, pictures: Any, coloured_store: Path, tmp_path: Path) -> None:
    words = explain_words(make_detector(planted, pictures), planted, PHRASES, store=EmbeddingStore(coloured_store))
    out = tmp_path / "out"
    assert [path.name for path in write_words(out, words)] == ["words.json", "words.csv", "words.png"]
    assert json.loads((out / "words.json").read_text()) == words
    with (out / "words.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["scope"] for row in rows} >= {"weights", "residual red_gan", "weights blue_gan"}
    first = rows[0]
    assert (first["text"], float(first["cosine"])) == (
        words["phrases"]["positive"][0]["text"],
        words["phrases"]["positive"][0]["cosine"],
    )


def test_heads_of_a_store(planted: Any, coloured_store: Path) -> None:
    store = EmbeddingStore(coloured_store)
    phrases = phrase_list(planted, PHRASES)
    entries = heads_of_store(store, encoder_with_words(planted, store), phrases, top=2)
    assert [(e["layer"], e["head"]) for e in entries] == [(layer, head) for layer in range(3) for head in range(4)]
    # against the plain way: every head of every image in the joint space, cosine, mean
    z, sigma = store.read("heads"), store.read("sigma")
    for layer, head in (PLANTED_HEAD, (2, 0)):
        written = z[:, layer, head] @ head_matrices(planted).M[layer, head] / sigma[:, None]
        written /= np.linalg.norm(written, axis=1, keepdims=True)
        cosines = (written @ phrases.embeddings.T).mean(axis=0)
        entry = entries[layer * 4 + head]
        assert entry["positive"][0]["text"] == PHRASES[int(cosines.argmax())]
        assert entry["positive"][0]["cosine"] == pytest.approx(cosines.max(), abs=1e-4)
        assert entry["negative"][0]["cosine"] == pytest.approx(cosines.min(), abs=1e-4)


def test_heads_of_an_encoder_write_where_their_map_is_strongest(planted: Any) -> None:
    phrases = phrase_list(planted, PHRASES)
    entries = heads_of_encoder(planted, phrases, top=2)
    M = head_matrices(planted).M[1, 2].astype(np.float64)
    strongest = np.linalg.svd(M)[2][0]
    cosines = np.abs(phrases.embeddings @ strongest)
    entry = entries[1 * 4 + 2]
    assert entry["positive"][0]["cosine"] == pytest.approx(cosines.max(), abs=1e-5)
    assert all(e["positive"][0]["cosine"] >= -e["negative"][0]["cosine"] for e in entries)


def test_heads_that_have_no_words(planted_name: str, planted: Any, coloured_store: Path) -> None:
    with pytest.raises(EncoderError, match="lite has no attention heads"):
        encoder_with_words(create_encoder("lite", EncoderOptions(**FP32)))
    hidden = create_encoder(planted_name, EncoderOptions(projection="hidden", **FP32))
    with pytest.raises(EncoderError, match="before the projection"):
        encoder_with_words(hidden)
    with pytest.raises(StoreError, match="projection"):
        encoder_with_words(hidden, EmbeddingStore(coloured_store))
