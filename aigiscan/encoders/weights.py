"""Where weights lie, and what is in them: shipped models, the cache folder, sha256, safe loading."""

from __future__ import annotations

import os
import pickle
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aigiscan.errors import EncoderError
from aigiscan.files import file_sha256, reason

if TYPE_CHECKING:
    import torch


def shipped_models_dir() -> Path:
    """The folder of shipped models: inside the installed package, else ``models/`` of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"


def cache_dir() -> Path:
    """Where aigiscan keeps what it can compute again: ``$AIGISCAN_CACHE``, else the user's cache folder."""
    if given := os.environ.get("AIGISCAN_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aigiscan"


def weights_sha256(path: Path) -> str:
    """sha256 of a file, hexadecimal; read once per process and file state. EncoderError if it cannot be read."""
    try:
        stat = path.stat()
    except OSError as error:
        raise EncoderError(f"weights file {path}: {reason(error)}") from error
    return _sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """State dict of a ``.safetensors`` file, or of a torch checkpoint read without running code from it."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise EncoderError(f"weights file {path} cannot be read: {one_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EncoderError(f"weights file {path} holds no state dict; save model.state_dict() as .safetensors")
    return state


def one_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an exception's text, cut to ``limit`` characters."""
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return first if len(first) <= limit else first[: limit - 1] + "…"
