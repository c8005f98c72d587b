"""The views of TIDY and DoubleCLIP: the equations, and planted truths that only the discrepancy tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_clip import COLOURS, FP32, coloured, write_planted_clip
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.companions import CompanionEncoder
from aigiscan.errors import InputError
from aigiscan.features.discrepancy import MODES, DiscrepancyView, TwinsView
from aigiscan.images.beside import Region, as_json
from aigiscan.images.records import ImageRecord

RNG = np.random.default_rng(0)
CHANNELS = {
    name: RNG.normal(size=(4, 6)).astype(np.float32) for name in ("embedding", "text", "local", "local_raw", "twin")
}
CHANNELS["objects"] = np.array([0, 1, 3, 0], np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("raw", [False, True])
def test_the_equations(raw: bool) -> None:
    scale = np.asarray if raw else unit
    image, text = scale(CHANNELS["embedding"]), scale(CHANNELS["text"])
    local = CHANNELS["local_raw" if raw else "local"]
    whole = np.abs(image - text)
    found = (CHANNELS["objects"] > 0)[:, None]
    expected = {
        "text": text,
        "image": image,
        "global": whole,
        "local": np.where(found, local, whole),
        "both": whole + found * local,
    }
    for mode, matrix in expected.items():
        view = DiscrepancyView(mode, raw=raw)
        got = view.transform({name: CHANNELS[name] for name in view.channels})
        assert got.dtype == np.float32 and np.allclose(got, matrix, atol=1e-6), mode
        assert len(set(view.columns([str(i) for i in range(6)]))) == 6
    weighted = DiscrepancyView("both", 0.5, 2, raw=raw).transform(CHANNELS)
    assert np.allclose(weighted, 0.5 * whole + 2 * found * local, atol=1e-6)
    only = DiscrepancyView("both", 1, 0, raw=raw).transform(CHANNELS)
    assert np.array_equal(only, DiscrepancyView("global", raw=raw).transform(CHANNELS))


def named(argument: str) -> DiscrepancyView:
    return DiscrepancyView.from_name(argument, {})


def test_what_the_command_line_says() -> None:
    assert named("").params() == DiscrepancyView("both").params()
    assert named("w1=0.5, w2=2,raw").params() == DiscrepancyView("both", 0.5, 2, raw=True).params()
    assert named("text").channels == ("text",)
    assert named("local,raw").channels == ("embedding", "text", "local_raw", "objects")
    for wrong in ("nearby", "w1=x", "w3=1", "w1=nan", "w1=0,w2=0"):
        with pytest.raises(InputError, match="discrepancy"):
            named(wrong)


def test_twins_side_by_side() -> None:
    view = TwinsView()
    matrix = view.transform(CHANNELS)
    assert matrix.shape == (4, 18) and len(set(view.columns(["x"] * 6))) == 18
    assert np.allclose(matrix[:, 12:], np.abs(CHANNELS["embedding"] - CHANNELS["twin"]))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_encoder(write_planted_clip(tmp_path_factory.mktemp("planted")), EncoderOptions(**FP32))


def aucs(encoder: CompanionEncoder, records: list[ImageRecord], images: list[Image.Image], y: np.ndarray) -> dict:
    """AUC of each mode on the second half of the pictures, by a probe fitted on the first."""
    inputs = [encoder.prepare_record(record, image) for record, image in zip(records, images, strict=True)]
    channels = encoder.encode(inputs)
    half = len(y) // 2
    found = {}
    for mode in MODES:
        X = DiscrepancyView(mode).transform(channels)
        mean, spread = X[:half].mean(axis=0), X[:half].std(axis=0) + 1e-9
        X = (X - mean) / spread
        probe = LogisticRegression(C=0.01, max_iter=500).fit(X[:half], y[:half])
        found[mode] = roc_auc_score(y[half:], probe.decision_function(X[half:]))
    return found


def other(rng: np.random.Generator, colour: str) -> str:
    return str(rng.choice([c for c in COLOURS if c != colour]))


def test_only_the_discrepancy_tells(clip: Any) -> None:
    """Captions name the picture's colour (photographs) or another (fakes): neither side alone says which."""
    rng = np.random.default_rng(1)
    y = np.tile([0, 1], 120)
    colours = [str(c) for c in rng.choice(COLOURS, len(y))]
    records = [
        ImageRecord("", caption=f"a {other(rng, c) if label else c} photo") for c, label in zip(colours, y, strict=True)
    ]
    found = aucs(CompanionEncoder(clip, "given", "given"), records, [coloured(rng, c) for c in colours], y)
    assert found["global"] > 0.9 and found["both"] > 0.9
    assert 0.35 < found["text"] < 0.65 and 0.35 < found["image"] < 0.65
    assert found["local"] == pytest.approx(found["global"])  # there is no object


def test_only_an_object_tells(clip: Any) -> None:
    """Every caption is the same; a quarter of the picture has a colour, and its phrase names it or another."""
    rng = np.random.default_rng(2)
    y = np.tile([0, 1], 120)
    records, images = [], []
    for label in y:
        colour = str(rng.choice(COLOURS))
        image = Image.fromarray(rng.integers(60, 160, (64, 64, 3), dtype=np.uint8))
        x, top = (int(v) * 32 for v in rng.integers(0, 2, 2))
        image.paste(coloured(rng, colour), (x, top))
        box = Region(f"a {other(rng, colour) if label else colour} thing", (x, top, x + 32, top + 32))
        records.append(ImageRecord("", caption="a photo", objects=as_json([box])))
        images.append(image)
    found = aucs(CompanionEncoder(clip, "given", "given"), records, images, y)
    assert found["local"] > 0.9 and found["both"] > 0.8
    assert all(0.35 < found[mode] < 0.65 for mode in ("text", "image", "global")), found
