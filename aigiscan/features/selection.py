"""The files that the searches write and that ``--features components:FILE`` and ``heads:FILE`` read.

Their keys are described in docs/search.md. YAML, read with the safe loader only.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aigiscan import __version__
from aigiscan.encoders.fingerprint import compare_fingerprints, for_channels
from aigiscan.errors import InputError
from aigiscan.files import reason, write_file

FORMAT = 1
COMPONENTS, HEADS, LAYERS = "components", "heads", "layers"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a search kept.

    kind: components, heads or layers. kept: columns of the embedding, ascending, (layer, head) pairs or layers, best
    first. fingerprint: of the encoder. generators: whose fakes the search saw; an evaluation
    that is to mean something leaves them out. path: the file it came from.
    """

    kind: str
    kept: tuple
    fingerprint: Mapping[str, Any]
    generators: tuple[str, ...]
    path: Path


def load_selection(path: str | Path) -> Selection:
    """Read a selection file; InputError in one line if it is none."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read selection {path}: {reason(error)}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path} is not a selection: it is not YAML") from None
    try:
        kind, version = content["kind"], int(content["format"])
        if version > FORMAT:
            raise InputError(f"{path} was written by a newer aigiscan (format {version}); update aigiscan")
        fingerprint = dict(content["encoder"])
        if kind == COMPONENTS:
            columns = tuple(sorted({column_number(name) for name in content["kept"]}))
            return Selection(kind, columns, fingerprint, tuple(map(str, content["pair"])), path)
        if kind in (HEADS, LAYERS):
            read = _pair if kind == HEADS else int
            generators = (str(content["train"]), str(content["validate"]))
            return Selection(kind, tuple(read(part) for part in content["kept"]), fingerprint, generators, path)
    except (KeyError, TypeError, ValueError, IndexError):
        raise InputError(
            f"{path} is not a selection written by select-features, select-heads or select-layers"
        ) from None
    raise InputError(f"{path} holds a selection of {kind!r}, which this version of aigiscan does not know")


def _pair(part: Any) -> tuple[int, int]:
    layer, head = part
    return int(layer), int(head)


def selection_for(kind: str, path: str | Path, fingerprint: Mapping[str, Any]) -> Selection:
    """Read a selection of that kind, made on that encoder; InputError in one line otherwise."""
    if not str(path):
        raise InputError(f"--features {kind} needs a file: {kind}:SELECTION.yaml")
    selection = load_selection(path)
    if selection.kind != kind:
        raise InputError(f"{path} is a selection of {selection.kind}: use --features {selection.kind}:{path}")
    # Neither the treatment of the pictures nor bf16 against fp32 changes what a column or a head is.
    known = {"equalization": "", "precision": ""}
    theirs, ours = (for_channels({**mark, **known}, ()) for mark in (selection.fingerprint, fingerprint))
    different = compare_fingerprints(theirs, ours)
    if different:
        raise InputError(f"{path} was made on another encoder: {'; '.join(different)}; make it again on this one")
    return selection


def column_names(fingerprint: Mapping[str, Any], width: int) -> tuple[str, ...]:
    """``<encoder>:<number>`` for each column of a store's embedding."""
    return tuple(f"{fingerprint.get('name', 'embedding')}:{i}" for i in range(width))


def column_number(name: str) -> int:
    """Column of the embedding that a name of :func:`column_names` stands for; ValueError if it is no such name."""
    number = int(str(name).rpartition(":")[2])
    if number < 0:
        raise ValueError(name)
    return number


def versions() -> dict[str, str]:
    """What wrote a selection."""
    import scipy

    return {
        "aigiscan": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a selection so that the old file or the new one is there, never half of one."""
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    write_file(path, text)


class _Dumper(yaml.SafeDumper):
    """Lists of plain values in flow style: 700 column names take lines, not pages."""


def _sequence(dumper: yaml.SafeDumper, values: list | tuple) -> yaml.Node:
    plain = all(isinstance(value, (str, int, float)) for value in values)
    pair = all(isinstance(value, (list, tuple)) and len(value) == 2 for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", list(values), flow_style=plain or pair)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(tuple, _sequence)
_Dumper.add_representer(np.float64, lambda dumper, value: dumper.represent_float(float(value)))
