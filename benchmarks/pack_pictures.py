"""Labelled pictures → two small files to fine-tune from on a machine without them (``finetune_lite.py``).

    python benchmarks/pack_pictures.py DATA OUT

Every picture is treated as ``limit:512``, cut to its central 448 pixels (offsets of 16, so that the JPEG grid keeps its
phase), and written as JPEG of quality 80: what ``scan`` shows to a detector, smaller. OUT-a.bin and OUT-b.bin are
halves of the concatenated JPEG files, OUT.json has where each begins and what the manifest says of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aigiscan.images.decode import decode
from aigiscan.images.equalize import Equalization, jpeg_bytes
from aigiscan.images.labels import find_labelled

CROP = 448


def main(data: str, out: str) -> None:
    """Treat, cut, encode, concatenate."""
    equalization = Equalization.parse("limit:512")
    rows, packed = [], bytearray()
    for record in find_labelled(data):
        found = decode(record)
        if found.pixels is None:
            sys.exit(f"{record.path}: {found.error}")
        image = equalization.apply(found.pixels)
        side, start = min(CROP, image.width), max(0, (image.width - CROP) // 2) // 16 * 16
        content = jpeg_bytes(image.crop((start, start, start + side, start + side)), 80)
        rows.append(
            {
                "start": len(packed), "bytes": len(content), "side": image.width, "label": record.label,
                "generator": record.generator, "source": record.source, "group": record.group,
                "sha256": found.facts.sha256,
            }
        )  # fmt: skip
        packed += content
    half = len(packed) // 2
    Path(f"{out}-a.bin").write_bytes(packed[:half])
    Path(f"{out}-b.bin").write_bytes(packed[half:])
    Path(f"{out}.json").write_text(json.dumps(rows), encoding="utf-8")
    print(f"{len(rows)} pictures, {len(packed) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:3])
