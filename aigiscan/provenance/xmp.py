"""XMP and IPTC-IIM: named properties out of packets that may be damaged, huge or hostile.

No XML parser is used: entities, external references and deep nesting cannot cost anything where nothing expands them,
and a packet that is cut still says what it says. A property is found in any of RDF's ways to write it (XMP part 1, 7):
as an attribute, an element, ``rdf:resource``, or the items of a list.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

_LONGEST_PACKET = 1024 * 1024
_LONGEST_VALUE = 20_000
_MOST = 32  # values of one property
_TAGS = re.compile(r"<[^<>]{0,2000}>")
_ATTRIBUTE = re.compile(r"""\s*=\s*(?:"([^"]{0,20000})"|'([^']{0,20000})')""")
_RESOURCE = re.compile(r"""rdf:resource\s*=\s*["']([^"']{0,2000})["']""")


def properties(packet: bytes, names: Iterable[str]) -> dict[str, list[str]]:
    """Values of properties by local name (whatever their prefix), texts unescaped, in the order of the packet."""
    text = _decoded(packet)
    found = {name: list(_values(text, name)) for name in names}
    return {name: values for name, values in found.items() if values}


def _decoded(packet: bytes) -> str:
    packet = packet[:_LONGEST_PACKET]
    for bom, name in ((b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le")):
        if packet.startswith(bom):
            return packet.decode(name, "replace")
    return packet.decode("utf-8", "replace")


def _values(text: str, name: str) -> Iterator[str]:
    needle, at, count = f":{name}", -1, 0
    while count < _MOST and (at := text.find(needle, at + 1)) >= 0:
        after = at + len(needle)
        following = text[after : after + 1]
        if following.isalnum() or following in ("_", "-", "."):
            continue  # the beginning of a longer name
        count += 1
        if match := _ATTRIBUTE.match(text, after):
            yield html.unescape(match.group(1) or match.group(2) or "").strip()
            continue
        start = text.rfind("<", max(0, at - 64), at)
        if start < 0 or text.startswith("</", start):
            continue
        close = text.find(">", after)
        if close < 0:
            return
        if match := _RESOURCE.search(text, after, close):
            yield match.group(1).strip()
        elif text[close - 1] != "/":
            end = text.find(f"</{text[start + 1 : after]}", close, close + _LONGEST_VALUE)
            body = text[close + 1 : end if end >= 0 else close + 1 + _LONGEST_VALUE]
            pieces = [piece.strip() for piece in _TAGS.split(body)]
            yield html.unescape(" ".join(piece for piece in pieces if piece))


#: record 2 of IIM 4.2 → name
IIM_FIELDS = {
    5: "Object Name", 25: "Keywords", 40: "Special Instructions", 65: "Originating Program", 80: "By-line",
    90: "City", 105: "Headline", 110: "Credit", 115: "Source", 116: "Copyright Notice", 120: "Caption",
}  # fmt: skip


def iptc_fields(record: bytes) -> list[tuple[str, str]]:
    """Field name and text of every known data set of an IPTC-IIM block (IIM 4.2, chapter 3)."""
    found: list[tuple[str, str]] = []
    at = 0
    while at + 5 <= len(record) and record[at] == 0x1C and len(found) < 1000:
        known = IIM_FIELDS.get(record[at + 2]) if record[at + 1] == 2 else None
        length = int.from_bytes(record[at + 3 : at + 5], "big")
        at += 5
        if length & 0x8000:  # extended: the length of the length
            size = length & 0x7FFF
            length = int.from_bytes(record[at : at + min(size, 8)], "big")
            at += size
        if known:
            found.append((known, record[at : at + min(length, _LONGEST_VALUE)].decode("utf-8", "replace")))
        at += length
    return found
