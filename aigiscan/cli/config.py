"""Defaults of options that a person or a project has set: ``~/.config/aigiscan.toml`` and ``pyproject.toml``.

At the top stand options of whatever command has them, in tables named like commands those of one command::

    device = "cpu"

    [scan]
    detector = "my-builtin"
    fail-on = ["unreadable"]

In ``pyproject.toml`` the same stands below ``[tool.aigiscan]``. The nearest one from the current folder upwards goes
before the person's own, and the command line goes before both.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigiscan.errors import InputError
from aigiscan.files import reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: what no file may set: a folder of strangers' pictures may bring a pyproject.toml, which must not say what is written
_NEVER = frozenset({"output", "plot", "yes", "prune"})
log = logging.getLogger("aigiscan.config")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file and what it sets."""

    path: Path
    values: Mapping[str, Any]


def user_file() -> Path:
    """The person's own file: ``$AIGISCAN_CONFIG``, else ``aigiscan.toml`` where the system keeps settings."""
    if given := os.environ.get("AIGISCAN_CONFIG"):
        return Path(given)
    from platformdirs import user_config_path

    return user_config_path() / "aigiscan.toml"


def config_files(folder: Path | None = None) -> list[ConfigFile]:
    """The files that count in a folder, the stronger last; InputError in one line if one is not TOML."""
    found = []
    own = user_file()
    if own.is_file():
        found.append(ConfigFile(own, _read(own)))
    here = (folder or Path.cwd()).absolute()
    for place in (here, *here.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            values = _read(path).get("tool", {}).get("aigiscan")
            if values is not None:
                found.append(ConfigFile(path, values))
                break
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error


def defaults(files: list[ConfigFile], commands: Mapping[str, Any]) -> dict[str, Any]:
    """Command → parameter → value, as Click takes it. commands: name → command or group of commands.

    InputError in one line for a name that no command has, and for one that no file may set.
    """
    merged: dict[str, Any] = {name: {} for name in commands}
    for file in files:
        log.debug("defaults from %s", file.path)
        for key, value in file.values.items():
            if isinstance(value, dict):
                if key not in commands:
                    raise InputError(f"{file.path}: there is no command {key}")
                for option, inner in value.items():
                    merged[key][_parameter(option, {key: commands[key]}, file.path)] = inner
                continue
            name = _parameter(key, commands, file.path)
            for command in commands:
                if name in _parameters(commands[command]):
                    merged[command][name] = value
    return merged


def _parameter(option: str, commands: Mapping[str, Any], path: Path) -> str:
    for command in commands.values():
        name = _parameters(command).get(option.replace("_", "-"), option.replace("-", "_"))
        if name in _NEVER:
            raise InputError(f"{path}: {option} cannot be set in a file; give it on the command line")
        if name in _parameters(command):
            return name
    where = f"command {next(iter(commands))}" if len(commands) == 1 else "command"
    raise InputError(f"{path}: no {where} has an option --{option}")


def _parameters(command: Any) -> dict[str, str]:
    """Option without its dashes, and parameter → parameter, of the options of a command."""
    found = {}
    for param in getattr(command, "params", ()):
        if param.param_type_name == "option":
            found[param.name] = param.name
            found |= {name.lstrip("-"): param.name for name in param.opts if name.startswith("--")}
    return found
