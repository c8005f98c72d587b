"""What a shell may complete: names of detectors, encoders, classifiers, generators of a store, and fixed choices.

Errors while completing are nobody's business: then there is nothing to complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def one_of(*choices: str) -> Callable[[str], list[str]]:
    """Completes to one of these."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def detectors(incomplete: str) -> list[str]:
    """Shipped detectors, and folders on disk, which detectors are."""
    from aigiscan.encoders.weights import shipped_models_dir

    shipped = sorted(folder.parent.name for folder in shipped_models_dir().glob("*/card.yaml"))
    return [name for name in shipped if name.startswith(incomplete)] + _folders(incomplete)


def _folders(incomplete: str) -> list[str]:
    place, start = os.path.split(incomplete)
    try:
        with os.scandir(place or ".") as entries:
            names = sorted(e.name for e in entries if e.is_dir() and e.name.startswith(start) and e.name[0] != ".")
    except OSError:
        return []
    return [os.path.join(place, name, "") for name in names]


def encoders(incomplete: str) -> list[str]:
    """Names of encoders; after a ``+`` those of the next one."""
    from aigiscan.encoders.registry import ENCODERS

    before, plus, last = incomplete.rpartition("+")
    names = [name if not kind.usage.startswith(f"{name}:") else f"{name}:" for name, kind in ENCODERS.items()]
    return [before + plus + name for name in names if name.startswith(last)]


def classifiers(incomplete: str) -> list[str]:
    """Names of classifiers."""
    from aigiscan.classifiers import CLASSIFIERS

    return [name for name in CLASSIFIERS if name.startswith(incomplete)]


def verdicts(incomplete: str) -> list[str]:
    """Verdicts; after a comma the next one."""
    from aigiscan.detector.verdict import VERDICTS

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in VERDICTS if name.startswith(last)]


def generators(ctx: Any, incomplete: str) -> list[str]:
    """Generators of the store that is on the command line."""
    from aigiscan.errors import AigiscanError
    from aigiscan.store import EmbeddingStore

    try:
        with EmbeddingStore(ctx.params.get("store") or "") as store:
            found = sorted({str(name) for name in store.rows.generator} - {""})
    except (AigiscanError, OSError):
        return []
    return [name for name in found if name.startswith(incomplete)]
