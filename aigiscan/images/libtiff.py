"""Keep libtiff from writing about damaged files to standard error.

Pillow hands compressed TIFF to the C library libtiff, whose default error handler prints. Nothing of Pillow turns
that off, and redirecting the descriptor would swallow what other threads print; so the library that Pillow has loaded
is asked itself. Where it cannot be found (a Pillow linked statically), the lines are printed as before.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from pathlib import Path

import PIL


@cache
def silence_libtiff() -> bool:
    """Take away libtiff's error and warning handlers for this process; whether the library was found."""
    package = Path(PIL.__file__).parent
    # where the wheels for Linux and macOS keep it, then the system's
    bundled = [*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")]
    system = ctypes.util.find_library("tiff") if not bundled else None
    for name in [*map(str, bundled), *([system] if system else [])]:
        try:
            library = ctypes.CDLL(name)  # already loaded, so this is the same one
            for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)
        except (OSError, AttributeError):
            continue
        return True
    return False
