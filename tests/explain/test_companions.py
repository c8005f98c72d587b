"""What a caption and an object added to the score: parts that sum, words of either side, boxes that are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_clip import coloured

from aigiscan.classifiers import make_classifier
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.card import Card
from aigiscan.detector.detector import Detector
from aigiscan.detector.table import encoder_entry
from aigiscan.encoders.companions import CompanionEncoder
from aigiscan.explain.images import Explainer
from aigiscan.explain.words import phrase_list
from aigiscan.explain.write import write_explanations
from aigiscan.features.discrepancy import DiscrepancyView
from aigiscan.images.beside import Region, as_json
from aigiscan.images.records import ImageRecord

BOXES = [Region("a red thing", (0, 0, 16, 32)), Region("a green thing", (16, 0, 32, 32))]


def a_detector(encoder: CompanionEncoder, view: DiscrepancyView, classifier: str) -> Detector:
    """Fakes: red pictures that are called green."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    records = [
        ImageRecord("", caption=f"a {'green' if i % 2 else 'red'} photo", objects=as_json(BOXES[: i % 3]))
        for i in range(24)
    ]
    inputs = [encoder.prepare_record(record, coloured(rng, "red")) for record in records]
    X = view.transform(encoder.encode(inputs))
    params = {"epochs": 2} if classifier == "mlp" else {}
    fitted = make_classifier(classifier, **params).fit(X, y)
    scores = fitted.decision_function(X)
    card = Card(
        "planted",
        encoder_entry(encoder.name, encoder.fingerprint()),
        view.params(),
        {"name": classifier, "params": params},
    )
    return Detector(card, view, fitted, Calibration.from_scores(scores[y == 0], scores[y == 1]))


@pytest.mark.parametrize(
    ("view", "classifier"),
    [
        (DiscrepancyView("both", 0.5, 2), "logistic"),
        (DiscrepancyView("both", raw=True), "residual"),
        (DiscrepancyView("global"), "svm"),
        (DiscrepancyView("local"), "linear-bce"),
        (DiscrepancyView("text"), "logistic"),
    ],
)
def test_parts_of_the_caption_and_the_objects_sum_to_the_score(
    planted: Any, view: DiscrepancyView, classifier: str
) -> None:
    encoder = CompanionEncoder(planted, "given", "given")
    detector = a_detector(encoder, view, classifier)
    explainer = Explainer(detector, encoder, phrases=phrase_list(planted, ["red", "green", "blue", "cat"]))
    image = coloured(np.random.default_rng(9), "red")
    for boxes in (BOXES, []):
        record = ImageRecord("", caption="a green photo", objects=as_json(boxes))
        found = explainer.explain(image, record)
        channels = encoder.encode([encoder.prepare_record(record, image)])
        assert found.logit == pytest.approx(float(detector.scores(channels)[0]), rel=1e-4, abs=1e-4)
        assert found.sum_of_parts == pytest.approx(found.logit, rel=1e-3, abs=1e-3)
        said = found.companions
        assert said is not None and said.caption == "a green photo" and len(said.objects) == len(boxes)
        assert said.nearest["image"]["positive"][0]["text"] == "red"
        assert said.nearest["text"]["positive"][0]["text"] == "green"
        if view.mode == "both":
            assert set(found.parts) == {"caption", "intercept", *(f"object:{i}" for i in range(len(boxes)))}
            assert [o.contribution for o in said.objects] == [found.parts[f"object:{i}"] for i in range(len(boxes))]
        if view.mode in ("global", "text"):
            assert [o.contribution for o in said.objects] == [None] * len(boxes)
        if view.mode in ("both", "local") and not boxes:
            assert "global distance alone" in found.missing["objects"]
        assert found.patches is None and "patches" in found.missing


def test_the_box_that_speaks_against_its_phrase_pushes_most(planted: Any) -> None:
    encoder = CompanionEncoder(planted, "given", "given")
    detector = a_detector(encoder, DiscrepancyView(), "logistic")
    record = ImageRecord("", caption="a red photo", objects=as_json(BOXES))
    found = Explainer(detector, encoder).explain(coloured(np.random.default_rng(9), "red"), record)
    right, wrong = (o.contribution for o in found.companions.objects)  # type: ignore[union-attr]
    assert wrong > right


def test_a_score_that_is_no_sum_has_boxes_without_numbers(planted: Any, tmp_path: Path) -> None:
    encoder = CompanionEncoder(planted, "given", "given")
    explainer = Explainer(a_detector(encoder, DiscrepancyView(), "mlp"), encoder)
    coloured(np.random.default_rng(9), "red", 64).save(tmp_path / "a.png")
    boxes = [Region("a $red$ thing", (10, 20, 30, 60))]
    records = [
        ImageRecord(str(tmp_path / "a.png"), caption="a $5 photo", objects=as_json(boxes)),
        ImageRecord(str(tmp_path / "a.png")),
    ]
    found = list(explainer.explain_all(records))
    assert found[0].parts == {} and found[1].error.startswith("no caption")
    (path, _) = write_explanations(tmp_path / "out", found, explainer.detector)
    written = json.loads(path.read_text())
    assert written["caption"] == "a $5 photo" and written["nearest"] == {}
    assert written["objects"] == [{"phrase": "a $red$ thing", "box": [10, 20, 30, 60], "contribution": None}]
    assert (tmp_path / "out" / "a.png").stat().st_size > 0
