"""Pairs of generators: what is fitted and scored, what is kept, what a cut search does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from search_planted import GOOD, HARMFUL, one_fit_per_candidate, planted_pair, random_problem, write_store

from aigiscan.errors import InputError
from aigiscan.features import parse_view
from aigiscan.features.selection import load_selection, write_yaml
from aigiscan.search import features
from aigiscan.search.features import pair_problems, remove_journals, search_pairs
from aigiscan.search.greedy import GreedySearch, Removal, SearchOptions
from aigiscan.search.journal import Journal
from aigiscan.search.scores import SCORES, by_chance
from aigiscan.search.split import search_rows
from aigiscan.store import EmbeddingStore


@pytest.mark.parametrize("seed", range(10))
def test_planted_columns_are_found(seed, tmp_path):
    X, label, generator = planted_pair(seed)
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator)) as store:
        (found,) = search_pairs([pair_problems(store, ("a", "b"))], SearchOptions(score="auc"))
    assert set(GOOD) <= set(found.kept)
    assert not set(HARMFUL) & set(found.kept)
    for direction in found.directions:
        assert set(direction.removed[:3]) == set(HARMFUL)  # the most harmful go first
        assert max(direction.scores) > direction.baseline


def test_rows_of_a_direction_are_those_of_the_split(tmp_path):
    X = np.arange(24, dtype=np.float32).reshape(12, 2)
    generator = ["", "", "", "", "a", "a", "a", "b", "b", "c", "", ""]
    label = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    split = ["train", "test", "train", "test", "train", "test", "", "train", "test", "train", "train", "val"]
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator, split=split)) as store:
        forth, back = pair_problems(store, ("a", "b"))
        rows = search_rows(store, ("a", "b"))
    # A → B fits on A's fakes and photographs of the training side. Row 10 is
    # a fake of nobody knows whom, row 11 of no side, row 6 without a side.
    np.testing.assert_array_equal(forth.X, X[[0, 2, 4]])
    np.testing.assert_array_equal(forth.y, [False, False, True])
    np.testing.assert_array_equal(forth.T, X[[1, 3, 8]])
    np.testing.assert_array_equal(back.X, X[[0, 2, 7]])
    np.testing.assert_array_equal(back.T, X[[1, 3, 5]])
    assert rows.from_manifest
    assert rows.without_split == 2
    assert forth.columns == ("planted:0", "planted:1")


def test_photographs_are_on_the_same_side_for_every_pair(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    generator = [("", "a", "b", "c")[i % 4] for i in range(400)]
    label = [int(bool(g)) for g in generator]
    group = [f"prompt{i // 8}" for i in range(400)]
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator, group=group)) as store:
        one, other = search_rows(store, ("a", "b"), seed=7), search_rows(store, ("b", "c"), seed=7)
        again = search_rows(store, ("a", "b"), seed=8)
    np.testing.assert_array_equal(one.train, other.train)
    assert not np.array_equal(one.train, again.train)
    groups = np.array(group)
    assert not set(groups[one.train]) & set(groups[one.test])
    for name in ("a", "b", "c"):
        _, fake = one.side(name, one.train)
        assert fake.sum() == pytest.approx(70, abs=6)
        assert (~fake).sum() == pytest.approx(70, abs=6)


def test_standardize_scales_by_the_training_rows(tmp_path):
    X, label, generator = planted_pair(0, n=60)
    X[:, 3] = 100 * X[:, 3] + 7
    X[:, 4] = 2.0
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator)) as store:
        forth, _ = pair_problems(store, ("a", "b"), standardize=True)
    np.testing.assert_allclose(forth.X.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(forth.X.std(axis=0), 4), 1, atol=1e-6)
    assert (forth.X[:, 4] == 0).all()


def test_cut_at_the_first_best_score_and_union(monkeypatch):
    problem = random_problem(0, d=5)
    removals = {
        "a": [Removal(4, 0.7, 0.0), Removal(0, 0.9, 0.0), Removal(1, 0.9, 0.0), Removal(2, 0.5, 0.0)],
        "b": [Removal(2, 0.2, 0.0), Removal(4, 0.3, 0.0), Removal(3, 0.1, 0.0), Removal(0, 0.1, 0.0)],
    }
    results = [
        features._result(problem, SearchOptions(), base, removals[name], {}) for name, base in (("a", 0.6), ("b", 0.4))
    ]
    assert [r.best_step for r in results] == [2, 0]  # the first of equals; no removal at all
    monkeypatch.setattr(features, "run_jobs", lambda *_, **__: iter(results))
    (found,) = search_pairs([(problem, problem)], SearchOptions())
    assert found.kept == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(results[0].kept(5), [1, 2, 3])


def test_processes_and_order_of_the_pair_change_nothing(tmp_path):
    X, label, generator = planted_pair(3, n=80)
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator)) as store:
        pair, swapped = pair_problems(store, ("a", "b")), pair_problems(store, ("b", "a"))
    one, other = search_pairs([pair, swapped], SearchOptions(), jobs=2)
    (alone,) = search_pairs([pair], SearchOptions())
    assert one == alone
    assert other.directions == one.directions[::-1]
    assert other.kept == one.kept


def test_a_cut_search_goes_on_from_its_last_step(tmp_path, monkeypatch):
    pair = random_problem(1, d=10), random_problem(2, d=10)
    (whole,) = search_pairs([pair], SearchOptions())
    journals = tmp_path / "out.yaml"
    steps = []
    original = GreedySearch.step

    def step(self):
        if len(steps) == 13:  # in the middle of the second direction
            raise KeyboardInterrupt
        steps.append(1)
        return original(self)

    monkeypatch.setattr(GreedySearch, "step", step)
    with pytest.raises(KeyboardInterrupt):
        search_pairs([pair], SearchOptions(), journals=journals)
    assert len(list(tmp_path.glob(".out.yaml.*.progress"))) == 2

    steps.clear()
    (resumed,) = search_pairs([pair], SearchOptions(), journals=journals)
    assert len(steps) == 5
    for a, b in zip(resumed.directions, whole.directions, strict=True):
        assert (a.removed, a.baseline, a.best_step) == (b.removed, b.baseline, b.best_step)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-12)
    assert resumed.kept == whole.kept
    remove_journals([pair], SearchOptions(), journals)
    assert not list(tmp_path.iterdir())


def test_other_data_or_settings_begin_anew(tmp_path):
    pair = random_problem(1, d=8), random_problem(2, d=8)
    journals = tmp_path / "out.yaml"
    search_pairs([pair], SearchOptions(max_steps=2), journals=journals)
    search_pairs([pair], SearchOptions(C=3.0), journals=journals)
    assert len(list(tmp_path.iterdir())) == 4
    (longer,) = search_pairs([pair], SearchOptions(max_steps=5), journals=journals)  # goes on from two steps
    assert len(longer.directions[0].removed) == 5
    assert longer.directions[0].counters["steps"] == 3
    (shorter,) = search_pairs([pair], SearchOptions(max_steps=4), journals=journals)
    assert shorter.directions[0].removed == longer.directions[0].removed[:4]


def test_journal_survives_a_half_written_line_and_double_work(tmp_path):
    journal = Journal(tmp_path / "j", "key")
    journal.begin(0.5)
    journal.add(1, Removal(3, 0.6, 0.1))
    with open(journal.path, "a", encoding="utf-8") as file:
        file.write('{"step": 2, "col')
    assert journal.read() == (0.5, [Removal(3, 0.6, 0.1)])
    journal.add(1, Removal(3, 0.6, 0.1))  # another worker had the same idea
    journal.add(2, Removal(7, 0.7, 0.1))
    assert [r.column for r in journal.read()[1]] == [3, 7]
    assert Journal(journal.path, "other").read() == (None, [])


def test_result_is_that_of_the_slow_method():
    pair = random_problem(4, d=9), random_problem(5, d=9)
    (found,) = search_pairs([pair], SearchOptions(score="auc"))
    for problem, direction in zip(pair, found.directions, strict=True):
        baseline, removals = one_fit_per_candidate(problem, SearchOptions(score="auc"))
        assert list(direction.removed) == [r.column for r in removals]
        assert direction.best_step == int(np.argmax([baseline, *(r.score for r in removals)]))


def test_selection_file_and_view(tmp_path):
    X, label, generator = planted_pair(0, n=60)
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator)) as store:
        options = SearchOptions()
        (found,) = search_pairs([pair_problems(store, ("a", "b"))], options)
        path = tmp_path / "selection.yaml"
        write_yaml(path, features.as_yaml(store, found, options, {"standardize": False, "seed": 0, "max_steps": 0}))
        fingerprint = store.fingerprint
    selection = load_selection(path)
    assert selection.kind == "components"
    assert selection.kept == found.kept
    assert selection.generators == ("a", "b")
    view = parse_view(f"components:{path}", {**fingerprint, "equalization": "square:224"})
    np.testing.assert_array_equal(view.transform({"embedding": X}), X[:, list(found.kept)])
    assert view.search_generators == ("a", "b")
    with pytest.raises(InputError, match="another encoder"):
        parse_view(f"components:{path}", {**fingerprint, "weights": "abc"})
    with pytest.raises(InputError, match="use --features components:"):
        parse_view(f"heads:{path}", fingerprint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kept: [", "not YAML"),
        ("just words", "not a selection"),
        ("kind: components\nformat: 1\nencoder: {}\nkept: [x]\npair: [a, b]", "not a selection"),
        ("kind: components\nformat: 99\nencoder: {}\nkept: []\npair: [a, b]", "newer"),
        ("kind: moods\nformat: 1\nencoder: {}", "does not know"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_what_is_no_selection_is_refused(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_selection(path)
    with pytest.raises(InputError, match="cannot read"):
        load_selection(tmp_path / "none.yaml")


def test_unknown_generators_are_refused_with_the_known_ones(tmp_path):
    X, label, generator = planted_pair(0, n=20)
    with EmbeddingStore(write_store(tmp_path / "s.h5", {"embedding": X}, label, generator)) as store:
        with pytest.raises(InputError, match="no generator 'z'; it has: a, b"):
            pair_problems(store, ("a", "z"))
        with pytest.raises(InputError, match="two different"):
            pair_problems(store, ("a", "a"))


def test_yaml_is_plain(tmp_path):
    write_yaml(tmp_path / "x.yaml", {"a": [np.float64(0.1) + 0, 2, "c:1"], "b": [[1, 2], [3, 4]]})
    assert yaml.safe_load((tmp_path / "x.yaml").read_text()) == json.loads(
        '{"a": [0.1, 2, "c:1"], "b": [[1, 2], [3, 4]]}'
    )


def test_unlabelled_rows_are_refused_not_taken_for_photographs(tmp_path):
    X, label, generator = planted_pair(0, n=20)
    for what, change in (("a fake", "a"), ("nothing known", "")):
        i = generator.index(change)
        labels = [-1 if k == i else value for k, value in enumerate(label)]
        store = write_store(tmp_path / f"{what}.h5", {"embedding": X}, labels, generator)
        with EmbeddingStore(store) as opened, pytest.raises(InputError, match="1 of 60 rows have no label"):
            pair_problems(opened, ("a", "b"))
    # an unlabelled row of a generator that takes no part does not matter
    others = [*generator[:-1], "c"]
    store = write_store(tmp_path / "other.h5", {"embedding": X}, [*label[:-1], -1], others)
    with EmbeddingStore(store) as opened:
        forth, _ = pair_problems(opened, ("a", "b"))
    assert len(forth.y) + len(forth.z) < 60


def test_chance_is_what_the_best_of_many_reaches_on_noise():
    rng = np.random.default_rng(0)
    for fakes, rows in ((7, 43), (100, 200)):
        fake = np.arange(rows) < fakes
        for name in ("accuracy", "auc"):
            for tries in (1, 40):
                best = [SCORES[name](rng.normal(size=(tries, rows)), fake).max() for _ in range(8000 // tries)]
                chance = by_chance(name, fake, tries)
                assert chance == pytest.approx(np.mean(best), abs=0.015)
    assert by_chance("ap", np.arange(10) < 3) == 0.3
