"""Texts hidden in the lowest bits of pixels ("stealth PNG info"): NovelAI and extensions of the web UI write them.

Format, as its readers describe it: bits column by column, from the alpha channel or from R, G, B in turn; 15 bytes of
signature, 32 bits with the number of bits that follow, then UTF-8, gzipped where the signature ends in ``comp``.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from aigiscan.provenance.source import MAX_BLOCK

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_SIGNATURES = (b"stealth_pnginfo", b"stealth_pngcomp", b"stealth_rgbinfo", b"stealth_rgbcomp")
_HEAD = 15 * 8 + 32


def hidden_text(image: Image.Image) -> str:
    """The text in the pixels of a decoded image, "" if there is none; only RGB and RGBA can hold one."""
    import numpy as np

    if image.mode not in ("RGB", "RGBA") or image.width * image.height * 3 < _HEAD:
        return ""
    for channels, signatures in ((slice(3, 4), _SIGNATURES[:2]), (slice(0, 3), _SIGNATURES[2:])):
        if image.mode == "RGB" and channels.start == 3:
            continue
        per_pixel = channels.stop - channels.start
        columns = -(-_HEAD // (image.height * per_pixel))
        first = _bits(np.asarray(image.crop((0, 0, min(columns, image.width), image.height))), channels)
        head = np.packbits(first[:_HEAD]).tobytes()
        if head[:15] not in signatures:
            continue
        length = int.from_bytes(head[15:19], "big")
        if not 0 < length <= 8 * MAX_BLOCK:
            continue
        data = np.packbits(_bits(np.asarray(image), channels)[_HEAD : _HEAD + length]).tobytes()
        if head[11:15] == b"comp":
            inflater = zlib.decompressobj(wbits=31)
            try:
                data = inflater.decompress(data, MAX_BLOCK)
            except zlib.error:
                continue
        return data.decode("utf-8", "replace")
    return ""


def _bits(pixels: np.ndarray, channels: slice) -> np.ndarray:
    """uint8 [h, w, c] → lowest bits column by column."""
    return (pixels[:, :, channels] & 1).transpose(1, 0, 2).ravel()
