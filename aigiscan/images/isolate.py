"""Decoding in processes of their own: a file on which a C library hangs or crashes costs its row, not the run.

Each loader thread talks with one process over its pipes: a request is a frame of JSON, an answer a frame of JSON and
one of pixels. No pickle: what has been taken over by a file can send wrong pixels, but runs nothing here.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from queue import Empty, LifoQueue
from typing import BinaryIO

from PIL import Image

from aigiscan.errors import InputError
from aigiscan.images.decode import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, PLAIN_READER, decode, file_facts
from aigiscan.images.records import DecodedImage, FileFacts, ImageRecord
from aigiscan.provenance import ProvenanceReader

#: what is started; tests put a decoder with known faults here
COMMAND = [sys.executable, "-m", "aigiscan.images.isolate"]
#: a process that has not said within this time that it is there never will
_START_SECONDS = 120.0
_LENGTH = struct.Struct(">Q")


class _Process:
    """One decoding process and the pipes to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = self._process.stdout  # type: ignore[assignment]
        with self._limited(_START_SECONDS):
            if _receive(self._from) is None:
                raise InputError("a process for --isolate cannot be started; leave --isolate out")

    def ask(self, request: bytes, seconds: float) -> tuple[dict, bytes] | str:
        """The answer, or why there is none; the process is then gone."""
        head = pixels = None
        with self._limited(seconds) as late, suppress(OSError):  # it died while it was written to
            _send(self._to, request)
            head = _receive(self._from)
            pixels = _receive(self._from) if head is not None else None
        if head is None or pixels is None:
            code = self.end()
            return f"decoding took more than {seconds:g} s" if late.is_set() else f"the decoder crashed ({_name(code)})"
        return json.loads(head), pixels

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[threading.Event]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def kill(self) -> None:
        """Stop it, whatever it does; its pipes stay for whoever reads from them."""
        self._process.kill()

    def end(self) -> int:
        """Stop it and close its pipes → how it ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._from.close()
        with suppress(OSError):  # what it had not read
            self._to.close()
        return self._process.wait()


class IsolatedDecoder:
    """:func:`aigiscan.images.decode.decode` in processes of their own, of which there are as many as threads ask.

    seconds: what a file may take from reading to pixels. A file that takes longer, or whose decoder crashes, is an
    error of its own. Context manager; thread-safe.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._idle: LifoQueue[_Process] = LifoQueue()
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._left = False

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process, also one at work: whoever waits for it gets an error of its file."""
        with self._lock:
            self._left = True
            for process in self._all:
                process.kill()
        while True:
            try:
                self._idle.get_nowait().end()
            except Empty:
                return

    def _process(self) -> _Process:
        try:
            return self._idle.get_nowait()
        except Empty:
            process = _Process()
        with self._lock:
            self._all.add(process)
            if self._left:
                process.kill()
        return process

    def decode(
        self,
        record: ImageRecord,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        least_side: int = 0,
        reader: ProvenanceReader = PLAIN_READER,
    ) -> DecodedImage:
        """As the function of that name, with default limits of size."""
        if record.error:
            return DecodedImage(record, FileFacts(), error=record.error)
        if self._left:
            return DecodedImage(record, FileFacts(), error="not read: the run was stopped")
        process = self._process()
        asked = {"path": record.path, "max_pixels": max_pixels, "least_side": least_side, "reader": reader.options()}
        request = json.dumps(asked).encode()
        try:
            answer = process.ask(request, self._seconds)
        except BaseException:  # a Ctrl-C in the middle of an answer
            process.end()
            raise
        if isinstance(answer, str):
            with self._lock:
                self._all.discard(process)
            return DecodedImage(record, file_facts(record.path, DEFAULT_MAX_BYTES), error=answer)
        self._idle.put(process)
        head, pixels = answer
        facts = FileFacts(**head["facts"])
        if head["error"]:
            return DecodedImage(record, facts, error=head["error"])
        return DecodedImage(record, facts, pixels=Image.frombytes("RGB", tuple(head["size"]), pixels))


def _name(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit {code}"
    except ValueError:
        return f"signal {-code}"


def _send(stream: BinaryIO, payload: bytes) -> None:
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _receive(stream: BinaryIO) -> bytes | None:
    """One frame; None at the end of the stream, also where it ends within the frame."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    payload = stream.read(length)
    return payload if len(payload) == length else None


@lru_cache
def _reader(options: str) -> ProvenanceReader:
    return ProvenanceReader.of(json.loads(options))


def serve() -> None:
    """What a process does until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the run, which then ends this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _send(answers, b"ready")
    while (request := _receive(sys.stdin.buffer)) is not None:
        asked = json.loads(request)
        reader = _reader(json.dumps(asked.pop("reader")))
        image = decode(ImageRecord(asked.pop("path")), reader=reader, **asked)
        pixels = image.pixels
        head = {"facts": asdict(image.facts), "error": image.error, "size": pixels.size if pixels else None}
        _send(answers, json.dumps(head).encode())
        _send(answers, pixels.tobytes() if pixels else b"")


if __name__ == "__main__":
    serve()
