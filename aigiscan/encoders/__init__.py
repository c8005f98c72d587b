"""Pixels → channels. The registry: one line per encoder kind, imported when it is used."""

from __future__ import annotations

from aigiscan.encoders.base import ChannelSpec, Encoder, EncoderOptions
from aigiscan.encoders.fingerprint import compare_fingerprints, encoder_from_fingerprint
from aigiscan.encoders.registry import ENCODERS, create_encoder

__all__ = [
    "ENCODERS",
    "ChannelSpec",
    "Encoder",
    "EncoderOptions",
    "compare_fingerprints",
    "create_encoder",
    "encoder_from_fingerprint",
]
