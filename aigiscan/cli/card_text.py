"""A detector's card on a page of a terminal: what it promises, how it did, what limits it, what it was fitted on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from textwrap import shorten, wrap
from typing import TYPE_CHECKING, Any

from aigiscan.text import visible

if TYPE_CHECKING:
    from aigiscan.detector.card import Card

#: lines and columns of the page
LINES, COLUMNS = 30, 80
_MEASURES = {
    "auc": "AUC",
    "tpr_at_5_percent_fpr": "recall at 5 % false alarms",
    "tpr_at_1_percent_fpr": "recall at 1 % false alarms",
    "balanced_accuracy_at_0": "balanced accuracy at score 0",
}


def card_text(card: Card, name: str) -> str:
    """The page, of at most :data:`LINES` lines of :data:`COLUMNS` columns; what does not fit is named at its end.

    name: as the user calls the detector, for the line that says how to see the rest.
    """
    lines = [visible(": ".join(filter(None, (card.name, card.grade)))), *wrap(visible(card.description), COLUMNS)]
    for title, part in (("Promise", _promise(card)), ("Figures", _figures(card)), ("Training", _training(card))):
        lines += [title, *part]
    lines += ["Limits"]
    last = f"Everything else: aigiscan detectors show {visible(name)} --full"
    limits = [_sentence(limit, "- ") for limit in card.limits] or [["  none stated"]]
    if len(lines) + sum(map(len, limits)) + 1 > LINES:  # then one line each
        limits = [["  - " + shorten(visible(limit), COLUMNS - 4, placeholder=" …")] for limit in card.limits]
    room = LINES - len(lines) - 1
    if len(limits) > room:
        limits = [*limits[: room - 1], [f"  … and {len(limits) - room + 1} more"]]
    lines += [line for limit in limits for line in limit]
    return "\n".join([*lines, last]) + "\n"


def _sentence(text: str, mark: str = "") -> list[str]:
    return wrap(visible(text), COLUMNS, initial_indent=f"  {mark}", subsequent_indent=" " * (2 + len(mark)))


def _share(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _promise(card: Card) -> list[str]:
    from aigiscan.detector.card import of_small

    given = card.thresholds
    ai, real = (float(given.get(f"threshold_{side}", math.nan)) for side in ("ai", "real"))
    lines: list[str] = []
    if math.isfinite(ai):
        lines += _sentence(
            f"at most {_share(given['max_fpr'])} of photographs like the {given['real_images']:,} calibrated on are "
            f"called ai: score above {ai:.3g}{of_small(given)}"
        )
    if math.isfinite(real):
        lines += _sentence(
            f"at most {_share(given['max_miss'])} of generated pictures like the {given['fake_images']:,} calibrated "
            f"on are called real: score below {real:.3g}"
        )
    return lines or ["  none: nothing is called ai or real until it is calibrated on photographs"]


def _figures(card: Card) -> list[str]:
    held_out = card.metrics.get("held_out") or {}
    if not held_out:
        return ["  none: see where it was published" if card.published else "  none"]
    heading = str(card.metrics.get("held_out_note", "held-out")).split(":")[0]
    lines = _sentence(f"{heading}, 95 % intervals:")
    first = next(iter(held_out.values()))
    lines += [_row(words, *first[key]) for key, words in _MEASURES.items() if key in first]
    for found in card.metrics.get("achieved", ()):
        lines.append(
            _row(f"photographs flagged, {_share(found['promised'])} promised", found["flagged"], *_bounds(found))
        )
    if named := card.metrics.get("attribution"):
        lines.append(_row("generator named rightly (known ones)", named["accuracy"], None, None))
    hardest = list((card.metrics.get("per_generator_auc") or {}).items())[:3]
    if len(hardest) > 1:
        lines += _sentence("hardest: " + ", ".join(f"{generator} (AUC {value:.2f})" for generator, value in hardest))
    return lines


def _bounds(found: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = found.get("flagged_interval", (None, None))
    return low, high


def _row(words: str, value: float, low: float | None = None, high: float | None = None) -> str:
    interval = "" if low is None or high is None else f"  ({low:.3f} to {high:.3f})"
    return f"  {words:38} {value:6.3f}{interval}"


def _training(card: Card) -> list[str]:
    return _sentence(" ".join(_training_words(card)))


def _training_words(card: Card) -> Iterator[str]:
    made = card.training
    yield f"{card.classifier['name']} on {card.encoder['name']};"
    yield f"pictures after {card.equalization};" if card.equalization else "pictures as they are;"
    if "real" in made and "fake" in made:
        yield f"{made['real']:,} photographs of {_count(made, 'photo_sources')} sources and {made['fake']:,} generated"
        yield f"pictures of {_count(made, 'generators')} generators."
    elif "published_as" in made:
        yield f"{made['published_as']}."


def _count(made: Mapping[str, Any], what: str) -> str:
    return f"{len(made.get(what) or {}):,}"
