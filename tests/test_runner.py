"""One loop: rows in order, bad files as rows, bounded look-ahead, clean stops."""

from __future__ import annotations

import threading
import time
from itertools import islice

import numpy as np
import pytest
from fake_encoder import FakeEncoder

from aigiscan.images.ahead import default_workers
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import RunSettings, after_whole_batches, growing_batches, run, run_batches


def records_of(paths):
    return [ImageRecord(str(p)) for p in paths]


class JitterEncoder(FakeEncoder):
    """Takes longest for the first files, so that later ones are ready earlier."""

    def prepare(self, image):
        time.sleep(0.02 if image.getpixel((0, 0))[0] > 128 else 0)
        return super().prepare(image)


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_rows_are_in_order_and_alike_for_any_batch_size_and_worker_count(make_images, workers, batch_size):
    paths = make_images(13)
    rows = list(run(records_of(paths), JitterEncoder(), batch_size=batch_size, workers=workers))
    assert [r.record.path for r in rows] == [str(p) for p in paths]
    alone = [next(iter(run(records_of([p]), FakeEncoder(), workers=0))) for p in paths]
    for row, reference in zip(rows, alone, strict=True):
        np.testing.assert_array_equal(row.channels["embedding"], reference.channels["embedding"])
        assert row.facts == reference.facts and row.facts.sha256 and row.error == "" and not row.reused


def test_unreadable_files_are_rows_with_a_reason(make_images, tmp_path):
    paths = make_images(5)
    paths[0].write_bytes(b"")
    paths[3].write_text("no picture")
    paths[4] = tmp_path / "missing.png"
    records = [*records_of(paths), ImageRecord("listed", error="no permission to list it")]
    encoder = FakeEncoder()
    rows = list(run(records, encoder, batch_size=2))
    assert [r.channels is None for r in rows] == [True, False, False, True, True, True]
    assert all(bool(r.error) == (r.channels is None) for r in rows)
    assert rows[-1].error == "no permission to list it"
    assert encoder.batches == [2]


def test_batches_are_full_and_lists_end_where_batches_end(make_images):
    paths = make_images(10)
    paths[1].write_bytes(b"junk")
    encoder = FakeEncoder()
    lists = list(run_batches(records_of(paths), encoder, RunSettings(batch_size=4)))
    assert encoder.batches == [4, 4, 1]
    assert [len(rows) for rows in lists] == [5, 4, 1]


def test_equalization_comes_before_the_encoder(make_images):
    paths = make_images(2, size=40)
    steps = Equalization.parse("square:16,jpeg:50")
    seen = []

    class Looking(FakeEncoder):
        def prepare(self, image):
            seen.append(image.size)
            return super().prepare(image)

    list(run(records_of(paths), Looking(), equalization=steps, workers=0))
    assert seen == [(16, 16), (16, 16)]


def test_max_pixels(make_images):
    small, large = make_images(1, "a", size=10)[0], make_images(1, "b", size=30)[0]
    rows = list(run(records_of([small, large]), FakeEncoder(), max_pixels=400))
    assert rows[0].error == "" and "400" in rows[1].error


def test_a_picture_that_cannot_be_prepared_is_a_row(make_images):
    class Fussy(FakeEncoder):
        def prepare(self, image):
            if image.width < 20:
                raise ValueError("too narrow")
            return super().prepare(image)

    paths = [*make_images(2, "wide"), *make_images(1, "narrow", size=8)]
    rows = list(run(records_of(paths), Fussy()))
    assert [r.error for r in rows] == ["", "", "cannot be prepared: ValueError: too narrow"]


@pytest.mark.parametrize("where", ["prepare", "encode"])
@pytest.mark.parametrize("workers", [0, 2])
def test_mistakes_in_an_encoder_are_raised(make_images, where, workers):
    class Broken(FakeEncoder):
        pass

    def fail(*_):
        raise TypeError("a mistake in the program")

    setattr(Broken, where, fail)
    with pytest.raises(TypeError, match="a mistake"):
        list(run(records_of(make_images(3)), Broken(), workers=workers))


