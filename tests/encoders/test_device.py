"""Memory that runs out, precision that is what it is called, machines that are recognised."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import save_model, tiny_config

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.device import _cpu_name, _machine_key, exact_products, in_batches
from aigiscan.errors import EncoderError


def test_out_of_memory_halves_the_batch_until_it_fits() -> None:
    seen: list[int] = []

    def encode(inputs: list[int]) -> dict[str, np.ndarray]:
        seen.append(len(inputs))
        if len(inputs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"embedding": np.array(inputs, dtype=np.float32)[:, None]}

    found = in_batches(encode, list(range(13)), 13, "x")
    np.testing.assert_array_equal(found["embedding"][:, 0], np.arange(13))
    assert seen == [13, 6, 3, 3, 3, 3, 1]

    def never(inputs: list[int]) -> dict[str, np.ndarray]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EncoderError, match="too little for one image"):
        in_batches(never, [1, 2, 3], 3, "x")


def test_a_precision_that_the_device_lacks_is_one_line() -> None:
    def encode(inputs: list[int]) -> dict[str, np.ndarray]:
        raise RuntimeError("\"slow_conv2d\" not implemented for 'Half'\nmore")

    with pytest.raises(EncoderError, match="--precision fp32") as error:
        in_batches(encode, [1], 1, "x")
    assert "\n" not in str(error.value)
    with pytest.raises(RuntimeError, match="else"):
        in_batches(lambda _: (_ for _ in ()).throw(RuntimeError("something else")), [1], 1, "x")


def test_fp32_runs_without_tf32(tmp_path: Path) -> None:
    """On CUDA convolutions are TF32 by default; the flags are there on any machine."""
    name, _ = save_model(tmp_path / "m", tiny_config())
    encoder = create_encoder(name, EncoderOptions(device="cpu", precision="fp32"))
    seen: list[tuple[bool, bool]] = []
    encoder.tower.visual.conv1.register_forward_pre_hook(
        lambda *_: seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
    )
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        encoder.encode([np.zeros((3, 32, 32), np.uint8)])
        assert torch.backends.cuda.matmul.allow_tf32
        with exact_products("bf16"):
            assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert seen == [(False, False)]
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["lite", "lite:native"])
def test_lite_runs_without_tf32_too(name: str) -> None:
    """On an H200 its numbers moved by 8e-4 before (benchmarks/check_cuda.py)."""
    encoder = create_encoder(name, EncoderOptions(device="cpu", precision="fp32"))
    inputs = [encoder.prepare(Image.new("RGB", (64, 64)))]
    encoder.encode(inputs)
    seen: list[bool] = []
    encoder._loaded()[0].conv_stem.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    encoder.encode(inputs)
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_precisions_are_timed_on_a_real_batch_where_launches_cost(kind: str, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    name, _ = save_model(tmp_path / "m", tiny_config())
    if kind == "timm":
        save_file(timm.create_model("test_vit", pretrained=False).state_dict(), tmp_path / "vit.safetensors")
        name = f"timm:test_vit/{tmp_path / 'vit.safetensors'}"
    for device, least in (("cpu", 1), ("cuda", 32), ("mps", 32)):
        encoder = create_encoder(name, EncoderOptions())
        encoder.device = torch.device(device)  # asked for its sample alone, nothing is run there
        images = len(encoder._sample()[1])
        assert images >= least and (device != "cpu" or images < 32)


def test_a_processor_is_known_by_what_it_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd {}\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
    names = []
    for extra in ("", "bf16"):
        (tmp_path / "cpuinfo").write_text(arm.format(extra) + arm.replace(": 0", ": 1", 1).format(extra))
        names.append(_cpu_name(tmp_path / "cpuinfo"))
    assert names[0] != names[1]  # bfloat16 or not is what is timed
    assert "0xd40" in names[0]
    assert _cpu_name(tmp_path / "none")  # macOS and Windows have no such file
    key = _machine_key(torch.device("cpu"), "m")
    monkeypatch.setattr("platform.node", lambda: "another-container")
    assert _machine_key(torch.device("cpu"), "m") == key
