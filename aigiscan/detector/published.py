"""Published heads: linear weights on a known encoder, from a file or fetched from the address in a card.

UniFD: Ojha, Li and Lee, "Towards Universal Fake Image Detectors that Generalize Across Generative Models", CVPR 2023,
section 4.2: one linear layer, 768 → 1, on CLIP ViT-L/14's image embedding, trained by binary cross-entropy.
"""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.detector.calibration import Calibration, Tail
from aigiscan.detector.card import Card, library_versions
from aigiscan.encoders.weights import cache_dir
from aigiscan.errors import DetectorError, InputError
from aigiscan.features.views import EmbeddingView, FeatureView
from aigiscan.files import keep_cached

UNIFD = "unifd"
UNIFD_ENCODER = "open_clip:ViT-L-14-quickgelu/openai"
#: what UniFD's validate.py does before CLIP's own normalisation
UNIFD_EQUALIZATION = "crop:224"
UNIFD_LIMITS = [
    "Its published threshold (probability 0.5, score 0) misses most fakes of newer generators: on a later benchmark "
    "the best threshold in hindsight was 0.005. Calibrate on your own photographs: "
    "aigiscan calibrate unifd PHOTOS -o my-unifd",
    "Without calibration nothing is flagged: there are no photographs behind the thresholds, so every verdict is "
    "'uncertain' and p_ai is the published probability.",
    "The centre 224 pixels are judged at native resolution, as in the published code; the rest is not looked at.",
]
_TIMEOUT_SECONDS = 30
_MOST_BYTES = 64 << 20


class Parts(NamedTuple):
    """What a detector is made of (:class:`aigiscan.detector.detector.Detector`, which imports this file)."""

    card: Card
    view: FeatureView
    classifier: Any
    calibration: Calibration


def unifd_parts(source: str | Path | bytes, name: str = UNIFD, encoder: str = UNIFD_ENCODER) -> Parts:
    """UniFD's published head as the parts of a detector.

    source: ``fc_weights.pth``, a state dict of ``weight`` (1, d) and ``bias`` (1,); read without running code from it.
    encoder: where the embedding comes from, e.g. ``ViT-L-14-quickgelu/path/to/weights.safetensors``. Raises
    DetectorError if the file is something else.
    """
    weight, bias = _read_linear(source)
    classifier = make_classifier("linear-bce").set_arrays(
        {"coef": weight[None, :], "intercept": bias, "classes": np.array([0, 1]), "n_features": np.array([len(weight)])}
    )
    # No calibration pictures: nothing may be flagged; p_ai is the published sigmoid (slope 1, intercept 0).
    none = Tail(np.empty(0))
    calibration = Calibration(none, none, platt=np.array([1.0, 0.0]))
    card = Card(
        name=name,
        encoder={"name": encoder, "fingerprint": {"name": encoder, "pooling": "class", "projection": "projected"}},
        equalization=UNIFD_EQUALIZATION,
        view=EmbeddingView().params(),
        classifier={"name": "linear-bce", "params": {}},
        description="UniFD's published linear head on CLIP ViT-L/14 (Ojha, Li, Lee, CVPR 2023)",
        limits=list(UNIFD_LIMITS),
        thresholds=calibration.describe(),
        training={"published_as": "fc_weights.pth, trained on ProGAN images and LSUN photographs by its authors"},
        versions=library_versions(),
    )
    return Parts(card, EmbeddingView(), classifier, calibration)


IMPORTERS = {UNIFD: unifd_parts}


def fetch_published(card: Card) -> Parts:
    """The parts of the detector of a card that names its weights' address: from the cache, else fetched and verified.

    Raises DetectorError in one line if the download fails or its sha256 is not the card's.
    """
    url, wanted = str(card.published.get("url")), str(card.published.get("sha256"))
    importer = IMPORTERS.get(str(card.published.get("kind")))
    if importer is None:
        raise DetectorError(f"card {card.name} names weights of an unknown kind; update aigiscan")
    place = cache_dir() / "published" / wanted
    raw = place.read_bytes() if place.is_file() else b""
    if hashlib.sha256(raw).hexdigest() != wanted:
        raw = _download(url, place)
        found = hashlib.sha256(raw).hexdigest()
        if found != wanted:
            raise DetectorError(
                f"{url} is not the published file of {card.name}: sha256 {found[:12]}…, not {wanted[:12]}…; not used"
            )
        keep_cached(place, raw)
    made = importer(raw, card.name, str(card.encoder["name"]))
    return made._replace(card=replace(made.card, published=dict(card.published), limits=list(card.limits)))


def _download(url: str, place: Path) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "aigiscan"})  # noqa: S310 - the card's scheme is checked
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise DetectorError(f"{url} is not fetched: published weights come over https")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            raw: bytes = answer.read(_MOST_BYTES + 1)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DetectorError(
            f"cannot fetch {url} ({reason}); fetch it elsewhere and put it at {place}, or use "
            "`aigiscan detectors import unifd FILE -o DIR`"
        ) from error
    if len(raw) > _MOST_BYTES:
        raise DetectorError(f"{url} is larger than {_MOST_BYTES >> 20} MiB: not a published head")
    return raw


def _read_linear(source: str | Path | bytes) -> tuple[np.ndarray, np.ndarray]:
    """(weight (d,), bias (1,)) float64 from a torch state dict, by torch's loader that builds tensors only."""
    import pickle

    import torch

    what = "the fetched file" if isinstance(source, bytes) else str(source)
    try:
        opened: Any = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        state = torch.load(opened, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {what}") from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise DetectorError(f"{what} is not a file of plain tensors: {str(error).splitlines()[0]}") from error
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)} if isinstance(state, dict) else {}
    if set(tensors) != {"weight", "bias"} or tensors["weight"].dim() != 2 or tuple(tensors["bias"].shape) != (1,):
        raise DetectorError(f"{what} does not hold one linear layer (weight 1×d, bias 1)")
    weight, bias = (tensors[key].double().numpy().ravel() for key in ("weight", "bias"))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise DetectorError(f"{what} holds NaN or infinite numbers")
    return weight, bias
