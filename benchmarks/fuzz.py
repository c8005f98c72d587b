"""Every reader of strangers' files on damaged input: no crash, no hang, no traceback, no score for what Pillow refuses.

    python benchmarks/fuzz.py [--scale 1.0] [--seed 0] [--only decode,lists]

113,000 inputs at scale 1: sound files of every kind, changed by flipped bits and bytes, lost, doubled, exchanged,
zeroed and foreign pieces and cuts, half of it in the first hundred bytes. Work is done in child processes with a limit
of 30 seconds per input, so that a crash or a hang is told with the seed that makes it again. Prints markdown; exit 1 if
anything was found.

Allowed ends of an input: what the reader is for, an error of aigiscan's own (for a picture: a reason), nothing else.
For pictures Pillow alone is asked too: where it refuses a file and aigiscan scores it, that is a finding, but for PNGs
that Pillow refuses for the size of their texts and JPEGs that it takes once they have an end marker.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from aigiscan.errors import AigiscanError

_LIMIT_SECONDS = 30.0
_REPOSITORY = Path(__file__).resolve().parent.parent
Target = Callable[[Path, bytes], str]


# ------------------------------------------------------------------------------------------------ damage


def damaged(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One to four changes."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not content:
            break
        last = len(content) if rng.random() < 0.5 else min(len(content), 100)
        at = int(rng.integers(0, last))
        length = int(rng.integers(1, 65))
        kind = int(rng.integers(0, 9))
        if kind <= 1:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            content[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
        elif kind == 3:
            content[at : at + length] = b"\0" * len(content[at : at + length])
        elif kind == 4:
            del content[at : at + length]
        elif kind == 5:
            content[at:at] = content[at : at + length]
        elif kind == 6:
            start = int(rng.integers(0, max(1, len(other) - length)))
            content[at : at + length] = other[start : start + length]
        elif kind == 7:
            content[at : at + 4] = rng.bytes(4)
        else:
            del content[int(rng.integers(0, len(content))) :]
    return bytes(content)


# ------------------------------------------------------------------------------------------------ targets


def picture(side: tuple[int, int] = (48, 32)) -> Image.Image:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0 : side[1], 0 : side[0]]
    planes = [120 + 60 * np.sin(0.2 * x + i) + 40 * np.cos(0.15 * y) for i in range(3)]
    noise = rng.normal(0, 6, (side[1], side[0], 3))
    return Image.fromarray(np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8))


def pictures() -> dict[str, bytes]:
    """One sound file of each kind."""
    image = picture()
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    kinds: dict[str, tuple[Image.Image, dict]] = {
        "JPEG": (image, {"exif": exif.tobytes()}),
        "JPEG progressive": (image, {"progressive": True, "subsampling": 0}),
        "JPEG restarts": (image, {"restart_marker_rows": 1}),
        "JPEG ink": (image.convert("CMYK"), {}),
        "PNG": (clear, {"exif": exif.tobytes()}),
        "PNG palette": (image.quantize(16), {"transparency": 3}),
        "WEBP": (image, {}),
        "GIF": (image, {"save_all": True, "append_images": [image.rotate(90)], "duration": 50}),
        "BMP": (image, {}),
        "TIFF": (image, {"compression": "tiff_lzw"}),
        "TIFF grey": (image.convert("L"), {}),
        "AVIF": (image, {}),
        "JPEG2000": (image, {}),
        "PPM": (image, {}),
    }
    found = {}
    for name, (source, options) in kinds.items():
        buffer = io.BytesIO()
        source.save(buffer, name.split()[0], **options)
        found[name] = buffer.getvalue()
    return found


def decode_target(folder: Path, data: bytes) -> str:
    from aigiscan.images.decode import decode
    from aigiscan.images.records import ImageRecord

    path = folder / "x"
    path.write_bytes(data)
    result = decode(ImageRecord(str(path)), max_pixels=400_000)
    assert (result.pixels is None) == bool(result.error)
    if result.pixels is None:
        assert result.error.isprintable() and len(result.error) < 130 and str(folder) not in result.error
        return "refused"
    assert result.pixels.mode == "RGB" and result.pixels.width * result.pixels.height > 0
    refusal = refused_by_pillow(data)
    if refusal and data.startswith(b"\xff\xd8"):
        refusal = refused_by_pillow(data + b"\xff\xd9")
    assert not refusal or "MAX_TEXT" in refusal or "text chunks" in refusal, f"scored, refused by Pillow: {refusal}"
    return "read"


def refused_by_pillow(data: bytes) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data)).load()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def list_target(folder: Path, data: bytes) -> str:
    from aigiscan.images import find

    walked: list[str] = []
    find._Search.walk = lambda self, root: iter(walked.append(root) or ())  # type: ignore[method-assign,func-returns-value]
    (folder / "x.txt").write_bytes(data)
    find.find_images([folder / "x.txt"])
    lines = re.split(rb"\r?\n|\0", data) if not data.startswith((b"\xff\xfe", b"\xfe\xff")) else None
    assert lines is None or len(walked) <= len([line for line in lines if line.strip()])
    return "read"


def manifest_target(folder: Path, data: bytes) -> str:
    from aigiscan.images.find import find_images
    from aigiscan.images.labels import find_labelled

    (folder / "x.csv").write_bytes(data)
    find_images([folder / "x.csv"])
    find_labelled(folder / "x.csv", both=False)
    return "read"


def selection_target(folder: Path, data: bytes) -> str:
    from aigiscan.features.selection import load_selection

    (folder / "x.yaml").write_bytes(data)
    load_selection(folder / "x.yaml")
    return "read"


def _detector(folder: Path, card: bytes, weights: bytes) -> str:
    from aigiscan.detector.detector import Detector

    (folder / "d").mkdir(exist_ok=True)
    (folder / "d" / "card.yaml").write_bytes(card)
    (folder / "d" / "weights.safetensors").write_bytes(weights)
    Detector.load(folder / "d")
    return "read"


_GOLDEN = _REPOSITORY / "tests" / "detector" / "golden" / "format1-logistic"


def card_target(folder: Path, data: bytes) -> str:
    return _detector(folder, data, (_GOLDEN / "weights.safetensors").read_bytes())


def weights_target(folder: Path, data: bytes) -> str:
    card = re.sub(
        rb"(weights_sha256: ).*",
        rb"\g<1>" + hashlib.sha256(data).hexdigest().encode(),
        (_GOLDEN / "card.yaml").read_bytes(),
    )
    return _detector(folder, card, data)


def store_target(folder: Path, data: bytes) -> str:
    from aigiscan.store import EmbeddingStore

    (folder / "x.h5").write_bytes(data)
    with EmbeddingStore(folder / "x.h5") as store:
        for name in store.channel_names:
            np.asarray(store.read(name))
        for i in range(len(store)):
            store.rows.record(i)
    return "read"


def head_target(folder: Path, data: bytes) -> str:
    from aigiscan.detector.published import import_published

    (folder / "x.pth").write_bytes(data)
    import_published("unifd", folder / "x.pth")
    return "read"


def _store_bytes() -> bytes:
    sys.path.insert(0, str(_REPOSITORY / "tests"))
    from store_helpers import embed, records_of

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i in range(3):
            paths.append(Path(folder) / f"{i}.png")
            picture((20 + i, 20)).save(paths[-1])
        embed(Path(folder) / "s.h5", records_of(paths, label=1, generator="sd"))
        return (Path(folder) / "s.h5").read_bytes()


def _head_bytes() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"weight": torch.randn(1, 768), "bias": torch.zeros(1)}, buffer)
    return buffer.getvalue()


_LIST = "a.jpg\nfolder\n/x/é.png\r\n./b c.png\n-\n".encode()
_MANIFEST = (
    b'path,label,generator,caption\n"a.jpg",real,,x\nb.png,fake,sd,"two\nlines, ""quoted"""\n./c.png,1.0,flux,\n'
)
_SELECTION = b"""format: 1
kind: components
encoder: {name: ViT-L-14/openai, pooling: class}
pair: [progan, sd14]
kept: ["ViT-L-14/openai:3", "ViT-L-14/openai:17"]
"""
_HEADS = b"format: 1\nkind: heads\nencoder: {name: x}\ntrain: progan\nvalidate: sd14\nkept: [[3, 1], [2, 0]]\n"

