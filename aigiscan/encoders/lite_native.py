"""``lite:native``: the network of ``lite`` on pixels as they are.

Reducing a picture to 224 pixels takes away most of the traces that upsampling layers and decoders leave; a
convolutional network can be run on any size instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aigiscan.encoders.lite import LiteEncoder
from aigiscan.encoders.pixels import central_crop, chw

if TYPE_CHECKING:
    from PIL.Image import Image

CROP = 512
# The statistics of stages 1 to 3 at this scale are mostly those that `spam` takes, and cost AUC on new generators.
STAGES = (4, 6)


class LiteNativeEncoder(LiteEncoder):
    """EfficientNet-Lite0 statistics of a picture that was not resized, 2,144 columns.

    Columns: means, then standard deviations over space, of the last two stages (112 and 320 channels); then the 1,280
    spatial means after the last convolution. Input: the picture, at most its central 512×512 pixels. Pictures of one
    shape run together; what is in the batch changes no picture beyond rounding.
    """

    name = "lite:native"
    stages = STAGES
    preprocessing: ClassVar[dict[str, Any]] = {"crop": CROP, "resize_mode": "none", "interpolation": ""}

    def prepare(self, image: Image) -> np.ndarray:
        """uint8 (3, h, w), h and w at most 512."""
        return chw(central_crop(image, CROP))
