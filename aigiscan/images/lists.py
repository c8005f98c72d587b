"""Text that people and programs write about files: in UTF-8 or, by its byte order mark, UTF-16; never a binary file."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator
from typing import IO

from aigiscan.errors import InputError
from aigiscan.files import reason

# UTF-32 first: its little-endian mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
#: control characters that no list of names has, but nearly every binary file among its first bytes
_BINARY = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HEAD = 1 << 16
_MAGIC = (b"\x89HDF", b"PK\x03\x04", b"%PDF", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"SQLite format 3\0")


def read_text(path: str, what: str) -> str:
    """The text of a file; undecodable bytes become surrogate escapes, as in file names.

    what: "list" or "manifest", for the message. InputError: it cannot be read, or is no text.
    """
    try:
        with open(path, "rb") as file:
            return decode_text(file.read(), f"the {what} {path}")
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {reason(error)}") from error


def read_stdin(stdin: IO[bytes] | IO[str] | None) -> str:
    """As :func:`read_text` of a stream, standard input where none is given."""
    stream = sys.stdin if stdin is None else stdin
    try:
        # Names need not be UTF-8, so the bytes under a text stream are wanted.
        data = getattr(stream, "buffer", stream).read() if stream is not None else b""
    except OSError as error:
        raise InputError(f"cannot read the list on standard input: {reason(error)}") from error
    return decode_text(os.fsencode(data) if isinstance(data, str) else data, "the list on standard input")


def decode_text(data: bytes, what: str) -> str:
    """Bytes → text by their byte order mark, else as the system decodes file names; InputError for no text."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "strict")
            except UnicodeDecodeError as error:
                raise InputError(f"{what} begins as {encoding.upper()} and is none: {error.reason}") from error
    head = data[:_HEAD]
    if head.startswith(_MAGIC) or 100 * len(_BINARY.findall(head)) > len(head):
        raise InputError(f"{what} is no text: give image files themselves, or their folder")
    if 3 * head.count(b"\0") > len(head):
        raise InputError(f"{what} seems to be UTF-16 without a byte order mark: save it as UTF-8")
    return os.fsdecode(data)


def listed(text: str) -> Iterator[str]:
    """Paths of a list: separated by NUL if there is any (as ``find -print0`` writes), else one per line."""
    items = text.split("\0") if "\0" in text else (item.removesuffix("\r") for item in text.split("\n"))
    return (item for item in items if item.strip())
