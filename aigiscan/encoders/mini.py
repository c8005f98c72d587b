"""``mini``: a small CLIP of our own, shipped in ``models/mini``."""

from __future__ import annotations

from functools import cached_property

from aigiscan.encoders.base import EncoderOptions
from aigiscan.encoders.clip_source import ClipSource, folder_source
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.encoders.weights import shipped_models_dir
from aigiscan.errors import EncoderError


class MiniEncoder(OpenClipEncoder):
    """The shipped CLIP: an open_clip model in every way, with heads and a text tower. Demonstration grade."""

    def __init__(self, argument: str = "", options: EncoderOptions | None = None) -> None:
        if argument:
            raise EncoderError(f"encoder mini takes nothing after the colon, got {argument!r}")
        super().__init__("", options)

    @cached_property
    def source(self) -> ClipSource:
        """The shipped folder."""
        folder = shipped_models_dir() / "mini"
        if not (folder / "open_clip_config.json").is_file():
            raise EncoderError(
                f"encoder 'mini' is not shipped with this installation ({folder} is missing); use 'lite'"
            )
        return folder_source(folder, "mini")
