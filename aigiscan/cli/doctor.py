"""``aigiscan doctor``: what is installed, where it computes, what lies in the caches, settings, and advice."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from aigiscan import __version__
from aigiscan.cli import config, console

_NEEDED = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "scipy", "scikit-learn", "h5py", "pillow")
#: package → what it is for
_EXTRAS = {"pillow-heif": "HEIC pictures", "distributed": "embed --backend dask"}
_LITTLE_DISK = 5e9  # bytes; a ViT-L/14 is 1.7 GB
_LITTLE_MEMORY = 4e9


def doctor() -> None:
    """Versions, device, caches and what is downloaded, free disk, settings, and a line of advice."""
    lines = [*_program(), *_device(), *_caches(), *_settings()]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        console.out(f"{name:<{width}}  {text}\n")
    for advice in _advice(lines):
        console.out(f"{'advice':<{width}}  {advice}\n")


def _program() -> Iterator[tuple[str, str]]:
    yield "aigiscan", f"{__version__} in {Path(__file__).parents[1]}"
    yield "python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    yield "versions", ", ".join(f"{name} {_version(name) or 'missing'}" for name in _NEEDED)
    yield "extras", ", ".join(f"{name} {_version(name) or f'missing ({use})'}" for name, use in _EXTRAS.items())


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _device() -> Iterator[tuple[str, str]]:
    import torch

    from aigiscan.encoders.device import choose_device
    from aigiscan.images.ahead import default_workers

    device = choose_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    yield "device", f"{device} ({name}); {torch.get_num_threads()} threads, {default_workers()} loaders"
    if memory := _memory():
        yield "memory", f"{memory / 1e9:.1f} GB"


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0


def _caches() -> Iterator[tuple[str, str]]:
    from huggingface_hub import constants

    from aigiscan.encoders.weights import cache_dir, shipped_models_dir

    shipped = sorted(path.parent.name for path in shipped_models_dir().glob("*/card.yaml"))
    yield "detectors", ", ".join(shipped) or f"none in {shipped_models_dir()}"
    hub = Path(constants.HF_HUB_CACHE)
    places = {
        "cache": (cache_dir(), sorted(path.name for path in cache_dir().glob("*"))),
        "hub cache": (hub, [path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*")]),
        "clip cache": (clip := Path.home() / ".cache" / "clip", sorted(path.name for path in clip.glob("*"))),
    }
    for name, (place, holds) in places.items():
        yield name, f"{place}: {_size(place) / 1e6:.1f} MB, {', '.join(sorted(holds)) or 'nothing downloaded'}"
    if constants.HF_HUB_OFFLINE:
        yield "downloads", "HF_HUB_OFFLINE is set: none"
    yield "free disk", f"{_free(cache_dir()) / 1e9:.1f} GB at {cache_dir()}, {_free(Path.cwd()) / 1e9:.1f} GB here"


def _size(place: Path) -> int:
    # links in the hub's cache lead to files that are counted where they lie
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file() and not path.is_symlink())


def _free(place: Path) -> int:
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _settings() -> Iterator[tuple[str, str]]:
    files = config.config_files()
    for file in files:
        yield "settings", f"{file.path}: {_flat(file.values) or 'nothing set'}"
    if not files:
        yield "settings", f"none ({config.user_file()} or [tool.aigiscan] in pyproject.toml)"


def _flat(values: object, before: str = "") -> str:
    if not isinstance(values, dict):
        return f"{before}={values!r}"
    return ", ".join(_flat(value, f"{before}.{key}" if before else str(key)) for key, value in values.items())


def _advice(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    from aigiscan.encoders.weights import cache_dir

    facts = dict(lines)
    missing = [name for name in _NEEDED if not _version(name)]
    if missing:
        yield f"install what is missing: pip install {' '.join(missing)}"
    elif facts["device"].startswith("cpu"):
        yield "no GPU is used: encoders such as ViT-L/14 take about a second a picture; lite, spam and mini are quick"
    else:
        yield "all is well"
    if _free(cache_dir()) < _LITTLE_DISK:
        yield f"little room for weights: set HF_HOME and AIGISCAN_CACHE to a larger disk than that of {cache_dir()}"
    if 0 < _memory() < _LITTLE_MEMORY:
        yield "little memory: --batch-size 8 --workers 1"
