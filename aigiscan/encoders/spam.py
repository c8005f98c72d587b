"""``spam``: subtractive pixel adjacency statistics, the low-level traces that a semantic encoder is blind to.

Pevný, Bas and Fridrich, "Steganalysis by subtractive pixel adjacency matrix", IEEE TIFS 5(2), 2010. There:
transition probabilities of differences between neighbouring pixels. Here: joint histograms (co-occurrences) of
consecutive differences, truncated at ±3 and square-rooted, which keeps rare bins visible to a linear probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.base import EncoderOptions
from aigiscan.encoders.options import plain_options
from aigiscan.encoders.pixels import central_crop
from aigiscan.encoders.vector import VectorEncoder

if TYPE_CHECKING:
    from PIL.Image import Image

TRUNCATION = 3
LEVELS = 2 * TRUNCATION + 1
#: pixels beside the centre are not read: the histograms are stable long before, and the time is bounded
CROP = 512
LUMA_ORDER = 3
CHROMA_ORDER = 2
DIMENSION = 2 * LEVELS**LUMA_ORDER + 2 * 2 * LEVELS**CHROMA_ORDER


class SpamEncoder(VectorEncoder):
    """Pixel adjacency statistics: 882 columns, a few milliseconds per image, no weights.

    Columns, each the square root of a relative frequency, so in [0, 1]:

    ======== ======================================================================================
    0–342    luma (Y of YCbCr), three consecutive differences d₁, d₂, d₃ along rows and columns, both ways
             (four directions averaged); the column is 49·(d₁+3) + 7·(d₂+3) + (d₃+3)
    343–685  the same along the diagonals
    686–734  Cb, two consecutive differences along rows and columns, both ways: 7·(d₁+3) + (d₂+3)
    735–783  Cb along the diagonals
    784–881  Cr, as Cb
    ======== ======================================================================================

    A difference is left minus right (upper minus lower) neighbour in 8-bit steps, clipped to ±3. Only the central
    512 × 512 pixels are read, at native resolution. Histograms of pictures too small to have a difference are zero.
    """

    name = "spam"
    width = DIMENSION

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        self.options = plain_options("spam", argument, options)

    def settings(self) -> dict[str, Any]:
        """The settings of the histograms."""
        return {
            "crop": CROP,
            "color": "ycbcr (JFIF)",
            "truncation": TRUNCATION,
            "orders": [LUMA_ORDER, CHROMA_ORDER, CHROMA_ORDER],
            "version": 1,
        }

    def prepare(self, image: Image) -> np.ndarray:
        """The finished vector (882,), float32: the work is done where loader workers can share it."""
        luma, blue, red = ycc(np.asarray(central_crop(image.convert("RGB"), CROP)))
        parts = [adjacency(luma, LUMA_ORDER), adjacency(blue, CHROMA_ORDER), adjacency(red, CHROMA_ORDER)]
        return np.sqrt(np.concatenate(parts)).astype(np.float32)


def smoothness(columns: np.ndarray) -> np.ndarray:
    """Of ``spam`` columns (n, 882) the correlation of neighbouring luma differences, (n,) in −1 … 1.

    Sensor noise and fine detail make it negative; blurring and enlarging take them away and bring it near 1. A plain
    picture has none: 1.
    """
    frequency = np.asarray(columns[:, : LEVELS**LUMA_ORDER], np.float64).reshape(-1, *(LEVELS,) * LUMA_ORDER) ** 2
    pairs = frequency.sum(3)
    steps = np.arange(LEVELS) - TRUNCATION
    power = pairs.sum(2) @ steps**2
    product = np.einsum("nab,a,b->n", pairs, steps, steps)
    return np.where(power > 0, product / np.maximum(power, 1e-30), 1.0)


def ycc(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB uint8 (h, w, 3) → Y, Cb, Cr of JPEG (JFIF), each int16 (h, w) in 0–255, rounded to the nearest.

    Pillow's own conversion truncates, so that its greys carry false differences.
    """
    red, green, blue = (np.ascontiguousarray(rgb[:, :, i]).astype(np.int32) for i in range(3))
    half = 1 << 15  # the weights are in 1/65536
    luma = (19595 * red + 38470 * green + 7471 * blue + half) >> 16
    # 32767 instead of 32768: 255.5 would round to 256
    cb = ((-11059 * red - 21709 * green + 32768 * blue + half - 1) >> 16) + 128
    cr = ((32768 * red - 27439 * green - 5329 * blue + half - 1) >> 16) + 128
    return luma.astype(np.int16), cb.astype(np.int16), cr.astype(np.int16)


def adjacency(plane: np.ndarray, order: int) -> np.ndarray:
    """Histograms of ``order`` consecutive truncated differences of one plane (h, w) int16.

    Returns 2 · 7**order frequencies: rows and columns averaged, then the two diagonals averaged; each half sums to 1,
    or is zero where the plane is too small.
    """
    # Neighbour along a direction (dy, dx); the opposite direction has the same triples read backwards and negated.
    straight = [_histogram(plane[:, :-1], plane[:, 1:], (0, 1), order)]
    straight.append(_histogram(plane[:-1, :], plane[1:, :], (1, 0), order))
    diagonal = [_histogram(plane[:-1, :-1], plane[1:, 1:], (1, 1), order)]
    mirrored = plane[:, ::-1]
    diagonal.append(_histogram(mirrored[:-1, :-1], mirrored[1:, 1:], (1, 1), order))
    return np.concatenate([_average(straight, order), _average(diagonal, order)])


def _histogram(first: np.ndarray, second: np.ndarray, step: tuple[int, int], order: int) -> np.ndarray:
    """Counts of ``order`` consecutive differences first − second along ``step``, flattened, float64."""
    difference = np.clip(first - second, -TRUNCATION, TRUNCATION) + TRUNCATION
    dy, dx = step
    height = difference.shape[0] - dy * (order - 1)
    width = difference.shape[1] - dx * (order - 1)
    if height <= 0 or width <= 0:
        return np.zeros(LEVELS**order)
    index = np.zeros((height, width), dtype=np.int16)
    for k in range(order):
        index *= LEVELS
        index += difference[k * dy : k * dy + height, k * dx : k * dx + width]
    return np.bincount(index.ravel(), minlength=LEVELS**order).astype(np.float64)


def _average(counts: list[np.ndarray], order: int) -> np.ndarray:
    """Mean over two directions and their opposites of the relative frequencies; directions without pixels are left
    out."""
    seen = [one / one.sum() for one in counts if one.sum() > 0]
    if not seen:
        return np.zeros(LEVELS**order)
    mean = np.mean(seen, axis=0).reshape((LEVELS,) * order)
    backwards = np.flip(mean).transpose(range(order)[::-1])
    return ((mean + backwards) / 2).ravel()
