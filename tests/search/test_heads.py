"""Choosing attention heads: exact in d_head columns, planted heads found."""

from __future__ import annotations

import numpy as np
import pytest
from planted_clip import D_HEAD, FP32, HEADS, LAYERS, PLANTED_HEAD, coloured, write_planted_clip
from search_planted import write_store

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.heads import head_matrices
from aigiscan.errors import FitError, InputError, StoreError
from aigiscan.features import parse_view
from aigiscan.features.selection import load_selection, write_yaml
from aigiscan.search.greedy import SearchOptions
from aigiscan.search.heads import head_data, store_factors
from aigiscan.search.logistic import fit_logistic
from aigiscan.search.parts import PartData, as_yaml, score_grid, search_parts
from aigiscan.store import EmbeddingStore


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    name = write_planted_clip(tmp_path_factory.mktemp("clip"))
    return create_encoder(name, EncoderOptions(heads=True, **FP32))


@pytest.fixture(scope="module")
def store(encoder, tmp_path_factory):
    """Photographs are green, the fakes of both generators red: head PLANTED_HEAD sees colour."""
    rng = np.random.default_rng(0)
    generator = [("", "a", "b")[i % 3] for i in range(90)]
    images = [coloured(rng, "red" if g else "green") for g in generator]
    channels = encoder.encode([encoder.prepare(image) for image in images])
    path = tmp_path_factory.mktemp("store") / "s.h5"
    write_store(path, channels, [int(bool(g)) for g in generator], generator, fingerprint=encoder.fingerprint())
    with EmbeddingStore(path) as opened:
        yield opened


def planted_heads(seed: int, planted: tuple[tuple[int, int], ...], n: int = 160) -> PartData:
    """Only the planted heads know fakes of both generators; another knows those of the training generator alone."""
    rng = np.random.default_rng(seed)
    names = tuple((layer, head) for layer in range(4) for head in range(3))
    y, z = rng.random(n) < 0.5, rng.random(n) < 0.5
    X, T = (rng.normal(size=(len(names), n, 6)).astype(np.float32) for _ in range(2))
    for k, name in enumerate(planted):
        X[names.index(name), y, k] += 1.6
        T[names.index(name), z, k] += 1.6
    X[names.index((3, 2)), y] += 3
    return PartData(names, X, y, T, z)


def test_columns_of_a_head_stand_for_its_projected_output(encoder, store):
    """One regression on z R / σ equals one on the projected outputs E = z M / σ, for every head."""
    matrices = head_matrices(encoder)
    z, sigma = store.read("heads").astype(float), store.read("sigma").astype(float).reshape(-1, 1)
    fake = np.asarray(store.rows.label) == 1
    assert matrices.M.shape[-1] > D_HEAD
    for layer in range(LAYERS):
        for head in range(HEADS):
            E = z[:, layer, head] @ matrices.M[layer, head].astype(float) / sigma
            small = z[:, layer, head] @ matrices.R[layer, head].astype(float) / sigma
            full, short = fit_logistic(E, fake, 10.0), fit_logistic(small, fake, 10.0)
            np.testing.assert_allclose(short.margins, full.margins, rtol=0, atol=1e-6)
            # and the weights mean the same direction of the joint space
            direction = short.weights @ matrices.Q[layer, head]
            assert np.linalg.norm(direction - full.weights) < 1e-6 * np.linalg.norm(full.weights)


def test_planted_head_of_an_encoder_comes_first(store):
    data = head_data(store, "a", "b", store_factors(store))
    found = search_parts(data, SearchOptions(), top=2)
    assert found.ranking[0].parts == (PLANTED_HEAD,)
    assert found.ranking[0].score == 1.0
    assert found.kept[0] == PLANTED_HEAD
    assert len(found.ranking) == LAYERS * HEADS


def test_heads_file_and_view(store, encoder, tmp_path):
    options = SearchOptions()
    data = head_data(store, "a", "b", store_factors(store))
    found = search_parts(data, options, top=2)
    path = tmp_path / "heads.yaml"
    write_yaml(
        path, as_yaml("heads", store.fingerprint, ("a", "b"), data, found, options, {"strategy": "top", "seed": 0})
    )
    selection = load_selection(path)
    assert selection.kept == found.kept
    assert selection.generators == ("a", "b")
    view = parse_view(f"heads:{path}", store.fingerprint)
    X = view.transform({"heads": store.read("heads"), "sigma": store.read("sigma")})
    assert X.shape == (90, 2 * D_HEAD)
    names = list(data.names)
    rows = [i for i, g in enumerate(store.rows.generator) if g in ("", "a")]
    expected = data.X[names.index(found.kept[0])]  # a subset of these rows
    first = X[rows][:, :D_HEAD]
    assert all(np.abs(first - row).max(axis=1).min() < 1e-5 for row in expected)
    assert view.search_generators == ("a", "b")