def test_numbers_that_are_not_finite_are_an_error_of_that_row(make_images):
    class Overflowing(FakeEncoder):
        def encode(self, inputs):
            out = super().encode(inputs)
            out["embedding"][1, 5] = np.inf
            return out

    rows = list(run(records_of(make_images(3)), Overflowing()))
    assert [r.channels is None for r in rows] == [False, True, False]
    assert "not finite" in rows[1].error


def test_look_ahead_is_bounded_and_records_may_come_from_a_generator(make_images):
    [path] = make_images(1)
    taken = 0

    def records():
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield ImageRecord(str(path))

    rows = run(records(), FakeEncoder(), batch_size=4, workers=2)
    next(rows)
    assert taken <= 4 + 2 * 4 + 2
    rows.close()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, None])
def test_threads_end_when_the_run_is_left(make_images, stop):
    paths = make_images(12)
    before = threading.active_count()
    rows = run_batches(records_of(paths), FakeEncoder(), RunSettings(batch_size=2, workers=3))
    next(rows)
    if stop is None:
        rows.close()
    else:
        with pytest.raises(stop):
            rows.throw(stop)
    assert threading.active_count() == before


class DictCache:
    """Knows some paths; channels are the row number, so that no real encoder gives them."""

    def __init__(self, known):
        self.known = known
        self.read = []

    def find(self, record):
        row = self.known.get(record.path)
        return None if row is None else (row, FileFacts(width=row))

    def read_rows(self, rows):
        self.read.append(len(rows))
        return {"embedding": np.array(rows, dtype=np.float32)[:, None].repeat(48, axis=1)}


def test_cached_files_are_neither_opened_nor_encoded_and_keep_their_place(make_images, tmp_path):
    paths = make_images(9)
    absent = [tmp_path / f"gone{i}.png" for i in range(4)]  # never opened, or they would be errors
    order = [absent[0], *paths[:5], absent[1], absent[2], *paths[5:], absent[3]]
    cache = DictCache({str(p): i for i, p in enumerate(absent)})
    encoder = FakeEncoder()
    rows = list(run(records_of(order), encoder, batch_size=4, cache=cache))
    assert [r.record.path for r in rows] == [str(p) for p in order]
    assert [r.reused for r in rows] == [p in absent for p in order]
    assert [r.channels["embedding"][0] for r in rows if r.reused] == [0, 1, 2, 3]
    assert encoder.batches == [4, 4, 1]


def test_many_cached_rows_do_not_gather(make_images, tmp_path):
    names = [str(tmp_path / f"{i}") for i in range(2000)]
    cache = DictCache({name: i for i, name in enumerate(names)})
    lists = list(run_batches([ImageRecord(n) for n in names], FakeEncoder(), cache=cache))
    assert max(map(len, lists)) <= 512 and sum(map(len, lists)) == 2000


def test_default_workers_fit_the_machine():
    assert 1 <= default_workers() <= 16


def test_the_first_batches_are_small():
    assert list(islice(growing_batches(32), 6)) == [4, 8, 16, 32, 32, 32]
    assert list(islice(growing_batches(3), 3)) == [3, 3, 3]
    assert list(islice(growing_batches(1), 2)) == [1, 1]


class SociableEncoder(FakeEncoder):
    """Its numbers depend on what else is in the batch, as rounding makes those of real encoders."""

    def encode(self, inputs):
        out = super().encode(inputs)
        return {"embedding": out["embedding"] + out["embedding"].mean()}


@pytest.mark.parametrize("batch_size", [3, 8])
def test_a_run_cut_anywhere_goes_on_to_the_same_numbers(make_images, batch_size):
    paths = make_images(23)
    for i in (0, 5, 6):
        paths[i].write_bytes(b"")

    def rows_of(records, sizes):
        batches = run_batches(records, SociableEncoder(), RunSettings(batch_size=batch_size, workers=0), sizes=sizes)
        return [None if r.channels is None else r.channels["embedding"].tobytes() for rows in batches for r in rows]

    records = records_of(paths)
    whole = rows_of(records, growing_batches(batch_size))
    for cut in range(len(records) + 1):
        kept, sizes = after_whole_batches((row is not None for row in whole[:cut]), growing_batches(batch_size))
        assert cut - kept < batch_size + 3 and kept <= cut
        assert rows_of(records[kept:], sizes) == whole[kept:]
