from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_clip import FP32, HEADS, LAYERS, PLANTED_HEAD, SIZE, coloured, make_detector

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.heads import head_matrices
from aigiscan.errors import DetectorError
from aigiscan.explain.directions import directions_of
from aigiscan.explain.images import Explainer, load_for_explaining
from aigiscan.explain.words import phrase_list
from aigiscan.features.views import ComponentsView, HeadsView
from aigiscan.images.records import ImageRecord

HALF = np.concatenate(
    [np.full((SIZE, SIZE // 2, 3), (220, 60, 60)), np.full((SIZE, SIZE // 2, 3), (60, 220, 60))], axis=1
).astype(np.uint8)


def explained(detector: Any, image: Image.Image, **options: Any) -> tuple[Any, float]:
    """The explanation, and the score that the detector itself gives the picture."""
    encoder = load_for_explaining(detector)
    explanation = Explainer(detector, encoder, **options).explain(image)
    channels = encoder.encode([encoder.prepare(image)])
    return explanation, float(detector.scores(channels)[0])


@pytest.mark.parametrize(
    ("classifier", "params"),
    [
        ("logistic", {"standardize": True}),
        ("logistic", {"fit_intercept": False, "standardize": False}),
        ("svm", {}),
        ("residual", {}),
        ("residual", {"cosine": False}),
        ("residual", {"standardize": True}),
    ],
)
def test_parts_sum_to_the_score(planted: Any, pictures: Any, classifier: str, params: dict) -> None:
    detector = make_detector(planted, pictures, classifier=classifier, **params)
    explanation, score = explained(detector, coloured(np.random.default_rng(9), "red"))
    assert explanation.logit == pytest.approx(score, rel=1e-4)
    assert explanation.sum_of_parts == pytest.approx(explanation.logit, rel=1e-4, abs=1e-4)
    wanted = {f"head:{layer}:{head}" for layer in range(LAYERS) for head in range(HEADS)}
    wanted |= {f"{part}:{layer}" for part in ("mlp", "bias") for layer in range(LAYERS)}
    assert set(explanation.parts) == wanted | {"class_token", "ln_bias", "intercept"}


@pytest.mark.parametrize("options", [{"normalize": True}, {"pooling": "mean"}, {"projection": "hidden"}])
def test_other_embeddings_sum_too(planted_name: str, pictures: Any, options: dict) -> None:
    encoder = create_encoder(planted_name, EncoderOptions(**FP32, **options))
    detector = make_detector(encoder, pictures)
    explanation, score = explained(detector, coloured(np.random.default_rng(9), "green"))
    assert explanation.sum_of_parts == pytest.approx(score, rel=1e-4, abs=1e-4)
    heads = sum(value for name, value in explanation.parts.items() if name.startswith("head:"))
    assert explanation.patches.sum() + explanation.class_token_share == pytest.approx(heads, rel=1e-4, abs=1e-4)
    assert "words" in explanation.missing


def test_the_planted_head_and_the_red_half_speak(planted: Any, pictures: Any) -> None:
    detector = make_detector(planted, pictures, standardize=False, fit_intercept=False)
    phrases = phrase_list(planted, ["red", "green", "blue", "cat", "dog", "a house"])
    red, _ = explained(detector, coloured(np.random.default_rng(9), "red"), phrases=phrases)
    assert red.verdict == "ai" or red.logit > 0
    assert max(red.parts, key=lambda name: abs(red.parts[name])) == f"head:{PLANTED_HEAD[0]}:{PLANTED_HEAD[1]}"
    assert (red.heads[0].layer, red.heads[0].head) == PLANTED_HEAD
    assert red.heads[0].phrases["positive"][0]["text"] == "red"
    half, _ = explained(detector, Image.fromarray(HALF))
    assert half.patches.shape == (4, 4)
    assert half.patches[:, :2].min() > 0 > half.patches[:, 2:].max()
    assert np.array_equal(half.picture, HALF)


def test_components_keep_only_their_columns(planted: Any, pictures: Any) -> None:
    view = ComponentsView([0, 1, 5])
    detector = make_detector(planted, pictures, view=view)
    explanation, score = explained(detector, coloured(np.random.default_rng(3), "red"))
    assert explanation.sum_of_parts == pytest.approx(score, rel=1e-4)
    weights = directions_of(detector, planted).joint()
    assert np.flatnonzero(weights).tolist() == [0, 1, 5]


def test_heads_view_maps_back_to_the_joint_space(planted_name: str, pictures: Any) -> None:
    encoder = create_encoder(planted_name, EncoderOptions(heads=True, **FP32))
    matrices = head_matrices(encoder)
    chosen = [PLANTED_HEAD, (2, 3)]
    view = HeadsView(chosen, np.stack([matrices.R[pair] for pair in chosen]))
    detector = make_detector(encoder, pictures, view=view)
    phrases = phrase_list(encoder, ["red", "green", "cat"])
    image = coloured(np.random.default_rng(3), "red")
    explanation, score = explained(detector, image, phrases=phrases)
    assert set(explanation.parts) == {"head:0:1", "head:2:3", "intercept"}
    assert explanation.logit == pytest.approx(score, abs=1e-5)
    assert explanation.sum_of_parts == pytest.approx(score, rel=1e-6, abs=1e-6)
    heads = explanation.parts["head:0:1"] + explanation.parts["head:2:3"]
    assert explanation.patches.sum() + explanation.class_token_share == pytest.approx(heads, rel=1e-4)
    (planted_head,) = [h for h in explanation.heads if (h.layer, h.head) == PLANTED_HEAD]
    assert planted_head.phrases["positive"][0]["text"] == "red"
    assert "heads alone" in explanation.missing["other parts"]
    # the same numbers from the joint space: E · u with E = z M / σ
    directions = directions_of(detector, encoder)
    channels = encoder.encode([encoder.prepare(image)])
    for pair in chosen:
        written = channels["heads"][0][pair] @ matrices.M[pair] / channels["sigma"][0]
        own = explanation.parts[f"head:{pair[0]}:{pair[1]}"]
        assert written @ directions.heads[pair] == pytest.approx(own, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(directions.joint(), sum(directions.heads.values()))


def test_what_has_no_heads_says_so(pictures: Any) -> None:
    encoder = create_encoder("color:rgb+spam", EncoderOptions(**FP32))
    images, labels = pictures
    detector = make_detector(encoder, (images[:8], labels[:8]))
    explanation, score = explained(detector, images[9])
    assert set(explanation.parts) == {"color:rgb", "spam", "intercept"}
    assert explanation.sum_of_parts == pytest.approx(score, rel=1e-5, abs=1e-6)
    assert explanation.patches is None
    assert explanation.heads == []
    for part in ("heads", "patches", "words"):
        assert "color:rgb" in explanation.missing[part]
    assert "neighbours" in explanation.missing


def test_a_concatenation_has_the_parts_of_both(planted_name: str, pictures: Any) -> None:
    encoder = create_encoder(f"{planted_name}+spam", EncoderOptions(**FP32))
    detector = make_detector(encoder, pictures)
    explanation, score = explained(detector, pictures[0][1])
    assert explanation.sum_of_parts == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert {"head:0:1", "spam", "intercept"} <= set(explanation.parts)
    assert explanation.patches.shape == (4, 4)


@pytest.mark.parametrize("meta", ["stacking", "logistic"])
def test_a_stack_has_a_part_per_base(planted: Any, pictures: Any, meta: str) -> None:
    from aigiscan.detector.stacked import Base, StackedView

    bases = [make_detector(planted, pictures), make_detector(planted, pictures, classifier="knn", k=3)]
    kinds = ("one", "logistic"), ("two", "knn")
    view = StackedView([Base(*kind[:1], b.view, kind[1], b.classifier) for kind, b in zip(kinds, bases, strict=True)])
    detector = make_detector(planted, pictures, view=view, classifier=meta)
    explanation, score = explained(detector, pictures[0][1])
    assert set(explanation.parts) == {"base:one", "base:two", "intercept"}
    assert explanation.sum_of_parts == pytest.approx(score, abs=1e-6)
    assert "stacked" in explanation.missing["heads"]


def test_a_classifier_without_weights_still_has_a_score(planted: Any, pictures: Any) -> None:
    detector = make_detector(planted, pictures, classifier="knn", k=3)
    explanation, score = explained(detector, pictures[0][1])
    assert explanation.logit == pytest.approx(score, abs=1e-5)
    assert not explanation.parts
    for part in ("parts", "heads", "patches", "words"):
        assert "not linear" in explanation.missing[part]


def test_the_picture_is_equalised_first(planted: Any, pictures: Any) -> None:
    detector = make_detector(planted, pictures, equalization="square:16,jpeg:75")
    image = coloured(np.random.default_rng(2), "red", 48)
    explanation = Explainer(detector, planted).explain(image)
    small = detector.equalization.apply(image)
    plain, score = explained(make_detector(planted, pictures), small)
    assert explanation.logit == pytest.approx(score, rel=1e-6)
    np.testing.assert_allclose(explanation.patches, plain.patches)


def test_neighbours(planted: Any, pictures: Any, coloured_store: Path, coloured_folder: Path) -> None:
    from aigiscan.store import EmbeddingStore

    detector = make_detector(planted, pictures)
    store = EmbeddingStore(coloured_store)
    explainer = Explainer(detector, load_for_explaining(detector), store=store, neighbours=3)
    own = coloured_folder / "1_fake" / "blue_gan" / "3.png"
    (explanation,) = explainer.explain_all([ImageRecord(str(own))])
    fakes, reals = explanation.neighbours["fake"], explanation.neighbours["real"]
    assert [n.generator for n in fakes] == ["blue_gan"] * 3
    assert str(own) not in [n.path for n in fakes]
    assert [n.generator for n in reals] == [""] * 3
    assert all(a.similarity >= b.similarity for a, b in itertools.pairwise(fakes))
    # against a plain computation
    rows = store.rows
    X = store.read("embedding")
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    me = int(np.flatnonzero(rows.path == str(own))[0])
    similar = np.where((np.asarray(rows.label) == 1) & (np.arange(len(X)) != me), X @ X[me], -2)
    assert fakes[0].row == int(similar.argmax())
    assert fakes[0].similarity == pytest.approx(similar.max(), abs=1e-5)


def test_a_store_of_other_pictures_is_refused(planted: Any, pictures: Any, coloured_store: Path) -> None:
    from aigiscan.store import EmbeddingStore

    detector = make_detector(planted, pictures, equalization="square:32")
    with pytest.raises(DetectorError, match="square:32"):
        Explainer(detector, planted, store=EmbeddingStore(coloured_store))


def test_an_unreadable_file_is_an_explanation_with_a_reason(planted: Any, pictures: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    explainer = Explainer(make_detector(planted, pictures), planted)
    (explanation,) = explainer.explain_all([ImageRecord(str(tmp_path / "bad.png"))])
    assert explanation.error
    assert set(explanation.to_json()) == {"path", "error"}


def test_a_batch_says_of_each_picture_what_is_said_of_it_alone(pictures: Any, tmp_path: Path) -> None:
    """Eleven files, which is more than a batch, with one in between that cannot be read."""
    from aigiscan.embedding import embed
    from aigiscan.store import EmbeddingStore

    encoder = create_encoder("color:rgb", EncoderOptions(**FP32))
    detector = make_detector(encoder, pictures)
    records = []
    for number, picture in enumerate(pictures[0][:11]):
        path = tmp_path / f"{number:02d}.png"
        picture.resize((160, 140)).save(path)
        records.append(ImageRecord(str(path), label=int(pictures[1][number])))
    embed(records, encoder, tmp_path / "known.h5")
    records.insert(4, ImageRecord(str(tmp_path / "none.png")))
    explainer = Explainer(detector, encoder, store=EmbeddingStore(tmp_path / "known.h5"), neighbours=2, windows=2)
    together = list(explainer.explain_all(records))
    assert [one.path for one in together] == [record.path for record in records]
    assert "no such file" in together[4].error
    for one, record in zip(together, records, strict=True):
        if not one.error:
            (alone,) = explainer.explain_all([record])
            assert (alone.path, alone.verdict) == (one.path, one.verdict)
            assert alone.parts == pytest.approx(one.parts) and alone.logit == pytest.approx(one.logit)
            assert alone.windows.scores == pytest.approx(one.windows.scores)
            assert [n.path for n in alone.neighbours["fake"]] == [n.path for n in one.neighbours["fake"]]
            assert record.path not in {n.path for found in one.neighbours.values() for n in found}
