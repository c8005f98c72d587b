"""The progress of a search on disk: a search that was cut goes on after its last finished step.

One text file per direction, one JSON object per line: first what is searched (a digest of data and settings), then one
line per removal. Lines are only ever appended, and written before the next step begins; a half-written last line is
ignored. Steps that are there already are not written twice, should two workers have done the same.
"""

from __future__ import annotations

import json
from pathlib import Path

from aigiscan.search.greedy import Removal


class Journal:
    """path: the file; key: digest of data and settings. A file with another key is begun anew."""

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key

    def read(self) -> tuple[float | None, list[Removal]]:
        """(baseline score, removals in order); (None, []) if there is nothing to go on from."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return None, []
        entries = [entry for line in lines if (entry := _parse(line)) is not None]
        if not entries or entries[0].get("key") != self.key:
            return None, []
        removals: list[Removal] = []
        for entry in entries[1:]:
            if entry.get("step") == len(removals) + 1:
                removals.append(Removal(int(entry["column"]), float(entry["score"]), float(entry["log_loss"])))
        return float(entries[0]["baseline"]), removals

    def steps(self) -> int:
        """How many steps are written."""
        return len(self.read()[1])

    def begin(self, baseline: float) -> None:
        """Start the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"key": self.key, "baseline": baseline}) + "\n", encoding="utf-8")

    def add(self, step: int, removal: Removal) -> None:
        """Append one step (from 1)."""
        entry = {"step": step, "column": removal.column, "score": removal.score, "log_loss": removal.log_loss}
        # The newline comes first as well: it ends a line that a killed run left half-written.
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(entry) + "\n")

    def remove(self) -> None:
        """Delete the file: the search is finished and its result written."""
        self.path.unlink(missing_ok=True)


def _parse(line: str) -> dict | None:
    if not line.endswith("\n") or not line.strip():
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
