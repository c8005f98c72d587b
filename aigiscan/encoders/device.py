"""Which device to run on, and in which precision: asked of the machine by timing, not of a list of flags."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aigiscan.encoders.notices import notice
from aigiscan.encoders.weights import cache_dir
from aigiscan.errors import EncoderError
from aigiscan.files import keep_cached

if TYPE_CHECKING:
    import torch

#: another way than the plain one is taken only when it is clearly faster, so that timing noise does not decide
FASTER = 1.25


def choose_device(wanted: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` → the device; EncoderError if it is asked for and not there.

    Says once on standard error which device ``auto`` took.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            notice(f"device: cuda ({torch.cuda.get_device_name()})")
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            notice("device: mps (Apple GPU)")
            return torch.device("mps")
        notice(f"device: cpu ({_why_no_gpu()})")
        return torch.device("cpu")
    kind, _, index = wanted.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise EncoderError(f"device {wanted!r} does not exist; use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"device {wanted} was asked for, but {_why_no_gpu()}; use --device cpu")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise EncoderError(f"device {wanted} was asked for, but there are {torch.cuda.device_count()} CUDA GPUs")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EncoderError("device mps was asked for, but torch sees no Apple GPU; use --device cpu")
    return torch.device(wanted)


def _why_no_gpu() -> str:
    import torch

    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA"
    return "torch sees no GPU"


def torch_dtype(precision: str) -> torch.dtype:
    """``fp32``, ``bf16``, ``fp16`` → torch's name for it."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def check_precision(wanted: str, device: torch.device) -> None:
    """EncoderError if that precision is not usable on that device."""
    if wanted == "fp16" and device.type == "cpu":
        raise EncoderError("precision fp16 needs a GPU; on this CPU use auto, bf16 or fp32")


def choose_precision(
    wanted: str, device: torch.device, name: str, sample: Callable[[], tuple[torch.nn.Module, torch.Tensor]]
) -> str:
    """``auto`` → the fastest of fp32 and what the device may do better; anything else is checked and returned.

    sample: gives a representative module in fp32 (one block will do) and its input; called only when a timing is
    needed. ``name`` keys the answer, which is remembered on disk.
    """
    check_precision(wanted, device)
    if wanted != "auto":
        return wanted
    return fastest("precision", ("fp32", "bf16", "fp16"), device, name, lambda: time_precisions(device, *sample()))


def fastest(
    what: str, ways: Sequence[str], device: torch.device, name: str, measure: Callable[[], dict[str, float]]
) -> str:
    """The way that took the fewest seconds by ``measure``; the first unless another is clearly faster.

    Remembered on disk per machine, torch version and ``name``: a second run must not go another way because the machine
    was busy, or it could not go on with the same store.
    """
    remembered = cache_dir() / what / f"{_machine_key(device, name)}.json"
    try:
        known = json.loads(remembered.read_text())[what]
        if known in ways:
            return str(known)
    except (OSError, ValueError, KeyError, TypeError):
        known = None  # nothing remembered, or a damaged cache file: measure
    times = measure()
    chosen = ways[0]
    for way, seconds in times.items():
        if seconds * FASTER < times[chosen]:
            chosen = way
    keep_cached(remembered, json.dumps({what: chosen, "seconds": times}).encode())
    return chosen


def time_precisions(device: torch.device, module: torch.nn.Module, batch: torch.Tensor) -> dict[str, float]:
    """Seconds for one pass of ``module`` (fp32) over ``batch``, per precision worth trying on this device.

    The best of three passes after one to warm up; the weights are cast (DESIGN section 3: autocast was slower).
    """
    import torch

    times = {}
    for precision in {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16"), "mps": ("fp32", "fp16")}[device.type]:
        dtype = torch_dtype(precision)
        cast = copy.deepcopy(module).to(device=device, dtype=dtype).eval()
        data = batch.to(device=device, dtype=dtype)
        with torch.inference_mode():
            times[precision] = min(_seconds(cast, data, device) for _ in range(4))
    return times


def _seconds(module: torch.nn.Module, data: torch.Tensor, device: torch.device) -> float:
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # not always the current one
        elif device.type == "mps":
            torch.mps.synchronize()

    wait()
    start = time.perf_counter()
    module(data)
    wait()
    return time.perf_counter() - start


def _machine_key(device: torch.device, name: str) -> str:
    import torch

    model = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    facts = [platform.node(), model, device.type, torch.__version__, name]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.strip() for line in file if line.startswith(("model name", "flags"))), "")
    except OSError:
        return platform.processor()