TARGETS: dict[str, tuple[Target, Callable[[], list[bytes]], int]] = {
    "decode": (decode_target, lambda: list(pictures().values()), 78_000),
    "lists": (list_target, lambda: [_LIST, _LIST.replace(b"\n", b"\0"), _LIST.decode().encode("utf-16")], 10_000),
    "manifests": (manifest_target, lambda: [_MANIFEST, _MANIFEST.replace(b",", b";")], 10_000),
    "selections": (selection_target, lambda: [_SELECTION, _HEADS], 4_000),
    "cards": (card_target, lambda: [(_GOLDEN / "card.yaml").read_bytes()], 4_000),
    "weights": (weights_target, lambda: [(_GOLDEN / "weights.safetensors").read_bytes()], 3_000),
    "stores": (store_target, lambda: [_store_bytes()], 2_000),
    "heads": (head_target, lambda: [_head_bytes()], 2_000),
}


# ------------------------------------------------------------------------------------------------ running


def work(name: str, first: int, count: int, seed: int, log: Path) -> None:
    """What a child does: inputs ``first`` to ``first + count``; each is noted in the log before it is tried."""
    target, make, _ = TARGETS[name]
    sound = make()
    with tempfile.TemporaryDirectory() as place, open(log, "a", encoding="utf-8") as out:
        folder = Path(place)
        target(folder, sound[0])  # imports are no part of an input's time, and what is sound has to be read
        for i in range(first, first + count):
            rng = np.random.default_rng([seed, list(TARGETS).index(name), i])
            data = damaged(sound[i % len(sound)], rng, sound[int(rng.integers(len(sound)))])
            out.write(json.dumps({"start": i}) + "\n")
            out.flush()
            faulthandler.dump_traceback_later(_LIMIT_SECONDS, exit=True)
            start = time.perf_counter()
            try:
                end = target(folder, data)
            except AigiscanError:
                end = "refused"
            except Exception as error:
                end = f"FOUND {type(error).__name__}: {' '.join(str(error).split())[:150]}"
            faulthandler.cancel_dump_traceback_later()
            out.write(json.dumps({"end": end, "s": round(time.perf_counter() - start, 3), "i": i}) + "\n")


