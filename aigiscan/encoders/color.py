"""``color:rgb``, ``color:hsv``, ``color:ycbcr``: colour histograms, for the question whether colour alone tells.

Saland, report, section 2.7: histograms of real and generated pictures in RGB, HSV and YCbCr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.base import EncoderOptions
from aigiscan.encoders.options import plain_options
from aigiscan.encoders.vector import VectorEncoder
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

SPACES = {"rgb": "RGB", "hsv": "HSV", "ycbcr": "YCbCr"}
#: bins of each component alone, and per axis of the joint histogram
BINS, JOINT = 32, 8
#: pixels looked at: every k-th row and column of a larger picture, so that no colour is mixed
SIDE = 512


class ColorEncoder(VectorEncoder):
    """Colour histograms, 608 columns: square roots of relative frequencies, in [0, 1].

    Columns 0–95: 32 bins of each of the three components; 96–607: the joint histogram of all three, 8 bins each, at
    96 + 64·i + 8·j + k.
    """

    width = 3 * BINS + JOINT**3

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        if argument not in SPACES:
            raise EncoderError(f"color needs a space: {', '.join(f'color:{space}' for space in SPACES)}")
        self.space = argument
        self.name = f"color:{argument}"
        self.options = plain_options(self.name, "", options)

    def settings(self) -> dict[str, Any]:
        """The settings of the histograms."""
        return {"space": self.space, "bins": [BINS, JOINT], "side": SIDE, "version": 1}

    def prepare(self, image: Image) -> np.ndarray:
        """The finished vector (608,) float32."""
        step = max(1, -(-max(image.size) // SIDE))
        pixels = np.asarray(image.convert(SPACES[self.space]))[::step, ::step].reshape(-1, 3)
        planes = np.ascontiguousarray(pixels.T)  # strided bytes take three times as long
        alone = [np.bincount(plane, minlength=256).reshape(BINS, -1).sum(1) for plane in planes]
        first, second, third = planes.astype(np.int16) * JOINT // 256
        joint = np.bincount((first * JOINT + second) * JOINT + third, minlength=JOINT**3)
        return np.sqrt(np.concatenate([*alone, joint]) / len(pixels)).astype(np.float32)
