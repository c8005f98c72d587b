"""Reports on disk: complete under their name, or resumable under ``NAME.part``; never torn, never mixed.

Rows go to ``NAME.part``, a batch at a time. When the last one is written the report gets its name in one step, and
``NAME.meta.json`` says what made it. A cut run leaves ``NAME.part`` with whole rows and ``NAME.part.meta.json``; only a
run with the same detector and settings goes on with them. ``NAME.lock`` keeps a second run out.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigiscan.detector.verdict import Verdict
from aigiscan.errors import InputError
from aigiscan.files import (
    cannot_write,
    check_file,
    file_sha256,
    follow_link,
    locked,
    reason,
    replacing,
    uninterrupted,
    write_json,
)
from aigiscan.reports.meta import MadeBy, now
from aigiscan.reports.writers import ReportFormat, WrittenRow

BY_PATH, BY_SCORE = "path", "p_ai"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Which rows a finished report shows, and in which order. only: verdicts, empty for all. sort: path or p_ai."""

    only: tuple[str, ...] = ()
    sort: str = BY_PATH

    @property
    def sorts(self) -> bool:
        """Whether rows do not stay in the order in which they come."""
        return self.sort != BY_PATH

    def shows(self, verdict: str) -> bool:
        """Whether a row of that verdict is shown."""
        return not self.only or verdict in self.only

    def key(self, score: float | None) -> tuple[bool, float]:
        """Sorting key of a row: most suspicious first (``p_ai`` never falls as the score rises), unreadable last."""
        return (False, 0.0) if not self.sorts else (score is None, -(score or 0.0))


def part_path(path: Path) -> Path:
    """Where the rows of an unfinished report lie."""
    return path.with_name(path.name + ".part")


def meta_path(path: Path) -> Path:
    """Where it is said what made a report."""
    return path.with_name(path.name + ".meta.json")


