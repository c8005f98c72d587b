from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from detector_planted import SETTINGS, planted
from PIL import Image, ImageFilter

from aigiscan.detector.card import Card
from aigiscan.detector.doubt import doubts, most_smooth
from aigiscan.detector.fit import fit
from aigiscan.encoders import create_encoder
from aigiscan.errors import FitError

SPAM = create_encoder("spectrum+spam")


def grain(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(128, 4, (96, 96, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def features(images: list[Image.Image]) -> np.ndarray:
    return SPAM.encode([SPAM.prepare(image) for image in images])["embedding"]


def test_smooth_pictures_are_doubted_and_sharp_ones_are_not() -> None:
    table = planted(per_source=6)
    photographs = features([grain(i) for i in range(len(table))])
    encoder = {"name": SPAM.name, "fingerprint": SPAM.fingerprint()}
    table = replace(table, channels={"embedding": photographs}, encoder=encoder)
    limit = most_smooth(table, 0.05)
    assert limit is not None and limit < 0
    card = Card("d", encoder, {}, {}, least_side=50, most_smooth=limit)
    images = [grain(900), grain(901).filter(ImageFilter.GaussianBlur(1.5)), grain(902).resize((192, 192)), grain(903)]
    sides = [96, 96, 96, 49]
    said = doubts(card, sides, {"embedding": features(images)})
    assert [text.split(" to judge")[0] for text in said] == ["", "too smooth", "too smooth", "too small"]
    assert doubts(replace(card, least_side=0, most_smooth=None), sides, {}) == [""] * 4
    assert most_smooth(table, 0.0) is None


def test_fit_writes_the_limits_and_refuses_what_it_cannot_measure() -> None:
    found = fit(planted(), replace(SETTINGS, least_side=64)).detector.card
    assert (found.least_side, found.most_smooth) == (64, None)
    table = replace(planted(), encoder={"name": "color:rgb", "fingerprint": create_encoder("color:rgb").fingerprint()})
    with pytest.raises(FitError, match="spam"):
        fit(table, replace(SETTINGS, smoothest=0.03))
