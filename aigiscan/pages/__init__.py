"""HTML pages in one look: Jinja2 templates with autoescape; each page is one file that needs no other and no network.

Text of strangers (file names, metadata) goes in through the templates alone, which escape it; data for scripts goes in
as JSON that holds no ``<``. A content security policy forbids every request but pictures beside the page.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

#: where the templates are
FOLDER = Path(__file__).parent / "templates"
_KINDS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".svg": "svg+xml"}


def render(template: str, **content: Any) -> str:
    """A page from a template of this folder."""
    return "".join(chunks(template, **content))


def chunks(template: str, **content: Any) -> Iterator[str]:
    """As :func:`render`, piece by piece: what is given as a generator is gone through as the page is written."""
    return _environment().get_template(template).generate(**content)


def data_uri(content: bytes, kind: str) -> str:
    """A picture as an address that holds it; kind: ``jpeg``, ``png``, ``webp``."""
    return f"data:image/{kind};base64,{b64encode(content).decode('ascii')}"


def file_uri(path: Path) -> str:
    """A picture file as an address that holds it."""
    return data_uri(path.read_bytes(), _KINDS[path.suffix.lower()])


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = visible
    made.globals["style"] = (FOLDER / "style.css").read_text(encoding="utf-8")
    return made
