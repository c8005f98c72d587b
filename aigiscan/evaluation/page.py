"""The parts of an evaluation → one HTML page that needs no other file."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from aigiscan.evaluation.report import Note, Part, Picture, Section, Table
from aigiscan.text import visible

_STYLE = """body{font:15px/1.45 sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.8rem 0}th,td{padding:.15rem .6rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #888}img{max-width:100%}
.scroll{overflow-x:auto}p.note{color:#555}p.warning{border-left:4px solid #c60;padding-left:.6rem}"""

#: longer tables are cut in the page; the CSV beside it has all rows
_PAGE_ROWS = 100


def draw(title: str, parts: Sequence[Part], folder: Path) -> str:
    """The page; pictures are read from ``folder`` and go into it."""
    body = "".join(_part(part, folder) for part in parts)
    head = _text(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{head}</title>'
        f"<style>{_STYLE}</style><h1>{head}</h1>{body}</html>\n"
    )


def _part(part: Part, folder: Path) -> str:
    if isinstance(part, Section):
        return f"<h2>{_text(part.title)}</h2>"
    if isinstance(part, Note):
        return f'<p class="{"warning" if part.warning else "note"}">{_text(part.text)}</p>'
    if isinstance(part, Table):
        return _table(part)
    return _picture(part, folder)


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows[:_PAGE_ROWS]
    )
    cut = f" ({len(table.rows)} rows, the first {_PAGE_ROWS} here)" if len(table.rows) > _PAGE_ROWS else ""
    words = "".join(f'<p class="note">{_text(name)}: {_text(meaning)}.</p>' for name, meaning in table.meanings)
    return (
        f'<h3>{_text(table.title)}</h3><div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
        f'{words}<p class="note"><a href="{_text(table.file)}">{_text(table.file)}</a>{cut}</p>'
    )


def _picture(picture: Picture, folder: Path) -> str:
    data = b64encode((folder / picture.file).read_bytes()).decode("ascii")
    kind = "jpeg" if picture.file.endswith((".jpg", ".jpeg")) else "png"
    alt = _text(picture.title)
    return f'<h3>{alt}</h3><p><img alt="{alt}" src="data:image/{kind};base64,{data}"></p>'


def _text(text: str) -> str:
    return html.escape(visible(text))
