"""The card: everything about a detector that a person, or a later version of aigiscan, must know."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from aigiscan.errors import DetectorError

CARD_FORMAT = 1
CARD_NAME = "card.yaml"
WEIGHTS_NAME = "weights.safetensors"


@dataclass(frozen=True)
class Card:
    """Contents of ``card.yaml``; plain values only.

    encoder: ``name`` and ``fingerprint``. equalization: what is done to a picture before it is encoded ("" nothing).
    view, classifier: kind and parameters. thresholds: the rates asked for, the scores they gave and on how many
    calibration images. training: digest and counts per generator, source and format. metrics: ``held_out`` and
    ``in_distribution``. grade: what may be expected ("demonstration grade"). limits: sentences a user must know.
    least_side: pictures with a shorter side under so many pixels stay ``uncertain``, whatever their score; most_smooth:
    so do pictures above this :func:`aigiscan.encoders.spam.smoothness`.
    """

    name: str
    encoder: dict[str, Any]
    view: dict[str, Any]
    classifier: dict[str, Any]
    equalization: str = ""
    least_side: int = 0
    most_smooth: float | None = None
    grade: str = ""
    description: str = ""
    limits: list[str] = field(default_factory=list)
    thresholds: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""
    published: dict[str, Any] = field(default_factory=dict)
    format: int = CARD_FORMAT

    def write(self, folder: Path) -> None:
        """Write ``card.yaml`` into the folder, keys in the order above, ``format`` first."""
        import yaml

        values = asdict(self)
        ordered = {"format": values.pop("format"), **values}
        text = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120)
        (folder / CARD_NAME).write_text(text, encoding="utf-8")


def read_card(folder: Path) -> Card:
    """Read and check ``card.yaml``; DetectorError in one line if it is missing, broken or of an unknown format."""
    import yaml

    path = folder / CARD_NAME
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DetectorError(
            f"{folder} is not a detector: it has no readable {CARD_NAME}; make one with `aigiscan fit`"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DetectorError(f"{path} is not valid YAML; restore it or fit the detector again") from error
    if not isinstance(values, dict) or "format" not in values:
        raise DetectorError(f"{path} is not a detector card: it has no format number")
    if values["format"] != CARD_FORMAT:
        raise DetectorError(
            f"{path} has format {values['format']}, this version of aigiscan reads {CARD_FORMAT}; "
            "update aigiscan or fit again"
        )
    known = {f.name for f in fields(Card)}
    missing = {"name", "encoder", "view", "classifier"} - set(values)
    if missing or not all(isinstance(values[key], dict) for key in ("encoder", "view", "classifier")):
        raise DetectorError(
            f"{path} is incomplete ({', '.join(sorted(missing)) or 'wrong types'}); fit the detector again"
        )
    return Card(**{key: value for key, value in values.items() if key in known})


def library_versions() -> dict[str, str]:
    """Versions of what computed a detector, for its card."""
    from importlib.metadata import PackageNotFoundError, version

    from aigiscan import __version__

    versions = {"aigiscan": __version__, "python": platform.python_version()}
    for package in ("numpy", "scikit-learn", "torch", "open_clip_torch", "timm", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # an optional part of the environment
            continue
    return versions


def of_small(thresholds: Mapping[str, Any]) -> str:
    """Words to stand behind the threshold of ``ai``: what small pictures need; "" where it is the same, or none can.

    thresholds: as :meth:`aigiscan.detector.calibration.Calibration.describe` gives them.
    """
    small = float(thresholds.get("threshold_ai_small") or math.nan)
    same = not math.isfinite(small) or small == float(thresholds.get("threshold_ai") or math.nan)
    return "" if same else f" (with a side under {thresholds['small_side']} pixels above {small:.3g})"
