"""Where nothing can be downloaded, that is said in one line within seconds, whatever stands in the way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from aigiscan.encoders import hub
from aigiscan.errors import EncoderError


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class _Missing(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def answering() -> Iterator[str]:
    """A server that has nothing, and says so."""
    server = HTTPServer(("127.0.0.1", 0), _Missing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PATIENCE", 0.3)


def refused(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    start = time.monotonic()
    with pytest.raises(EncoderError) as caught:
        hub.find_on_hub("m", "nobody/nothing", ["a.safetensors", "b.bin"], give="m/FILE")
    assert time.monotonic() - start < 10, "the hub's client tries for minutes"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_says_nothing(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no connection to 127.0.0.1" in refused(silent, monkeypatch)


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    assert "no connection to huggingface.co" in refused("https://huggingface.co", monkeypatch)


def test_a_name_that_is_looked_up_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def hang(*_: object, **__: object) -> None:
        stop.wait(20)
        raise OSError

    monkeypatch.setattr(hub, "urlopen", hang)
    assert "is not found within" in refused("https://huggingface.co", monkeypatch)
    stop.set()


def test_an_answer_is_an_answer_whatever_it_says(answering: str) -> None:
    assert hub.why_offline(answering) == ""