def ends(name: str, count: int, seed: int) -> Iterator[dict]:
    """How each input ended; a child that died is started again behind the input that killed it."""
    at = 0
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        while at < count:
            log.write_text("")
            step = min(5000, count - at)
            child = [sys.executable, __file__, "--child", name, str(at), str(step), str(seed), str(log)]
            done = subprocess.run(child, capture_output=True, text=True)
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            yield from (line for line in lines if "end" in line)
            started = [line["start"] for line in lines if "start" in line]
            if done.returncode == 0:
                at += step
                continue
            if not started:
                sys.exit(f"the child for {name} did not start:\n{done.stderr}")
            last = done.stderr.strip().splitlines()[-1:] or ["?"]
            hang = "Timeout" in done.stderr
            yield {
                "end": f"FOUND {'hang' if hang else 'crash'} ({done.returncode}): {last[0]}",
                "s": 0.0,
                "i": started[-1],
            }
            at = started[-1] + 1


def main() -> None:
    """Run all targets and print the table."""
    if sys.argv[1:2] == ["--child"]:
        name, first, count, seed, log = sys.argv[2:]
        work(name, int(first), int(count), int(seed), Path(log))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(TARGETS))
    given = parser.parse_args()
    print("| reader | inputs | read | refused | findings | slowest, s |\n|---|---|---|---|---|---|")
    findings: dict[str, collections.Counter[str]] = {}
    examples: dict[tuple[str, str], int] = {}
    for name in given.only.split(","):
        counts: collections.Counter[str] = collections.Counter()
        slowest, total = 0.0, 0
        found = findings.setdefault(name, collections.Counter())
        for line in ends(name, round(given.scale * TARGETS[name][2]), given.seed):
            total += 1
            slowest = max(slowest, line["s"])
            counts[line["end"].split()[0]] += 1
            if line["end"].startswith("FOUND"):
                kind = re.sub(r"\d+", "N", line["end"][6:])
                found[kind] += 1
                examples.setdefault((name, kind), line["i"])
        row = (name, total, counts["read"], counts["refused"], counts["FOUND"], f"{slowest:.2f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    for name, found in findings.items():
        for kind, n in found.most_common():
            print(f"{name}: {n} × {kind} (first: input {examples[name, kind]})")
    sys.exit(any(findings.values()))


if __name__ == "__main__":
    main()
