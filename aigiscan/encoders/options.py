"""Option checks and small array helpers that several encoders share."""

from __future__ import annotations

import numpy as np

from aigiscan.encoders.base import EncoderOptions
from aigiscan.errors import EncoderError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
POOLINGS = ("class", "mean", "token")
PROJECTIONS = ("projected", "hidden", "norms")


def check_options(options: EncoderOptions) -> EncoderOptions:
    """The options themselves; EncoderError for a value that does not exist."""
    for field, allowed in (("precision", PRECISIONS), ("pooling", POOLINGS), ("projection", PROJECTIONS)):
        if getattr(options, field) not in allowed:
            raise EncoderError(f"{field} {getattr(options, field)!r} does not exist; use one of {', '.join(allowed)}")
    if options.depth and (not options.blocks or options.heads):
        raise EncoderError("depth is for blocks alone: what comes after the last layer that runs is not there")
    return options


def plain_options(
    name: str, argument: str, options: EncoderOptions | None, *, transformer: bool = False
) -> EncoderOptions:
    """Options of an encoder that has neither heads nor towers nor an argument; EncoderError if one is asked for.

    transformer: it may be one, with layers and a class token.
    """
    options = check_options(options or EncoderOptions())
    if argument:
        raise EncoderError(f"encoder {name} takes nothing after the colon, got {argument!r}")
    if options.heads:
        raise EncoderError(f"encoder {name} has no attention heads; --heads needs an open_clip vision transformer")
    if options.blocks and not transformer:
        raise EncoderError(f"encoder {name} has no layers to keep; --blocks needs a transformer of open_clip or timm")
    if options.projection != "projected" or options.pooling not in ("class", *(["token"] if transformer else [])):
        raise EncoderError(f"encoder {name} has one kind of feature; 'mean' and 'hidden' need an open_clip model")
    return options


def unit_length(matrix: np.ndarray) -> np.ndarray:
    """Rows (n, d) scaled to Euclidean length 1; a zero row stays zero."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.maximum(length, np.finfo(np.float32).tiny)


def check_depth(name: str, depth: int, layers: int) -> int:
    """How many layers run; EncoderError where there are not so many."""
    if depth > layers:
        raise EncoderError(f"{name} has {layers} layers, not {depth}")
    return depth or layers


def half_range(values: np.ndarray) -> np.ndarray:
    """Kept within what float16 can hold: a residual stream has a few very large entries."""
    return np.clip(values, -65504.0, 65504.0)
