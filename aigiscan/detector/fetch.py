"""A small file from the network: over https, gone on with where it was cut off, never taken for whole before it is."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from aigiscan.errors import DetectorError
from aigiscan.files import keep_cached

_TIMEOUT_SECONDS = 30
_MOST_BYTES = 64 << 20
_TRIES = 3
#: a server on this machine needs no encryption
_SAFE = ("https://", "http://127.0.0.1:")


def fetch(url: str, place: Path, by_hand: str) -> bytes:
    """The bytes of that address. What a download that was cut off gave is kept beside ``place`` and gone on with, by
    this call or by the next one.

    place: where a user without a network may put the file; by_hand: what else he may do. DetectorError in one line.
    """
    _check(url)
    part = place.with_name(f"{place.name}.part")
    raw = b""
    with suppress(OSError):
        raw = part.read_bytes()
    problem, whole = "", False
    for _ in range(_TRIES):
        try:
            raw, whole = _go_on(url, raw)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:  # nothing is left after what is here
                raw = b""
                continue
            problem = str(getattr(error, "reason", "") or error or type(error).__name__)
            break
        if whole:
            part.unlink(missing_ok=True)
            return raw
        keep_cached(part, raw)
        problem = f"cut off after {len(raw)} bytes; the next try goes on from there"
    raise DetectorError(f"cannot fetch {url} ({problem}); fetch it elsewhere and put it at {place}, or use {by_hand}")


def _go_on(url: str, raw: bytes) -> tuple[bytes, bool]:
    """(what is here and what the server had to add to it, whether that is all)."""
    headers = {"User-Agent": "aigiscan", **({"Range": f"bytes={len(raw)}-"} if raw else {})}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
        _check(answer.geturl())
        if answer.status != 206:  # from the start, whatever was asked
            raw = b""
        found = answer.read(_MOST_BYTES + 1 - len(raw))
        expected = answer.headers.get("Content-Length")
    if len(raw) + len(found) > _MOST_BYTES:
        raise DetectorError(f"{url} is larger than {_MOST_BYTES >> 20} MiB: not a published head")
    return raw + found, expected is None or len(found) >= int(expected)


def _check(url: str) -> None:
    """DetectorError unless the address, or where it led to, is a safe one."""
    if not url.startswith(_SAFE):
        raise DetectorError(f"{url} is not fetched: published weights come over https")
