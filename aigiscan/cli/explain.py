"""``aigiscan explain``: a detector in words, an image's score in parts, heads in words."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aigiscan.cli import console, options
from aigiscan.cli.companions import Twins, with_twins
from aigiscan.errors import InputError
from aigiscan.text import json_line, json_text

if TYPE_CHECKING:
    from aigiscan.explain.explanation import Explanation
    from aigiscan.store import EmbeddingStore

#: pictures whose tables are printed while a folder is written
_TABLES = 20


def explain(
    target: str = typer.Argument(
        ...,
        metavar="DETECTOR|heads",
        help="Detector folder or shipped name; or the word heads, followed by a store (.h5) or an encoder.",
    ),
    images: list[str] | None = typer.Argument(
        None, metavar="IMAGE", help="Files, folders or lists to explain; none: the detector itself, in words."
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Folder for the page, JSON, CSV and PNG. Without it JSON goes to standard output."
    ),
    top: int = typer.Option(10, "--top", min=1, help="How many words at either end."),
    phrases: Path | None = typer.Option(
        None, "--phrases", help="Text file with one phrase per line, instead of the list that comes with aigiscan."
    ),
    neighbours: Path | None = typer.Option(
        None,
        "--neighbours",
        "--store",
        help="Store of known images: nearest real and fake ones of an image; residuals of its generators in words.",
    ),
    k: int = typer.Option(5, "--k", min=1, help="How many known real and fake images to show."),
    windows: int = typer.Option(
        3,
        "--windows",
        min=0,
        max=16,
        help="Where a score cannot be taken apart by place: score so many windows a side of the picture; 0: none.",
    ),
    twins: Twins = "",
    device: options.Device = "auto",
) -> None:
    """Say why: weights in words, a score taken apart into heads and patches, the nearest known images."""
    from aigiscan.explain.words import read_phrases
    from aigiscan.files import make_folder

    texts = read_phrases(phrases)
    if windows == 1:
        raise InputError("--windows 1 shows nothing: give 0 for none, or at least 2")
    if output is not None:
        make_folder(output)  # what cannot be written is said before anything is computed
    if target == "heads":
        if not images or len(images) != 1:
            raise InputError("explain heads needs one store or encoder, such as: aigiscan explain heads mini")
        _explain_heads(images[0], texts, top=top, output=output, device=device)
        return
    store = None
    if neighbours is not None:
        from aigiscan.store import EmbeddingStore

        store = EmbeddingStore(neighbours)
    if images:
        shown = {"neighbours": k, "top_heads": top, "windows": windows}
        _explain_images(target, images, texts, store, shown, output=output, device=device, twins=twins)
    else:
        _explain_detector(target, texts, store, top=top, output=output, device=device)


def _explain_detector(
    name: str, texts: Sequence[str], store: EmbeddingStore | None, *, top: int, output: Path | None, device: str
) -> None:
    from aigiscan.detector.detector import Detector
    from aigiscan.explain.detector_words import explain_words
    from aigiscan.explain.write import write_words

    detector = Detector.load(name)
    encoder = detector.make_encoder(device=device, precision="fp32")
    words = explain_words(detector, encoder, texts, top=top, store=store)
    _show_words(words)
    if words["warning"]:
        console.warn(words["warning"])
    for part, reason in words["missing"].items():
        console.note(f"no {part}: {reason}")
    if output is None:
        _print_json(words)
    else:
        console.note(f"wrote {', '.join(str(path) for path in write_words(output, words))}")


def _show_words(words: Mapping[str, Any]) -> None:
    for kind in ("phrases", "tokens"):
        sides = words[kind]
        if sides["positive"]:
            rows = [
                (near["text"] + _hyphen(near), near["cosine"], far["text"] + _hyphen(far), far["cosine"])
                for near, far in zip(sides["positive"], sides["negative"], strict=True)
            ]
            level = f"interpretability {words['interpretability'][kind]:.3f}"
            level += f", clarity {words['clarity'][kind]:.3f}"
            if kind in words["chance"]:
                level += f" (labels dealt anew: up to {words['chance'][kind]:.3f})"
            console.table(f"{kind}: {level}", ("towards AI-generated", "cosine", "towards real", "cosine"), rows)
    rows = [
        (
            name,
            "; ".join(f"{w['text']} {w['cosine']:.2f}" for w in entry["phrases"]["positive"][:3]),
            "; ".join(
                f"{w['text']}{_hyphen(w)} {w['cosine']:.2f}" for w in entry.get("tokens", {}).get("positive", [])[:5]
            ),
            _number(entry["cosine_with_detector"]),
        )
        for name, entry in words["generators"].items()
    ]
    if rows:
        console.table("residuals of the generators", ("generator", "phrases", "tokens", "cosine with weights"), rows)


def _nearest(entry: Mapping[str, Any], kind: str, count: int) -> str:
    near = entry.get(kind, {}).get("positive", [])[:count]
    return "; ".join(f"{word['text']}{_hyphen(word)} {word['cosine']:.2f}" for word in near)


def _number(value: float | None) -> float | str:
    return "" if value is None else value


def _hyphen(word: Mapping[str, Any]) -> str:
    """Sub-word tokens are shown with a hyphen: they begin or continue a word."""
    return "-" if word.get("kind") == "sub-word" else ""


def _explain_images(
    name: str,
    images: Sequence[str],
    texts: Sequence[str],
    store: EmbeddingStore | None,
    shown: Mapping[str, Any],
    *,
    output: Path | None,
    device: str,
    twins: str,
) -> None:
    from aigiscan.detector.detector import Detector
    from aigiscan.explain.images import Explainer, load_for_explaining
    from aigiscan.explain.words import phrase_list
    from aigiscan.explain.write import ExplanationFolder
    from aigiscan.images.find import find_images

    detector = Detector.load(name)
    encoder = load_for_explaining(detector, device=device)
    explainer = Explainer(detector, encoder, store=store, **shown)
    member = explainer.directions.joint_member()
    if member is not None and (encoder.beside or "heads" not in explainer.directions.missing):
        explainer.phrases = phrase_list(member.encoder, texts)
    records = with_twins(find_images(images), twins)
    if not records:
        raise InputError(f"no image in {', '.join(images)}")
    said = set()
    readable = 0
    on_terminal = output is None and sys.stdout.isatty()
    explained = explainer.explain_all(records)
    if output is not None:
        explained = ExplanationFolder(output, detector, len(records)).written(explained)
    for explanation in console.track(
        explained, total=len(records), description="explaining", rows_on_terminal=on_terminal
    ):
        readable += not explanation.error
        if output is None or readable <= _TABLES or explanation.error:
            _show_explanation(explanation)
        elif readable == _TABLES + 1:
            console.note(f"no more tables than {_TABLES}: {output / 'index.html'} will have all")
        for part, reason in explanation.missing.items():
            if (part, reason) not in said:  # the same for all images of a detector
                console.note(f"no {part}: {reason}")
                said.add((part, reason))
        if output is None:
            console.out(json_line(explanation.to_json()))
    if output is not None:
        if readable:
            console.note(f"wrote {readable} explanations (JSON, PNG) and parts.csv to {output}")
            console.note(f"the page of them is {output / 'index.html'}")
        if readable < len(records):
            console.note(f"{len(records) - readable} could not be read; their JSON says why")
    if not readable:
        raise InputError(f"nothing is explained: of {len(records)} pictures none could be read")


def _show_explanation(explanation: Explanation) -> None:
    path = explanation.path
    if explanation.error:
        console.warn(f"{path}: {explanation.error}")
        return
    parts = sorted(explanation.parts.items(), key=lambda item: -abs(item[1]))[:10]
    words = _words_of_parts(explanation)
    rows = [(part, f"{value:+.4f}", words.get(part, "")) for part, value in parts]
    others = sum(explanation.parts.values()) - sum(value for _, value in parts)
    if len(explanation.parts) > len(parts):
        rows.append((f"{len(explanation.parts) - len(parts)} others", f"{others:+.4f}", ""))
    if rows:
        rows.append(("sum", f"{explanation.sum_of_parts:+.4f}", ""))
    rows.append(("score", f"{explanation.logit:+.4f}", f"{explanation.verdict}, p_ai {explanation.p_ai:.3f}"))
    console.table(path, ("part", "contribution", "words"), rows)
    for side, found in (explanation.neighbours or {}).items():
        for n in found:
            generator = f", {n.generator}" if n.generator else ""
            console.note(f"nearest {side}: {n.path} ({n.similarity:.3f}{generator})")


def _words_of_parts(explanation: Explanation) -> dict[str, str]:
    """What a part of the score means to a reader: a head's nearest phrases, the caption, an object's phrase."""
    words = {
        f"head:{h.layer}:{h.head}": ", ".join(w["text"] for w in h.phrases.get("positive", [])[:3])
        for h in explanation.heads
    }
    if explanation.companions is not None:
        words["caption"] = explanation.companions.caption
        words |= {f"object:{i}": found.phrase for i, found in enumerate(explanation.companions.objects)}
    return words


def _explain_heads(source: str, texts: Sequence[str], *, top: int, output: Path | None, device: str) -> None:
    from aigiscan.encoders import create_encoder, encoder_from_fingerprint
    from aigiscan.encoders.base import EncoderOptions
    from aigiscan.encoders.fingerprint import for_channels
    from aigiscan.explain.head_words import encoder_with_words, heads_of_encoder, heads_of_store
    from aigiscan.explain.words import phrase_list
    from aigiscan.explain.write import write_heads
    from aigiscan.store import EmbeddingStore, is_store

    if is_store(source):
        with EmbeddingStore(source) as store:
            plain = for_channels(store.fingerprint, ())
            encoder = encoder_with_words(encoder_from_fingerprint(plain, device=device), store)
            entries = heads_of_store(store, encoder, phrase_list(encoder, texts), top=top)
    else:
        encoder = encoder_with_words(create_encoder(source, EncoderOptions(device=device, precision="fp32")))
        entries = heads_of_encoder(encoder, phrase_list(encoder, texts), top=top)
        console.note("without images a head's two ends have no sign; give a store made with --heads for table 2")
    rows = [
        (
            f"{entry['layer']}:{entry['head']}",
            "; ".join(f"{w['text']} {w['cosine']:+.3f}" for w in entry["positive"][:3]),
            "; ".join(f"{w['text']} {w['cosine']:+.3f}" for w in entry["negative"][:3]),
        )
        for entry in sorted(entries, key=lambda e: -e["positive"][0]["cosine"])[:20]
    ]
    console.table("heads with the clearest words", ("head", "nearest", "farthest"), rows)
    if output is None:
        _print_json({"source": source, "heads": entries})
    else:
        console.note(f"wrote {', '.join(str(path) for path in write_heads(output, entries, source))}")


def _print_json(content: Mapping[str, Any]) -> None:
    console.out(json_text(content))