@pytest.mark.parametrize("seed", range(10))
def test_planted_heads_are_found(seed):
    data = planted_heads(seed, ((1, 2), (0, 1), (2, 0)))
    found = search_parts(data, SearchOptions(score="auc"), top=3)
    assert set(found.kept) == {(1, 2), (0, 1), (2, 0)}
    assert found.ranking[-1].score < 0.65


@pytest.mark.parametrize("strategy", ["forward", "pairs"])
def test_sets_of_heads(strategy):
    data = planted_heads(0, ((1, 2), (0, 1)))
    found = search_parts(data, SearchOptions(score="auc"), top=2, strategy=strategy)
    assert set(found.kept) == {(1, 2), (0, 1)}
    assert found.together.score > found.ranking[0].score
    among = search_parts(data, SearchOptions(score="auc"), top=2, strategy=strategy, among=4)
    assert set(among.kept) == {(1, 2), (0, 1)}


def test_forward_takes_what_adds_most_not_what_is_best_alone():
    data = planted_heads(1, ((1, 2), (0, 1)))
    k, copy = data.names.index((1, 2)), data.names.index((3, 0))
    data.X[k, data.y, 0] += 0.5
    data.T[k, data.z, 0] += 0.5
    data.X[copy], data.T[copy] = data.X[k], data.T[k]  # as good alone, nothing new together
    top = search_parts(data, SearchOptions(score="auc"), top=2)
    forward = search_parts(data, SearchOptions(score="auc"), top=2, strategy="forward")
    assert top.kept == ((1, 2), (3, 0))  # the tie goes to the lower head
    assert forward.kept == ((1, 2), (0, 1))


def test_processes_change_nothing():
    data = planted_heads(2, ((1, 2),))
    one = search_parts(data, SearchOptions(), top=2, strategy="forward")
    assert search_parts(data, SearchOptions(), top=2, strategy="forward", jobs=2) == one


def test_grid_of_scores():
    data = planted_heads(0, ((1, 2),))
    found = search_parts(data, SearchOptions(), top=1)
    grid = score_grid(found.ranking, (4, 3))
    assert np.isfinite(grid).all()
    assert grid.max() == grid[1, 2] == found.ranking[0].score


def test_what_cannot_be_searched_is_refused(store, tmp_path):
    data = planted_heads(0, ((1, 2),))
    with pytest.raises(InputError, match="--top 13: the store has 12"):
        search_parts(data, SearchOptions(), top=13)
    with pytest.raises(InputError, match="--strategy magic is not known"):
        search_parts(data, SearchOptions(), strategy="magic")
    with pytest.raises(InputError, match="two different"):
        head_data(store, "a", "a", store_factors(store))
    plain = write_store(
        tmp_path / "s.h5", {"embedding": np.zeros((4, 2), np.float32)}, [0, 0, 1, 1], ["", "", "a", "b"]
    )
    with EmbeddingStore(plain) as opened, pytest.raises(StoreError, match="--heads"):
        store_factors(opened)
    split = ["train", "train", "train", "test"]
    channels = {"heads": np.zeros((4, 1, 1, 2), np.float32), "sigma": np.ones(4, np.float32)}
    one_sided = write_store(tmp_path / "t.h5", channels, [0, 0, 1, 1], ["", "", "a", "b"], split=split)
    with EmbeddingStore(one_sided) as opened, pytest.raises(FitError, match="both are needed"):
        head_data(opened, "a", "b", np.ones((1, 1, 2, 2)))


def test_the_penalty_is_tuned_on_the_validation_side():
    """Every set counts with the C that is best for it, which is that of one search per C."""
    data, Cs = planted_heads(3, ((1, 2), (0, 1)), n=40), (0.001, 0.1, 10.0)
    tuned = search_parts(data, SearchOptions(score="auc"), top=2, Cs=Cs)
    alone = {C: {s.parts: s for s in search_parts(data, SearchOptions(C=C, score="auc"), top=2).ranking} for C in Cs}
    for found in tuned.ranking:
        scores = [alone[C][found.parts].score for C in Cs]
        assert found.score == pytest.approx(max(scores), abs=1e-9)
        assert found.C in [C for C, score in zip(Cs, scores, strict=True) if score >= max(scores) - 1e-9]
    assert len({found.C for found in tuned.ranking}) > 1
    assert search_parts(data, SearchOptions(C=0.1), top=2).together.C == 0.1
