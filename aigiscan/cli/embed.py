"""``aigiscan embed``: folders, files or manifests in; a store of their embeddings out."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aigiscan.cli import console, options
from aigiscan.cli.companions import Captions, Objects, Prompt, Twins, accompany, with_twins
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.embedding import EmbedSummary
    from aigiscan.encoders.base import Encoder
    from aigiscan.images.records import ImageRecord
    from aigiscan.store import EmbeddingStore

DEFAULT_ENCODER = "lite+spam"


def embed(
    paths: list[str] = typer.Argument(
        ..., metavar="PATH...", help="Folders, files, a .txt list, a CSV manifest, or - for a list on standard input."
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Store to make or continue: a folder (adding to it is cheap), or one file NAME.h5."
    ),
    encoder: str | None = typer.Option(
        None,
        "--encoder",
        "-e",
        help=f"Encoder, e.g. ViT-L-14/openai. Default: the store's own, else {DEFAULT_ENCODER}.",
    ),
    heads: bool = typer.Option(
        False, "--heads", help="Also keep every attention head (open_clip vision transformers)."
    ),
    blocks: bool = typer.Option(
        False, "--blocks", help="Also keep the pooled token after every layer (transformers of open_clip and timm)."
    ),
    pooling: str | None = typer.Option(
        None, "--pooling", help="class, mean (open_clip) or token (timm). Default: class, as the model does by itself."
    ),
    projection: str | None = typer.Option(
        None, "--projection", help="projected, hidden or norms (default: projected)."
    ),
    normalize: bool = typer.Option(False, "--normalize", help="L2-normalise the embedding."),
    equalize: str | None = typer.Option(
        None, "--equalize", help="Crop, resize and re-encode every picture alike first, e.g. square:224,jpeg:75."
    ),
    captions: Captions = "",
    prompt: Prompt = "",
    objects: Objects = "",
    twins: Twins = "",
    captions_only: bool = typer.Option(
        False,
        "--captions-only",
        help="Only write missing captions (and objects) into files beside the pictures.",
    ),
    include: options.Include = [],  # noqa: B006 (Typer copies it)
    exclude: options.Exclude = [],  # noqa: B006
    resume: bool = typer.Option(
        True, "--resume/--no-resume", help="Keep what the store has; --no-resume makes it anew."
    ),
    prune: bool = typer.Option(False, "--prune", help="Drop the rows of files that no longer exist."),
    yes: bool = typer.Option(False, "--yes", help="With --prune: also if that is more than half of the rows."),
    batch_size: options.BatchSize = 32,
    workers: options.Workers = None,
    isolate: options.Isolate = False,
    time_limit: options.TimeLimit = 60.0,
    device: options.Device = "auto",
    precision: str = typer.Option(
        "auto", "--precision", help="auto, fp32, bf16 or fp16; auto takes that of the store if there is one."
    ),
    max_pixels: options.MaxPixels = None,
    unlabelled: bool = typer.Option(False, "--unlabelled", help="Read no labels from folders and manifests."),
    backend: options.Backend = "local",
    scheduler: options.Scheduler = "",
) -> None:
    """Embed images into a store. Only what the store does not have is computed; a cut run goes on where it stopped."""
    from aigiscan.embedding import EmbedSettings, embed_with_dask
    from aigiscan.embedding import embed as embed_here
    from aigiscan.images.decode import DEFAULT_MAX_PIXELS
    from aigiscan.images.equalize import Equalization

    if output is None and not captions_only:
        raise InputError("say where to keep the embeddings: -o STORE")
    options.check_backend(backend, scheduler)
    records = with_twins(_find(paths, include, exclude, unlabelled), twins)
    if captions_only or output is None:
        _write_beside(records, captions, objects, prompt, device, {"batch_size": batch_size, "workers": workers})
        return
    chosen = {"pooling": pooling, "projection": projection, "normalize": normalize, "heads": heads, "blocks": blocks}
    given = {key: value for key, value in chosen.items() if value}
    beside = (captions, objects, twins, prompt)
    made, stored_equalization = _make_encoder(encoder, output if resume else None, device, precision, given, beside)
    spec = stored_equalization if equalize is None else equalize
    settings = EmbedSettings(
        equalization=Equalization.parse(spec) if spec else None,
        batch_size=batch_size,
        workers=workers,
        isolate=time_limit if isolate else None,
        resume=resume,
        prune=prune,
        prune_most=yes,
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
    )
    start = time.perf_counter()
    tracked = console.track(records, total=len(records), description="embed")
    if backend == "dask":
        summary = embed_with_dask(tracked, made, output, scheduler, settings)
    else:
        summary = embed_here(tracked, made, output, settings)
    _summarise(summary, made, output, time.perf_counter() - start)
    if summary.repacked:
        console.note(
            f"{output} was unpacked and packed again; to a folder (-o {output.with_suffix('')}) adding is cheap"
        )
    if summary.vanished and not summary.pruned:
        raise InputError(
            f"--prune would drop {summary.vanished} rows of {output}, more than half (is a disk not there?); "
            "give --yes if their files are gone for good"
        )


def _make_encoder(
    name: str | None,
    output: Path | None,
    device: str,
    precision: str,
    given: dict[str, Any],
    beside: tuple[str, str, str, str],
) -> tuple[Encoder, str]:
    """The encoder and the equalisation to use: those of the store where nothing else is asked for.

    beside: ``--captions``, ``--objects``, ``--twins``, ``--prompt``.
    """
    from aigiscan.encoders import create_encoder, encoder_from_fingerprint
    from aigiscan.encoders.base import Captures, EncoderOptions, captures
    from aigiscan.encoders.fingerprint import for_channels
    from aigiscan.store import EmbeddingStore, is_store

    if output is None or not is_store(output):
        made = create_encoder(name or DEFAULT_ENCODER, EncoderOptions(device=device, precision=precision, **given))
        return accompany(made, *beside), ""
    with EmbeddingStore(output) as store:
        equalization = str(store.fingerprint.get("equalization", ""))
        as_stored = name is None or _same_name(name, store)
        if as_stored and precision == "auto" and not given.keys() - {"heads", "blocks"}:
            kept = captures(store.channels)
            captured: Captures = {
                "heads": kept["heads"] or "heads" in given,
                "blocks": kept["blocks"] or "blocks" in given,
            }
            captions, objects, twins, prompt = beside
            if not (captions or objects or prompt or (twins and "twins" not in store.fingerprint)):
                return encoder_from_fingerprint(store.fingerprint, device=device, **captured), equalization
            plain = encoder_from_fingerprint(for_channels(store.fingerprint, ()), device=device, **captured)
            return accompany(plain, *beside), equalization
        if precision == "auto":
            precision = str(store.fingerprint.get("precision") or "auto")
        options = EncoderOptions(device=device, precision=precision, **given)
        return accompany(create_encoder(name or str(store.fingerprint["name"]), options), *beside), equalization


def _write_beside(
    records: list[ImageRecord], captions: str, objects: str, prompt: str, device: str, running: dict[str, Any]
) -> None:
    """Captions and objects into files beside the pictures."""
    from aigiscan.embedding import EmbedSettings, describe
    from aigiscan.encoders.describe import create_captioner, create_grounder

    captioner = create_captioner(captions, prompt, device) if captions else None
    grounder = create_grounder(objects, device) if objects else None
    if captioner is None and grounder is None:
        raise InputError(
            "--captions-only needs a model: --captions hf:NAME or open_clip:coca_NAME, or --objects hf:NAME"
        )
    tracked = console.track(records, total=len(records), description="describe")
    summary = describe(tracked, captioner, grounder, EmbedSettings(**running))
    console.note(
        f"{summary.encoded} files written beside the pictures; {summary.known} pictures had theirs, "
        f"{summary.failed} could not be described"
    )
    for path, error in summary.failures:
        console.note(f"unreadable: {path!r}: {error}")


def _same_name(name: str, store: EmbeddingStore) -> bool:
    from aigiscan.encoders import create_encoder

    return name == store.fingerprint.get("name") or create_encoder(name).name == store.fingerprint.get("name")


def _find(paths: Sequence[str], include: Sequence[str], exclude: Sequence[str], unlabelled: bool) -> list[ImageRecord]:
    """Records of all paths, with labels where a folder or manifest has them; what was found is told."""
    from aigiscan.images.find import by_path, not_looked_at, one_of_each

    skipped: Counter[str] = Counter()
    found = [record for path in paths for record in _find_one(path, include, exclude, unlabelled, skipped)]
    if passed_by := not_looked_at(skipped):
        console.note(passed_by)
    if not found:
        raise InputError(f"no image found in {', '.join(paths)}: nothing to embed")
    return found if len(paths) == 1 else sorted(one_of_each(found), key=by_path)


def _find_one(
    path: str, include: Sequence[str], exclude: Sequence[str], unlabelled: bool, skipped: Counter[str]
) -> list[ImageRecord]:
    from aigiscan.images.find import find_images
    from aigiscan.images.labels import find_labelled
    from aigiscan.images.layouts import UnlabelledError
    from aigiscan.images.manifest import MANIFEST_EXTENSIONS

    folder = Path(path).is_dir()
    if not unlabelled and (folder or path.lower().endswith(tuple(MANIFEST_EXTENSIONS))):
        passed_by: Counter[str] = Counter()
        try:
            records = find_labelled(path, include=include, exclude=exclude, both=False, skipped=passed_by)
        except UnlabelledError:
            console.warn(f"{path}: no labels are read: it is neither a labelled layout nor a manifest with labels")
        except InputError as error:
            hint = "; --unlabelled embeds it without labels" if folder else ""
            raise InputError(f"{error}{hint}") from error
        else:
            skipped.update(passed_by)
            console.note_labels(path, records)
            return records
    records = find_images([path], include=include, exclude=exclude, stdin=sys.stdin, skipped=skipped)
    return [replace(record, label=None) for record in records] if unlabelled else records


def _summarise(summary: EmbedSummary, encoder: Encoder, output: Path, seconds: float) -> None:
    from aigiscan.store import EmbeddingStore

    counts = {
        "known": summary.known,
        "found again by content": summary.moved,
        "dropped": summary.pruned,
        "unreadable": summary.failed,
        "of them kept as they were stored": summary.kept,
    }
    told = "".join(f", {n} {what}" for what, n in counts.items() if n)
    rate = (summary.encoded + summary.moved + summary.known) / max(seconds, 1e-9)
    how = ", ".join(filter(None, (encoder.name, encoder.fingerprint()["precision"])))
    console.note(f"{summary.encoded} images embedded{told}; {rate:.1f} images/s ({how})")
    for path, error in summary.failures:
        console.note(f"unreadable: {path!r}: {error}")
    if summary.failed > len(summary.failures):
        console.note(f"… and {summary.failed - len(summary.failures)} more; all: aigiscan stores show {output}")
    with EmbeddingStore(output) as store:
        console.note(
            f"{output}: {len(store)} images, {store.size / 1e6:.1f} MB; channels {', '.join(store.channel_names)}"
        )
