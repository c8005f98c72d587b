"""Errors that a user can do something about.

Every message is one line: what happened, to which file, and what to do. The command line prints it and exits
with :attr:`AigiscanError.exit_code`; a traceback is shown with ``--debug`` alone.
"""

from __future__ import annotations


class AigiscanError(Exception):
    """Base class: one line for the user, exit code 2."""

    exit_code = 2


class InputError(AigiscanError):
    """A path, folder layout, manifest or option value that cannot be used."""


class EncoderError(AigiscanError):
    """An encoder name, its weights or its device cannot be used."""


class StoreError(AigiscanError):
    """An embedding store is missing, of another format or encoder, or cannot be written."""


class DetectorError(AigiscanError):
    """A detector folder is missing, tampered with, of another format, or fitted on something else."""


class FitError(AigiscanError):
    """Data on which nothing can be fitted: one class only, NaN, too few groups."""


class MissingDependencyError(AigiscanError):
    """An optional package is needed; the message names the extra to install."""