class ReportFile:
    """A report in the making, as a context: complete when the block ends well, else its rows stay in ``NAME.part``.

    kept: rows that are there from a cut run, or from a complete report to which new pictures are added. base: how many
    of them are of the complete report.
    """

    def __init__(
        self, path: Path, form: ReportFormat, made_by: MadeBy, *, resume: bool, arrangement: Arrangement | None = None
    ) -> None:
        self.path = path
        self._target = follow_link(path)
        self._part = part_path(self._target)
        self._form = form
        self._made_by = made_by
        self._resume = resume
        self._arrangement = arrangement or Arrangement()
        self._runs: list[dict[str, Any]] = []
        self._started = now()
        self._counts: Counter[str] = Counter()
        self.kept: list[WrittenRow] = []
        self.base = 0

    def __enter__(self) -> ReportFile:
        """Take the lock, see what is there and open the part. InputError in one line if anything is in the way."""
        check_file(self.path)
        with ExitStack() as stack:
            busy = InputError(f"another run is writing {self.path}: wait for it, or choose another -o")
            stack.enter_context(locked(self._target.with_name(self._target.name + ".lock"), busy))
            if self._resume:
                self._take_up()
            elif _size(self._part) > len(self._form.header().encode()):
                raise InputError(
                    f"{self._part} holds the finished rows of a run that was cut: add --resume to go on with them, or "
                    "remove that file to begin anew"
                )
            with uninterrupted():
                self._begin()
            stack.callback(os.close, self._fd)
            self._stack = stack.pop_all()
        return self

    def _take_up(self) -> None:
        """Find the rows to go on with, and check that they are of this detector under these settings."""
        if self._part.exists():
            source, meta = self._part, _read_meta(meta_path(self._part), self._part)
            self.base = int(meta.get("base", 0))
        elif self._target.exists():
            source, meta = self._target, _read_meta(meta_path(self._target), self._target)
            if meta.get("settings", {}).get("only"):
                raise InputError(f"{self.path} holds only some verdicts (--only): it cannot be added to; scan anew")
        else:
            return
        differences = self._made_by.differences(meta)
        if differences:
            raise InputError(
                f"{source} is of another run: {'; '.join(differences)}. Use what made it, or remove it to begin anew"
            )
        try:
            self.kept = list(self._form.rows(source.read_bytes()))
        except InputError as error:
            raise InputError(f"{source} cannot be gone on with: {error}; remove it to begin anew") from None
        except OSError as error:
            raise InputError(f"cannot read {source}: {reason(error)}") from error
        self._runs = list(meta.get("runs", []))
        if source == self._target:
            self.base = len(self.kept)

    def _begin(self) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._fd = os.open(self._part, flags, 0o666)
            if self.base and self.base == len(self.kept) and not os.fstat(self._fd).st_size:
                self._put(self._target.read_bytes()[: self.kept[-1].stop])
            else:
                self._cut_to(self.kept[-1].stop if self.kept else 0)
            if not self.kept:
                self._put(self._form.header().encode())
            write_json(meta_path(self._part), {**self._made_by.to_json(), "base": self.base, "runs": self._runs})
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def keep(self, rows: int) -> None:
        """Go on after so many of the kept rows; the others are dropped."""
        if rows < len(self.kept):
            self.kept = self.kept[:rows]
            self._cut_to(self.kept[-1].stop if self.kept else len(self._form.header().encode()))

    def _cut_to(self, length: int) -> None:
        os.ftruncate(self._fd, length)
        os.lseek(self._fd, length, os.SEEK_SET)

    def write(self, rows: Sequence[Verdict]) -> None:
        """Write rows; they are in the part when this returns, or at the latest when an interruption gets through."""
        data = "".join(map(self._form.line, rows)).encode("utf-8")
        try:
            with uninterrupted():
                self._put(data)
        except OSError as error:
            raise InputError(
                f"cannot write {self._part}: {reason(error)}; finished rows are kept there, --resume continues"
            ) from error
        self._counts.update(row.verdict for row in rows)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Give the report its name if all went well; close and unlock in any case."""
        with self._stack, uninterrupted():
            if kind is None:
                self._finish()
            elif not self.kept and not self._counts:  # nothing to resume, nothing to refuse the next run for
                self._part.unlink(missing_ok=True)
                meta_path(self._part).unlink(missing_ok=True)

    def _finish(self) -> None:
        try:
            os.fsync(self._fd)
            if not (self._arrangement.only or self._arrangement.sorts):
                self._part.replace(self._target)
            else:
                self._arrange()
                self._part.unlink()
            counts = self._counts + Counter(row.verdict for row in self.kept)
            shown = {verdict: n for verdict, n in sorted(counts.items()) if self._arrangement.shows(verdict)}
            meta = {
                "report": self._target.name,
                "sha256": file_sha256(self._target),
                "rows": sum(shown.values()),
                "verdicts": shown,
                **self._made_by.to_json(),
                "runs": [*self._runs, self._made_by.run(self._started, self._counts.total())],
            }
            write_json(meta_path(self._target), meta)
            meta_path(self._part).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot finish {self.path}: {reason(error)}; all rows are in {self._part}, --resume continues"
            ) from error

    def _arrange(self) -> None:
        raw = self._part.read_bytes()
        rows = [row for row in self._form.rows(raw) if self._arrangement.shows(row.verdict)]
        rows.sort(key=lambda row: self._arrangement.key(row.score))
        with replacing(self._target) as tmp, tmp.open("wb") as file:
            file.write(self._form.header().encode())
            file.writelines(raw[row.start : row.stop] for row in rows)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_meta(path: Path, report: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{path} is missing or damaged, so that nobody can say which detector made {report}: remove both to begin "
            "anew"
        )
    return found


def meta_of(report: Path) -> Mapping[str, Any]:
    """What lies beside a report and says what made it; {} where nothing does."""
    path = meta_path(follow_link(report))
    return _read_meta(path, report) if path.exists() else {}


def already_there(kept: Iterable[WrittenRow]) -> Counter[str]:
    """How often a report holds each path, as it spells it (two names that differ in odd bytes may be spelled alike)."""
    return Counter(row.path for row in kept)
