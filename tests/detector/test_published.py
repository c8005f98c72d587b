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
from aigiscan.detector.published import import_published, published_cards
from aigiscan.detector.recalibrate import recalibrate
from aigiscan.encoders.registry import create_encoder
from aigiscan.errors import DetectorError, InputError
from aigiscan.images.equalize import Equalization, Frame
from aigiscan.images.records import FileFacts, ImageRecord
from aigiscan.runner import Encoded

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = MODELS / "unifd"


def imported(source: Path | bytes, kind: str = "unifd") -> Detector:
    return Detector(*import_published(kind, source))


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def head() -> tuple[bytes, np.ndarray, float]:
    """A head of the published form with planted weights: (file, weight, bias)."""
    weight = np.random.default_rng(0).normal(size=768).astype(np.float32)
    return saved({"weight": torch.from_numpy(weight)[None], "bias": torch.tensor([0.25])}), weight, 0.25


class Served(HTTPServer):
    """Loopback server. asked: (path, Range) of each request. cut: send so many bytes of /cut.pth at a time."""

    body = b""
    cut = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[tuple[str, str]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Answer(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        body, name = self.server.body, self.path.strip("/")
        if name in ("moved.pth", "away.pth"):
            self.send_response(302)
            self.send_header(
                "Location", "/fc.pth" if name == "moved.pth" else self.server.url("x").replace("127.0.0.1", "localhost")
            )
            self.end_headers()
            return
        start = int(wanted[6:-1]) if wanted and name != "deaf.pth" else 0
        known = name in ("fc.pth", "cut.pth", "deaf.pth", "x")
        self.send_response(404 if not known else 206 if start else 200)
        rest = body[start:] if known else b"nothing"
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        short = self.server.cut if name == "cut.pth" or (name == "deaf.pth" and len(self.server.asked) == 1) else 0
        self.wfile.write(rest[:short] if short else rest)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(head: tuple[bytes, np.ndarray, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))
    made = Served()
    made.body = head[0]
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
    assert card.encoder["name"] == "open_clip:ViT-L-14-quickgelu/openai" and card.equalization == "crop:224"
    assert any("aigiscan calibrate" in limit for limit in card.limits)


@pytest.mark.parametrize("name", ["fc.pth", "moved.pth"])
def test_fetches_once_verifies_and_keeps(name: str, head: tuple, server: Served, tmp_path: Path) -> None:
    folder = card_for(tmp_path / "good", server.url(name), hashlib.sha256(head[0]).hexdigest())
    for _ in range(2):
        detector = Detector.load(folder)
        assert detector.classifier.coef_[0] == pytest.approx(head[1])
    assert [path for path, _ in server.asked].count("/fc.pth") == 1
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [head[0]]


def test_another_file_is_refused(server: Served, tmp_path: Path) -> None:
    for name in ("fc.pth", "moved.pth"):
        with pytest.raises(DetectorError, match="not the published file"):
            Detector.load(card_for(tmp_path / name, server.url(name), "0" * 64))
    assert not list((tmp_path / "cache").rglob("0" * 64))
    with pytest.raises(DetectorError, match="cannot fetch"):
        Detector.load(card_for(tmp_path / "gone", server.url("elsewhere"), "0" * 64))
    for url in ("file:///etc/passwd", server.url("away.pth")):  # the second leads to where nothing is encrypted
        with pytest.raises(DetectorError, match="https"):
            Detector.load(card_for(tmp_path / str(len(url)), url, "0" * 64))


def test_a_download_that_is_cut_off_is_gone_on_with(head: tuple, server: Served, tmp_path: Path) -> None:
    folder = card_for(tmp_path / "cut", server.url("cut.pth"), hashlib.sha256(head[0]).hexdigest())
    server.cut = len(head[0]) // 5
    with pytest.raises(DetectorError, match="cut off after"):  # three pieces of five
        Detector.load(folder)
    assert Detector.load(folder).classifier.coef_[0] == pytest.approx(head[1])
    assert [int(wanted[6:-1]) if wanted else 0 for _, wanted in server.asked] == [i * server.cut for i in range(6)][
        : len(server.asked)
    ]
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_server_that_cannot_go_on_begins_again(head: tuple, server: Served, tmp_path: Path) -> None:
    server.cut = 100
    folder = card_for(tmp_path / "deaf", server.url("deaf.pth"), hashlib.sha256(head[0]).hexdigest())
    assert Detector.load(folder).classifier.coef_[0] == pytest.approx(head[1])
    assert [wanted for _, wanted in server.asked] == ["", "bytes=100-"]


def test_without_a_network_one_line_names_file_and_place(head: tuple, tmp_path: Path, server: Served) -> None:
    url = server.url("fc.pth").replace(str(server.server_port), "9")  # where nothing answers
    sha256 = hashlib.sha256(head[0]).hexdigest()
    folder = card_for(tmp_path / "offline", url, sha256)
    with pytest.raises(DetectorError) as error:
        Detector.load(folder)
    place = tmp_path / "cache" / "published" / sha256
    assert url in str(error.value) and str(place) in str(error.value) and "\n" not in str(error.value)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(head[0])
    assert Detector.load(folder).classifier.coef_[0] == pytest.approx(head[1])


CARDS = published_cards()


@pytest.mark.parametrize("name", CARDS)
def test_every_card_says_what_a_user_must_know(name: str) -> None:
    card = CARDS[name]
    text = " ".join(card.limits)
    assert card.name == name and f"aigiscan calibrate {name} PHOTOS" in text and "uncertain" in text
    assert "above 0" in text or "score 0" in text  # which way the score goes
    published = card.published
    assert published["licence"] and published["features"] > 0 and card.description
    assert not published["url"] or published["url"].startswith("https://")
    assert len(published["sha256"]) in (0, 64)
    encoder = create_encoder(card.encoder["name"])
    assert encoder.name == card.encoder["name"] == card.encoder["fingerprint"]["name"]
    if card.equalization:
        assert Equalization.parse(card.equalization).spec == card.equalization


@pytest.mark.parametrize("name", [n for n, c in CARDS.items() if not (c.published["url"] and c.published["sha256"])])
def test_what_has_no_known_hash_or_licence_is_not_fetched(name: str) -> None:
    with pytest.raises(DetectorError, match=f"detectors import {name} FILE"):
        Detector.load(name)


LINEAR = [name for name, card in CARDS.items() if card.published["kind"] == "linear"]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("form", ["{}", "fc.{}", "module.fc.{}", "model"])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_heads_in_every_form_of_file(name: str, form: str, outputs: int) -> None:
    features = CARDS[name].published["features"]
    layer = torch.nn.Linear(features, outputs)
    state = {("fc.{}" if form == "model" else form).format(key): value for key, value in layer.state_dict().items()}
    detector = imported(saved({"model": state, "epoch": 3} if form == "model" else state), name)
    x = torch.randn(4, features, generator=torch.Generator().manual_seed(1))
    logits = layer(x).detach()
    wanted = logits[:, 0] if outputs == 1 else logits[:, 1] - logits[:, 0]
    assert detector.scores({"embedding": x.numpy()}) == pytest.approx(wanted.numpy(), abs=1e-5)


def test_a_file_of_another_head_is_refused(head: tuple) -> None:
    for kind, raw in (("clipdet", head[0]), ("rine-2", head[0]), ("unifd", saved(rine_state(2, 8)))):
        with pytest.raises(DetectorError, match=r"not a file of|does not hold"):
            imported(raw, kind)
    with pytest.raises(InputError, match="use one of"):
        imported(head[0], "builtin")
    assert "Not the published file" in imported(head[0]).card.limits[-1]


def rine_state(projections: int, width: int, layers: int = 24, features: int = 1024) -> dict[str, torch.Tensor]:
    """Tensors with the names and shapes of RINE's files; dropout has no tensors, but numbers."""
    made = torch.Generator().manual_seed(0)
    state = {"alpha": torch.randn(1, layers, width, generator=made)}
    sizes = {f"proj1.{3 * i + 1}": (width, width if i else features) for i in range(projections)}
    sizes |= {f"proj2.{3 * i + 1}": (width, width) for i in range(projections)}
    sizes |= {"head.0": (width, width), "head.3": (width, width), "head.6": (1, width)}
    for name, (out, into) in sizes.items():
        state[f"{name}.weight"] = torch.randn(out, into, generator=made) / into**0.5
        state[f"{name}.bias"] = torch.randn(out, generator=made) / 4
    return state


@pytest.mark.parametrize(("name", "projections", "width"), [("rine-2", 4, 128), ("rine-4", 2, 64)])
def test_rine_scores_are_those_of_its_own_layers(name: str, projections: int, width: int, tmp_path: Path) -> None:
    state = rine_state(projections, width)
    assert name != "rine-2" or len(state) == 23
    shuffled = dict(reversed(list(state.items())))
    detector = imported(saved(shuffled), name)
    x = 2 * torch.randn(9, 24, 1024, generator=torch.Generator().manual_seed(2))

    def chain(part: str, relu_last: bool) -> torch.nn.Sequential:
        numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith(part)})
        made = torch.nn.Sequential()
        for number in numbers:
            weight = state[f"{part}.{number}.weight"]
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": state[f"{part}.{number}.bias"]})
            made.append(layer)
            if number != numbers[-1] or relu_last:
                made.append(torch.nn.ReLU())
        return made

    with torch.no_grad():
        z = (torch.softmax(state["alpha"], dim=1) * chain("proj1", True)(x)).sum(dim=1)
        expected = chain("head", False)(chain("proj2", True)(z))[:, 0].numpy()
    channels = {"embedding": x.flatten(1).numpy()}
    assert np.ptp(expected) > 1e-3
    assert detector.scores(channels) == pytest.approx(expected, abs=1e-5)
    detector.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d").scores(channels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("change", ["alpha", "proj2.1.bias", "head.6.weight"])
def test_rine_files_that_do_not_fit_are_one_line(change: str) -> None:
    state = rine_state(2, 8, layers=3, features=6)
    for broken in ({k: v for k, v in state.items() if k != change}, {**state, change: torch.zeros(2, 2)}):
        with pytest.raises(DetectorError, match="not a file of rine-1") as error:
            imported(saved(broken), "rine-1")
        assert "\n" not in str(error.value)


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


def test_other_preprocessing_is_that_of_torchvision() -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    rng = np.random.default_rng(0)
    theirs = {
        "short:64,crop:56": Compose([Resize(64), CenterCrop(56)]),
        "squash:56": Resize((56, 56), InterpolationMode.BILINEAR),
    }
    for spec, transform in theirs.items():
        equalization = Equalization.parse(spec)
        for width, height in ((120, 91), (64, 64), (33, 70), (30, 31)):
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            assert np.array_equal(np.asarray(equalization.apply(image)), np.asarray(transform(image))), (spec, width)
            frame = equalization.frame(Frame(width, height))
            assert (frame.width, frame.height) == (56, 56)
    assert Equalization.parse("short:64").apply(Image.new("RGB", (9000, 3))).size == (512, 64)
