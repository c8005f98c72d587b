"""Where the rows of ``aigiscan scan`` go: a report on disk, standard output, a list of names, a table; any of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from aigiscan.cli.scan_source import Source
    from aigiscan.detector.verdict import Verdict
    from aigiscan.reports.files import Arrangement
    from aigiscan.reports.sinks import Sink
    from aigiscan.reports.writers import ReportFormat

_SHOWN_FAILURES = 10
#: rows of the table on a terminal; the report has all
_SHOWN_ROWS = 500


class Outputs:
    """All places where the rows go, as a context: what is complete is finished there, what was cut is kept."""

    def __init__(self, form: ReportFormat, arrangement: Arrangement) -> None:
        self._form, self._arrangement = form, arrangement
        self._sinks: list[Sink] = []
        self._stack = ExitStack()
        self.counts: Counter[str] = Counter()
        self.failures: list[Verdict] = []  # the first of them
        self.uses_stdout = False
        self.claim_ai = False  # some file says so

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *what: Any) -> None:
        self._stack.__exit__(*what)

    def write(self, rows: Sequence[Verdict]) -> None:
        """The rows of a batch, to all of them."""
        from aigiscan.detector.verdict import VERDICT_UNREADABLE
        from aigiscan.provenance.claims import from_json, says_ai

        for sink in self._sinks:
            sink.write(rows)
        self.counts.update(row.verdict for row in rows)
        if any(row.claims and says_ai(from_json(row.claims)) for row in rows):
            self.claim_ai = True
        room = _SHOWN_FAILURES - len(self.failures)
        self.failures += [row for row in rows if row.verdict == VERDICT_UNREADABLE][:room]

    def add_file(self, path: Path, made_by: Any, resume: bool, source: Source, batch_size: int) -> None:
        """A report at ``path``; what it has already is left out of the source."""
        from aigiscan.files import is_straight
        from aigiscan.reports.files import ReportFile, already_there
        from aigiscan.reports.sinks import StraightFile
        from aigiscan.runner import after_whole_batches, growing_batches

        if is_straight(path) and not path.is_dir():
            if resume:
                raise InputError(f"{path} is not a regular file: nothing can be resumed there")
            straight = StraightFile(path)
            self._stack.callback(straight.close)
            self._add_stream(straight.write)
            return
        report = self._stack.enter_context(
            ReportFile(path, self._form, made_by, resume=resume, arrangement=self._arrangement)
        )
        if resume:
            sizes = None
            if not source.stores:
                to_encode = (row.verdict != "unreadable" for row in report.kept[report.base :])
                whole, sizes = after_whole_batches(to_encode, growing_batches(batch_size))
                report.keep(report.base + whole)
            source.skip(already_there(report.kept), self._form, sizes)
            console.note(f"continuing {path}: {len(report.kept)} rows are already there, {source.total} are to come")
        self.counts.update(row.verdict for row in report.kept)
        self._sinks.append(report)

    def add_stdout(self) -> None:
        """The report on standard output."""
        self._add_stream(console.out)
        self.uses_stdout = True

    def add_page(self, path: Path, thumbnails: Path | None, made_by: Any) -> None:
        """A page at the end."""
        from aigiscan.files import check_file
        from aigiscan.reports.meta import now
        from aigiscan.reports.page import ReportPage
        from aigiscan.reports.sinks import ScreenSink

        check_file(path)
        started, sink = now(), ScreenSink(self._arrangement, sys.maxsize)
        self._sinks.append(sink)

        def write(kind: Any, *_: Any) -> None:
            rows = sink.rows()
            if kind is None and rows:
                meta = {**made_by.to_json(), "runs": [made_by.run(started, len(rows))]}
                ReportPage(rows, meta, f"Scan of {len(rows)} pictures", thumbnails).write(path)
                console.note(f"wrote {path}")

        self._stack.push(write)

    def add_names(self) -> None:
        """Names alone on standard output."""
        from aigiscan.reports.sinks import StreamSink, name_line

        self._finish_well(StreamSink(console.out, name_line, self._arrangement))
        self.uses_stdout = True

    def _add_stream(self, write: Any) -> None:
        from aigiscan.reports.sinks import StreamSink

        form = self._form
        self._finish_well(StreamSink(write, lambda row: form.line(row).encode(), self._arrangement, form.header()))

    def _finish_well(self, sink: Any) -> None:
        self._sinks.append(sink)
        self._stack.push(lambda kind, *_: None if kind else sink.finish())

    def add_table(self, stream: Any, arrangement: Arrangement) -> None:
        """A table at the end, also of what was judged before an interruption."""
        from aigiscan.reports.sinks import ScreenSink
        from aigiscan.reports.terminal import verdict_table

        sink = ScreenSink(arrangement, _SHOWN_ROWS)
        self._sinks.append(sink)

        def show() -> None:
            rows = sink.rows()
            if rows:
                screen = console.screen(stream)
                screen.print(verdict_table(rows, screen.width))
            if sink.left_out:
                console.note(f"the table shows {len(rows)} rows, {sink.left_out} more are left out: -o FILE has all")

        self._stack.callback(show)

    def tell_failures(self) -> None:
        """The first files that could not be read, and how many more there were."""
        for row in self.failures:
            console.note(f"unreadable: {row.path}: {row.error}")
        if (more := self.counts["unreadable"] - len(self.failures)) > 0:
            console.note(f"… and {more} more unreadable files (see the report)")
