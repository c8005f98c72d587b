"""Where in a picture a score comes from, where the score cannot be taken apart by place: scores of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.images.records import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigiscan.detector.detector import Detector
    from aigiscan.encoders.base import Encoder

#: windows with a shorter side under so many pixels say more of their size than of the picture
LEAST_SIDE = 64


@dataclass(frozen=True)
class WindowScores:
    """Scores of overlapping windows, each half as wide and half as high as the picture and judged alone.

    scores: (rows, columns), higher = more likely AI-generated. They are no parts of the picture's score and do not sum
    to it, and no threshold holds for them: a window is smaller than the pictures that thresholds come from. boxes:
    (rows · columns, 4) left, top, right, bottom as shares of the picture's sides, row by row.
    """

    scores: np.ndarray
    boxes: np.ndarray

    def cells(self) -> np.ndarray:
        """Square array, of twice as many cells a side as steps between windows: the mean score of those over a cell."""
        side = 2 * (len(self.scores) - 1)
        middles = (np.arange(side) + 0.5) / side
        left, top, right, bottom = self.boxes.T[..., None]  # [windows, 1]
        over = ((top < middles) & (middles < bottom))[:, :, None] & ((left < middles) & (middles < right))[:, None, :]
        return np.einsum("w,wyx->yx", self.scores.ravel(), over) / over.sum(axis=0)

    def to_json(self) -> dict[str, Any]:
        """``scores`` row by row and ``boxes`` as shares of the sides."""
        return {
            "scores": [[float(value) for value in row] for row in self.scores],
            "boxes": [[round(float(x), 4) for x in box] for box in self.boxes],
        }


def window_boxes(count: int) -> np.ndarray:
    """(count², 4): windows of half the sides, evenly spread from corner to corner, row by row, as shares of these."""
    starts = np.linspace(0, 0.5, count)
    return np.array([(x, y, x + 0.5, y + 0.5) for y in starts for x in starts])


def too_small(size: tuple[int, int]) -> str:
    """Why a picture of (width, height) has no windows; "" if it has."""
    if min(size) >= 2 * LEAST_SIDE:
        return ""
    return f"the picture is too small to be cut: its shorter side of {min(size)} pixels is under {2 * LEAST_SIDE}"


def cut_windows(encoder: Encoder, treated: Image, count: int) -> list[Any]:
    """Encoder inputs of count × count windows of the picture, as it is after the detector's equalisation."""
    sides = np.array([treated.width, treated.height, treated.width, treated.height])
    boxes = np.rint(window_boxes(count) * sides).astype(int).tolist()
    return [encoder.prepare_record(ImageRecord(""), treated.crop(tuple(box))) for box in boxes]


def score_windows(detector: Detector, encoder: Encoder, inputs: Sequence[Any]) -> WindowScores:
    """Score what :func:`cut_windows` gave."""
    channels = encoder.encode(inputs)
    scores = detector.scores({name: np.asarray(channels[name]) for name in detector.view.channels})
    count = math.isqrt(len(inputs))
    return WindowScores(scores.reshape(count, count), window_boxes(count))
