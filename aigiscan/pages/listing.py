"""The list of pictures on a page (``list.html``, ``list.js``): what sorts, filters, opens large and can be marked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from aigiscan.pages import FOLDER
from aigiscan.text import common_folder, printable


def listing(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], paths: Sequence[str], *, judged: bool
) -> dict[str, Any]:
    """Content for ``list.html``. columns: names of a row's values, of which ``path`` and ``verdict`` are needed.

    rows: one per picture, in the order of ``paths``; they are gone through once, while the page is written. judged:
    whether there is a ``p_ai`` to sort by.
    """
    names = "\n".join(map(printable, paths))
    return {
        "columns": list(columns),
        "rows": rows,
        "folder": printable(common_folder(paths)),
        "order": "p_ai" if judged else "path",
        "digest": hashlib.sha256(names.encode("utf-8")).hexdigest()[:16],
        "script": (FOLDER / "list.js").read_text(encoding="utf-8"),
    }
