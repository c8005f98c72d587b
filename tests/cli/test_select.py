"""``aigiscan select-features`` and ``select-heads`` as a user calls them."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli_calls import call
from planted_clip import FP32, PLANTED_HEAD, coloured, write_planted_clip
from search_planted import GOOD, HARMFUL, planted_pair, write_store
from typer.testing import CliRunner

from aigiscan.cli import console
from aigiscan.cli.app import app
from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.search.features import pair_problems, progress, search_pairs
from aigiscan.search.greedy import SearchOptions
from aigiscan.store import EmbeddingStore


@pytest.fixture
def store(tmp_path):
    X, label, generator = planted_pair(0, n=90)
    generator = [g if i % 2 or g != "b" else "c" for i, g in enumerate(generator)]
    return write_store(tmp_path / "store.h5", {"embedding": X}, label, generator)


def test_selection_has_all_that_is_needed_to_check_it(store, tmp_path):
    output = tmp_path / "out" / "selection.yaml"
    result = call(
        "select-features", store, "--pair", "a", "b", "--score", "auc", "--C", 0.5, "--seed", 3, "-j", 1,
        "-o", output, "--plot", tmp_path / "curves.png",
    )  # fmt: skip
    assert "a → b" in result.stderr
    assert "components:" in result.stderr
    content = yaml.safe_load(output.read_text())
    assert content["kind"] == "components"
    assert content["encoder"]["name"] == "planted"
    assert (content["pair"], content["C"], content["score"], content["seed"]) == (["a", "b"], 0.5, "auc", 3)
    assert content["versions"]["aigiscan"]
    kept = {int(name.rpartition(":")[2]) for name in content["kept"]}
    assert set(GOOD) <= kept
    assert not set(HARMFUL) & kept
    forth, back = content["directions"]
    assert (forth["train"], forth["test"], back["train"], back["test"]) == ("a", "b", "b", "a")
    for direction in (forth, back):
        assert len(direction["removed"]) == len(direction["scores"]) == 15
        curve = [direction["baseline"], *direction["scores"]]
        assert direction["best_step"] == int(np.argmax(curve))
        assert direction["best_score"] == max(curve)
        assert direction["counters"]["candidates"] == sum(range(2, 17))
    union = {c for d in (forth, back) for c in set(range(16)) - {int(n[8:]) for n in d["removed"][: d["best_step"]]}}
    assert kept == union
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in output.parent.iterdir()] == ["selection.yaml"]  # no progress file stays


def test_several_pairs_write_a_file_each(store, tmp_path):
    output = tmp_path / "s.yaml"
    call(
        "select-features", store, "--pair", "a", "b", "--pair", "c", "a", "--max-steps", 2, "-j", 2, "-o", output
    )  # fmt: skip
    for name, pair in (("s-a-b.yaml", ["a", "b"]), ("s-c-a.yaml", ["c", "a"])):
        content = yaml.safe_load((tmp_path / name).read_text())
        assert content["pair"] == pair
        assert [len(d["removed"]) for d in content["directions"]] == [2, 2]
    assert not output.exists()


def test_a_cut_search_goes_on(store, tmp_path, monkeypatch):
    from aigiscan.search.greedy import GreedySearch

    whole, output = tmp_path / "whole.yaml", tmp_path / "s.yaml"
    arguments = ("select-features", store, "--pair", "a", "b", "-j", 1, "--intercept", "-o")
    call(*arguments, whole)
    steps = []
    original = GreedySearch.step

    def step(self):
        if len(steps) == 4:
            raise KeyboardInterrupt
        steps.append(1)
        return original(self)

    monkeypatch.setattr(GreedySearch, "step", step)
    assert CliRunner().invoke(app, [str(a) for a in (*arguments, output)]).exit_code == 130
    assert not output.exists()
    monkeypatch.setattr(GreedySearch, "step", original)
    call(*arguments, output)
    one, other = (yaml.safe_load(path.read_text()) for path in (whole, output))
    assert [d["removed"] for d in one["directions"]] == [d["removed"] for d in other["directions"]]
    assert other["directions"][0]["counters"]["steps"] == 11  # four of fifteen were there
    assert one["kept"] == other["kept"]


def test_a_detector_uses_the_selection_and_remembers_the_pair(store, tmp_path):
    output, detector = tmp_path / "s.yaml", tmp_path / "detector"
    done = call("select-features", store, "--pair", "a", "b", "--standardize", "--max-steps", 3, "-j", 1, "-o", output)
    assert done.stdout == ""
    call("fit", store, "--features", f"components:{output}", "--folds", 2, "-o", detector)
    view = yaml.safe_load((detector / "card.yaml").read_text())["view"]
    assert (view["kind"], view["search_generators"]) == ("components", ["a", "b"])


def fit_and_evaluate(store: Path, fresh: Path, features: str, folder: Path, *options: object) -> None:
    """A detector on features that a and b chose remembers both; the evaluation measures c and d alone, and says so."""
    detector, out = folder / "detector", folder / "evaluated"
    chosen = ("--features", features, "--folds", 2)
    call("fit", store, *chosen, "-o", detector, *options)
    view = yaml.safe_load((detector / "card.yaml").read_text())["view"]
    assert (view["kind"], view["search_generators"]) == (features.partition(":")[0], ["a", "b"])
    call("evaluate", store, *chosen, "--draws", 10, "--gallery", 0, "--min-images", 4, "-o", out, *options)
    page = (out / "index.html").read_text()
    assert "Left out of fitting and measuring, for they chose the features: a, b." in page
    assert set(column(out / "held-out_sources_generators_logistic.csv", "generator")) == {"c", "d"}
    cells = out / "transfer_logistic_cells.csv"
    assert set(zip(column(cells, "train"), column(cells, "test"), strict=True)) >= {("c", "d"), ("d", "c")}
    assert set(column(cells, "train")) == {"c", "d"} == set(column(cells, "test"))
    # The detector is not measured on pictures that it has seen, and on others without the pair that chose its features.
    judge = ("--detector", detector, "--draws", 10, "--gallery", 0, "-o", folder / "judged")
    call("evaluate", store, *judge, refused="has seen all")
    call("evaluate", fresh, *judge)
    (figures,) = (folder / "judged").glob("detectors_generators_*.csv")
    assert set(column(figures, "generator")) == {"c", "d"}
    assert "a, b" in (folder / "judged" / "index.html").read_text()


def column(path: Path, name: str) -> list[str]:
    with path.open(newline="") as handle:
        return [row[name] for row in csv.DictReader(handle)]


def test_from_components_to_an_evaluation_without_their_pair(tmp_path):
    stores = []
    for seed, name in ((2, "s.h5"), (3, "fresh.h5")):
        X, label, generator = planted_pair(seed, n=80)
        generator = [("c", "d")[i % 2] if g and i % 4 > 1 else g for i, g in enumerate(generator)]
        stores.append(write_store(tmp_path / name, {"embedding": X}, label, generator, first=1000 * seed))
    store, fresh = stores
    chosen = tmp_path / "s.yaml"
    call("select-features", store, "--pair", "a", "b", "-j", 1, "-o", chosen)
    fit_and_evaluate(store, fresh, f"components:{chosen}", tmp_path)


def test_from_heads_to_an_evaluation_without_their_generators(tmp_path):
    generators = ["", "", "a", "b", "c", "d"]
    store = planted_head_store(tmp_path, generators, 72)
    fresh = planted_head_store(tmp_path, generators, 72, "fresh.h5", first=1000)
    chosen = tmp_path / "h.yaml"
    call("select-heads", store, "--train", "a", "--validate", "b", "--top", 2, "-o", chosen)
    fit_and_evaluate(store, fresh, f"heads:{chosen}", tmp_path)


def planted_head_store(folder: Path, generators: list[str], n: int, name: str = "s.h5", first: int = 0) -> Path:
    """Pictures of these generators in turn; fakes are red, which one head sees, photographs green."""
    encoder = create_encoder(write_planted_clip(folder / "clip"), EncoderOptions(heads=True, **FP32))
    rng = np.random.default_rng(0)
    generator = [generators[i % len(generators)] for i in range(n)]
    images = [coloured(rng, "red" if g else "green") for g in generator]
    channels = encoder.encode([encoder.prepare(image) for image in images])
    label = [int(bool(g)) for g in generator]
    return write_store(folder / name, channels, label, generator, fingerprint=encoder.fingerprint(), first=first)


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_alone(tmp_path, monkeypatch):
    X, label, generator = planted_pair(0, n=40)
    store = write_store(tmp_path / "s.h5", {"embedding": X}, label, generator)
    with EmbeddingStore(store) as opened:
        pair = pair_problems(opened, ("a", "b"))
    options, journals = SearchOptions(max_steps=5), tmp_path / "s.yaml"
    bars = progress([pair], options, journals)
    assert [(name, total, done()) for name, total, done in bars] == [("a → b", 5, 0), ("b → a", 5, 0)]
    for screen, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", screen)
        with console.watch(bars, every=0.01):
            search_pairs([pair], options, journals=journals)
            time.sleep(0.3)
        assert ("a → b" in screen.getvalue()) == ("5/5" in screen.getvalue()) == drawn
    assert [done() for _, _, done in bars] == [5, 5]


def test_wrong_calls_are_one_line(store, tmp_path):
    output = tmp_path / "s.yaml"
    call("select-features", store, "--pair", "a", "z", "-o", output, refused="no generator 'z'; it has: a, b, c")
    call("select-features", store, "--pair", "a", "-o", output, refused="does not name two generators")
    call("select-features", store, "--pair", "a", "b", "--score", "f1", "-o", output, refused="unknown score")
    call("select-features", store, "--pair", "a", "b", "--backend", "dask", "-o", output, refused="go together")
    call("select-features", store, "--pair", "a", "b", "--backend", "magic", "-o", output, refused="not known")
    call("select-heads", store, "--train", "a", "--validate", "b", "-o", output, refused="--heads")
    call("select-heads", tmp_path / "no.h5", "--train", "a", "--validate", "b", "-o", output, refused="no.h5")


def test_select_heads(tmp_path):
    store = planted_head_store(tmp_path, ["", "a", "b"], 90)
    output, picture = tmp_path / "heads.yaml", tmp_path / "heads.png"
    done = call("select-heads", store, "--train", "a", "--validate", "b", "--top", 2, "-o", output, "--plot", picture)
    assert done.stdout == ""
    content = yaml.safe_load(output.read_text())
    assert content["kind"] == "heads"
    assert (content["train"], content["validate"], content["strategy"]) == ("a", "b", "top")
    assert content["kept"][0] == list(PLANTED_HEAD)
    first = content["ranking"][0]
    assert ([first["layer"], first["head"]], first["score"]) == (list(PLANTED_HEAD), 1.0)
    assert len(content["ranking"]) == 12
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_choice_on_noise_is_called_one(tmp_path):
    """36 photographs and 7 fakes of each generator: "always real" was a score of 0.837, and five heads "reached" it."""
    rng = np.random.default_rng(1)
    n = 36 + 14
    names = ["" if i < 36 else "ab"[i % 2] for i in range(n)]
    label = [int(bool(g)) for g in names]
    encoder = create_encoder(write_planted_clip(tmp_path / "clip"), EncoderOptions(heads=True, **FP32))
    channels = encoder.encode([encoder.prepare(coloured(rng, "green")) for _ in range(n)])
    store = write_store(tmp_path / "s.h5", channels, label, names, fingerprint=encoder.fingerprint())
    output = tmp_path / "h.yaml"
    done = call("select-heads", store, "--train", "a", "--validate", "b", "--tune", "-o", output)
    content = yaml.safe_load(output.read_text())
    assert content["rows"] == {"train": {"real": 25, "fake": 5}, "validate": {"real": 11, "fake": 2}}
    assert "to fit: 25 photographs, 5 of a" in done.stderr
    assert content["tuned"] is True
    assert content["kept_score"] <= content["chance"]
    assert "would reach by chance" in " ".join(done.stderr.split())
    X = rng.normal(size=(n, 4)).astype(np.float32)
    store = write_store(tmp_path / "e.h5", {"embedding": X}, label, names)
    done = call("select-features", store, "--pair", "a", "b", "-j", 1, "-o", output)
    assert "25 photographs and 5 fakes" in " ".join(done.stderr.split())
    assert "would reach by chance" in " ".join(done.stderr.split())
    assert yaml.safe_load(output.read_text())["directions"][0]["rows"]["test"] == {"real": 11, "fake": 2}


def test_from_blocks_to_a_scan_that_stops_at_the_layer(tmp_path, monkeypatch):
    """embed --blocks, select-layers, fit on the selection and on numbers, scan: nothing after the last layer is run."""
    from aigiscan.encoders.clip_vision import VisionTower

    clip = write_planted_clip(tmp_path / "clip")
    rng = np.random.default_rng(0)
    lines, pictures = ["path,label,generator"], tmp_path / "pictures"
    pictures.mkdir()
    for i in range(60):
        generator = ("", "a", "b")[i % 3]
        coloured(rng, "red" if generator else "green").save(pictures / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,{'fake' if generator else 'real'},{generator}")
    manifest = pictures / "all.csv"
    manifest.write_text("\n".join(lines))
    store, chosen, curve = tmp_path / "s.h5", tmp_path / "l.yaml", tmp_path / "curve.png"
    call("embed", manifest, "-e", clip, "--blocks", "--precision", "fp32", "-o", store)
    with EmbeddingStore(store) as opened:
        layers, _ = opened.channels["blocks"].shape
        assert opened.channels["blocks"].dtype == "float16"
        one = opened.read("blocks", columns=[1])
        np.testing.assert_array_equal(one[:, 0], opened.read("blocks")[:, 1])
    done = call("select-layers", store, "--train", "a", "--validate", "b", "-o", chosen, "--plot", curve)
    content = yaml.safe_load(chosen.read_text())
    assert content["kind"] == "layers"
    assert sorted(row["layer"] for row in content["ranking"]) == list(range(layers))
    assert content["kept_score"] == max(row["score"] for row in content["ranking"]) == 1.0
    assert curve.read_bytes().startswith(b"\x89PNG")
    assert f"--features layers:{chosen}" in "".join(done.stderr.split("\n"))
    (best,) = content["kept"]

    ran = []
    residual = VisionTower.residual

    def watched(self, pixels, seen=None, depth=0):
        ran.append(depth)
        return residual(self, pixels, seen, depth)

    monkeypatch.setattr(VisionTower, "residual", watched)
    for features, depth in ((f"layers:{chosen}", best + 1), ("layers:1,0", 2)):
        detector = tmp_path / f"d{depth}"
        call("fit", store, "--features", features, "--folds", 2, "-o", detector)
        card = yaml.safe_load((detector / "card.yaml").read_text())
        assert card["view"]["search_generators"] == (["a", "b"] if "yaml" in features else [])
        ran.clear()
        from_files = call("scan", pictures, "--include", "*.png", "-d", detector).stdout
        assert set(ran) == {depth}
        rows = list(csv.DictReader(io.StringIO(from_files)))
        from_store = list(csv.DictReader(io.StringIO(call("scan", store, "-d", detector).stdout)))
        assert len(rows) == len(from_store) == 60
        scores = [[float(row["score"]) for row in sorted(r, key=lambda row: row["path"])] for r in (rows, from_store)]
        np.testing.assert_allclose(*scores, atol=2e-2)
        assert min(scores[0][i] for i in range(60) if i % 3) > max(scores[0][i] for i in range(60) if not i % 3)
    call("fit", store, "--features", "layers:9", "--folds", 2, "-o", tmp_path / "no", refused="layers 0 to")
    call("explain", tmp_path / "d2", pictures / "00.png", "-o", tmp_path / "why", refused="inner layers")
