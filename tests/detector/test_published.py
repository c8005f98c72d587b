"""Published heads: read without running code, fetched from a loopback server, verified, calibrated."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aigiscan.detector.card import read_card
from aigiscan.detector.detector import Detector
from aigiscan.detector.published import UNIFD_ENCODER, unifd_parts
from aigiscan.detector.recalibrate import recalibrate
from aigiscan.errors import DetectorError
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded

SHIPPED = Path(__file__).parents[2] / "models" / "unifd"


def imported(source: Path | bytes) -> Detector:
    return Detector(*unifd_parts(source))


@pytest.fixture
def head() -> tuple[bytes, np.ndarray, float]:
    """A head of the published form with planted weights: (file, weight, bias)."""
    weight = np.random.default_rng(0).normal(size=768).astype(np.float32)
    buffer = io.BytesIO()
    torch.save({"weight": torch.from_numpy(weight)[None], "bias": torch.tensor([0.25])}, buffer)
    return buffer.getvalue(), weight, 0.25


@pytest.fixture
def server(head: tuple[bytes, np.ndarray, float]) -> Iterator[HTTPServer]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked += 1  # type: ignore[attr-defined]
            self.send_response(200 if self.path == "/fc.pth" else 404)
            self.end_headers()
            self.wfile.write(head[0] if self.path == "/fc.pth" else b"nothing")

        def log_message(self, *args: object) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Answer)
    made.asked = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def card_for(folder: Path, url: str, sha256: str) -> Path:
    folder.mkdir()
    card = read_card(SHIPPED)
    replace(card, published={**card.published, "url": url, "sha256": sha256}).write(folder)
    return folder


def test_scores_are_the_published_linear_layer(head: tuple[bytes, np.ndarray, float], tmp_path: Path) -> None:
    raw, weight, bias = head
    (tmp_path / "fc_weights.pth").write_bytes(raw)
    detector = imported(tmp_path / "fc_weights.pth")
    x = np.random.default_rng(1).normal(size=(5, 768)).astype(np.float32)
    logits = x.astype(float) @ weight.astype(float) + bias
    assert detector.scores({"embedding": x}) == pytest.approx(logits, rel=1e-6)
    assert detector.calibration.p_ai(logits) == pytest.approx(1 / (1 + np.exp(-logits)))
    detector.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d").scores({"embedding": x}) == pytest.approx(logits, rel=1e-6)


def test_nothing_is_flagged_before_calibration_and_the_promise_holds_after(head: tuple) -> None:
    detector = imported(head[0])
    x = np.random.default_rng(2).normal(size=(400, 768)).astype(np.float32)
    rows = [Encoded(ImageRecord(str(i)), FileFacts(sha256=f"{i:064d}"), {"embedding": v}) for i, v in enumerate(x)]
    assert {v.verdict for v in detector.judge(rows)} == {"uncertain"}
    assert any("too few" in warning for warning in detector.calibration.warnings)
    renewed = recalibrate(detector, rows[:200], 0.05).detector
    flagged = [v.verdict for v in renewed.judge(rows[200:])].count("ai")
    assert 0 < flagged <= 0.05 * 200 + 3 * np.sqrt(200 * 0.05)


def test_shipped_card_names_the_published_file() -> None:
    card = read_card(SHIPPED)
    assert card.published["sha256"] == "477100745713bcc957beb2b40859536859b6483fd6301b3b9293151b194c7847"
    assert "UniversalFakeDetect/76a0e3e" in card.published["url"]
    assert card.encoder["name"] == UNIFD_ENCODER and card.equalization == "crop:224"
    assert any("aigiscan calibrate" in limit for limit in card.limits)


def test_fetches_once_verifies_and_keeps(
    head: tuple, server: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))
    url = f"http://127.0.0.1:{server.server_port}/fc.pth"
    folder = card_for(tmp_path / "good", url, hashlib.sha256(head[0]).hexdigest())
    for _ in range(2):
        detector = Detector.load(folder)
        assert detector.classifier.coef_[0] == pytest.approx(head[1])
    assert server.asked == 1  # type: ignore[attr-defined]


def test_another_file_is_refused(server: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))
    base = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(DetectorError, match="not the published file"):
        Detector.load(card_for(tmp_path / "bad", f"{base}/fc.pth", "0" * 64))
    assert not list((tmp_path / "cache").rglob("0" * 64))
    with pytest.raises(DetectorError, match="cannot fetch"):
        Detector.load(card_for(tmp_path / "gone", f"{base}/elsewhere", "0" * 64))
    with pytest.raises(DetectorError, match="https"):
        Detector.load(card_for(tmp_path / "scheme", "file:///etc/passwd", "0" * 64))


class _Evil:
    def __reduce__(self) -> tuple:
        return (Path.write_text, (Path("/tmp/aigiscan-was-here"), "code ran"))


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    marker = Path("/tmp/aigiscan-was-here")
    marker.unlink(missing_ok=True)
    with open(tmp_path / "evil.pth", "wb") as file:
        torch.save({"weight": _Evil(), "bias": torch.zeros(1)}, file)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Evil()))
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, tmp_path / "shape.pth")
    for name in ("evil.pth", "plain.pth", "text.pth", "shape.pth"):
        with pytest.raises(DetectorError) as error:
            imported(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not marker.exists()


def test_preprocessing_is_the_published_one() -> None:
    """torchvision's CenterCrop(224): central pixels as they are, zeros around a smaller picture."""
    from torchvision.transforms import CenterCrop

    equalization = Equalization.parse("crop:224")
    rng = np.random.default_rng(0)
    for width, height in ((300, 260), (225, 301), (224, 224), (100, 400), (51, 60), (1, 1)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        assert np.array_equal(np.asarray(equalization.apply(image)), np.asarray(CenterCrop(224)(image)))
