"""What an encoder has to say to a person (the device it took, a name it resolved), once per process.

Goes to the logger ``aigiscan``. Unless the application configured that logger, a line appears on standard error.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

_said: set[str] = set()


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is when the line is written, not when the handler was made."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def notice(message: str) -> None:
    """Say it once per process."""
    if message in _said:
        return
    _said.add(message)
    logger = logging.getLogger("aigiscan")
    if not logger.handlers:
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("aigiscan: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # open_clip's use of the root logger installs a second handler there; one line is enough.
        logger.propagate = False
    logger.info(message)
