"""Which device to run on, and in which precision: asked of the machine by timing, not of a list of flags."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.notices import notice
from aigiscan.encoders.weights import cache_dir, one_line
from aigiscan.errors import EncoderError
from aigiscan.files import keep_cached

if TYPE_CHECKING:
    import torch

#: another way than the plain one is taken only when it is clearly faster, so that timing noise does not decide
FASTER = 1.25
#: images that precisions are timed on where it is not a CPU
GPU_SAMPLE = 32


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

    The best of three passes after one to warm up; the weights are cast, as ``torch.autocast`` was slower.
    """
    import torch

    times = {}
    for precision in {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16"), "mps": ("fp32", "fp16")}[device.type]:
        dtype = torch_dtype(precision)
        cast = copy.deepcopy(module).to(device=device, dtype=dtype).eval()
        data = batch.to(device=device, dtype=dtype)
        with torch.inference_mode():
            try:
                with exact_products(precision):
                    times[precision] = min(_seconds(cast, data, device) for _ in range(4))
            except (RuntimeError, NotImplementedError):
                if precision == "fp32":
                    raise
                # the device has no such precision for this model
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
    """Not the name of the host: a container has a new one at every start, on the same processor."""
    import torch

    model = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    facts = [model, device.type, torch.__version__, name]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What a processor is and can do. x86 says so in "model name" and "flags", ARM by numbers and "Features"."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    telling = ("model name", "flags", "CPU implementer", "CPU part", "CPU variant", "Features")
    found = {line.split(":")[0].strip(): line.strip() for line in reversed(lines) if line.startswith(telling)}
    return "\n".join(sorted(found.values())) or f"{platform.machine()} {platform.processor()}"


@contextmanager
def exact_products(precision: str) -> Iterator[None]:
    """Within it ``fp32`` means float32: on CUDA convolutions take TF32, ten bits of mantissa, unless told not to."""
    import torch

    if precision != "fp32":
        yield
        return
    products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products


def in_batches(
    encode: Callable[[Sequence[Any]], dict[str, np.ndarray]], inputs: Sequence[Any], size: int, name: str
) -> dict[str, np.ndarray]:
    """``encode`` over batches of ``size``, their channels joined; half of it, and half again, where memory runs out.

    EncoderError in one line where it is too little for one image, and where the device cannot compute in a precision.
    """
    import torch

    done: list[dict[str, np.ndarray]] = []
    start = 0
    while start < len(inputs):
        try:
            done.append(encode(inputs[start : start + size]))
            start += size
        except torch.OutOfMemoryError:
            if size == 1:
                raise EncoderError(
                    f"{name}: the memory of the device is too little for one image; --device cpu"
                ) from None
            size = max(1, min(size, len(inputs) - start) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            notice(f"{name}: out of memory on the device; going on with {size} images at once")
        except (RuntimeError, NotImplementedError) as error:
            if "not implemented for" not in str(error):
                raise
            raise EncoderError(f"{name}: {one_line(error)}; use --precision fp32") from error
    return done[0] if len(done) == 1 else {key: np.concatenate([one[key] for one in done]) for key in done[0]}
