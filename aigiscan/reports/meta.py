"""What made a report: detector, digests, rates, versions, times. It lies beside the report as ``NAME.meta.json``.

Nothing of it is among the rows, so that any CSV reader reads the report; with it last month's file can be audited.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from aigiscan import __version__
from aigiscan.detector.card import library_versions
from aigiscan.detector.detector import Detector
from aigiscan.text import plain

META_FORMAT = 1
#: what the two columns say that people ask about
MEANING = {
    "p_ai": "probability of being AI-generated if photographs and AI-generated pictures were equally frequent",
    "uncertain": "like neither, or not clear enough for the promised rates; not a verdict of half and half",
}


@dataclass(frozen=True)
class MadeBy:
    """detector: its name, digests and promise. settings: what else decides the rows (not where they come from)."""

    detector: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, detector: Detector | None, settings: Mapping[str, Any]) -> MadeBy:
        """What a detector is, in plain values; None where claims alone are read."""
        if detector is None:
            return cls({"name": "none, claims alone", "weights_sha256": ""}, plain(settings))
        card = detector.card
        calibration = hashlib.sha256()
        for name, values in sorted(detector.calibration.to_arrays().items()):
            calibration.update(name.encode() + b"\0" + values.tobytes())
        described = {
            "name": card.name,
            "weights_sha256": card.weights_sha256 or card.published.get("sha256", ""),
            "calibration_sha256": calibration.hexdigest(),
            "encoder": card.encoder,
            "equalization": card.equalization,
            "grade": card.grade,
            "promise": detector.calibration.describe(),
            "limits": card.limits,
        }
        return cls(plain(described), plain(settings))

    @property
    def digest(self) -> str:
        """sha256 over what decides a row; runs of equal digests may be put together."""
        what = [self._identity(self.detector), self.settings]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def _identity(detector: Mapping[str, Any]) -> dict[str, Any]:
        return {k: detector.get(k) for k in ("weights_sha256", "calibration_sha256", "encoder", "equalization")}

    def differences(self, meta: Mapping[str, Any]) -> list[str]:
        """What differs from the meta file of a report, in words; empty if its rows and new ones belong together."""
        if meta.get("digest") == self.digest:
            return []
        other, before = meta.get("detector", {}), meta.get("settings", {})
        found = []
        if self._identity(other) != self._identity(self.detector):
            found.append(
                f"its detector was {other.get('name')} ({str(other.get('weights_sha256'))[:12]}…), now it is "
                f"{self.detector['name']} ({str(self.detector['weights_sha256'])[:12]}…)"
            )
            if other.get("weights_sha256") == self.detector["weights_sha256"]:
                found[-1] += ", with other thresholds"
        for name in sorted({*before, *self.settings}):
            if before.get(name) != self.settings.get(name):
                found.append(f"{name} was {before.get(name)}, now it is {self.settings.get(name)}")
        return found or ["its digest differs"]

    def to_json(self) -> dict[str, Any]:
        """Plain values for the file."""
        return {
            "format": META_FORMAT,
            "digest": self.digest,
            "detector": self.detector,
            "settings": self.settings,
            "meaning": MEANING,
        }

    @staticmethod
    def run(started: str, rows: int) -> dict[str, Any]:
        """One run that added rows: when, how, with which versions."""
        return {
            "started": started,
            "finished": now(),
            "rows": rows,
            "command": plain(["aigiscan", *sys.argv[1:]]),
            "aigiscan": __version__,
            "versions": library_versions(),
        }


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
