"""Published heads: others' classifiers on a known encoder, from a file or fetched from the address in a card.

A head is a card among the shipped models (``published``: kind, url, sha256, bytes, features, licence) and a reader of
its kind of file in :data:`READERS`. No code of a file is run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aigiscan.classifiers import make_classifier
from aigiscan.detector.calibration import Calibration
from aigiscan.detector.card import WEIGHTS_NAME, Card, library_versions, read_card
from aigiscan.detector.fetch import fetch
from aigiscan.detector.tail import Tail
from aigiscan.encoders.weights import cache_dir, shipped_models_dir
from aigiscan.errors import DetectorError, InputError
from aigiscan.features import view_from_saved
from aigiscan.features.base import FeatureView
from aigiscan.files import keep_cached, reason

Arrays = dict[str, np.ndarray]


class Parts(NamedTuple):
    """What a detector is made of (:class:`aigiscan.detector.detector.Detector`, which imports this file)."""

    card: Card
    view: FeatureView
    classifier: Any
    calibration: Calibration


def published_cards() -> dict[str, Card]:
    """Name → card of every published head, in order of names."""
    folders = [path.parent for path in sorted(shipped_models_dir().glob("*/card.yaml"))]
    cards = {folder.name: read_card(folder) for folder in folders if not (folder / WEIGHTS_NAME).exists()}
    return {name: card for name, card in cards.items() if card.published}


def import_published(kind: str, file: str | Path | bytes, name: str = "", encoder: str = "") -> Parts:
    """A published head from a user's file as the parts of a detector.

    kind: a name of :func:`published_cards`. name: of the detector, the head's own if not given. encoder: where the
    features come from, if the encoder's weights lie elsewhere, e.g. ``ViT-L-14-quickgelu/path/weights.safetensors``.
    Raises DetectorError in one line if the file is something else; another file of the same form is taken, and the
    card says so.
    """
    cards = published_cards()
    if kind not in cards:
        raise InputError(f"cannot import {kind}: use one of {', '.join(cards)}")
    card = cards[kind]
    what = "the file" if isinstance(file, bytes) else str(file)
    try:
        raw = file if isinstance(file, bytes) else Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{what} cannot be read: {reason(error)}") from error
    if encoder:
        from aigiscan.encoders import create_encoder

        named = create_encoder(encoder).name
        card = replace(card, encoder={"name": named, "fingerprint": {**card.encoder["fingerprint"], "name": named}})
    made = _parts(raw, replace(card, name=name or kind), what)
    found, wanted = hashlib.sha256(raw).hexdigest(), card.published.get("sha256")
    limits = list(made.card.limits)
    if wanted and found != wanted:
        limits.append(
            f"Not the published file of {kind} (sha256 {found[:12]}…, not {wanted[:12]}…), but one of its form."
        )
    return made._replace(card=replace(made.card, limits=limits, published={**card.published, "sha256": found}))


def fetch_published(card: Card) -> Parts:
    """The parts of the detector of a card that names its weights' address: from the cache, else fetched and verified.

    Raises DetectorError in one line if the download fails, its sha256 is not the card's, or it is not to be fetched.
    """
    url, wanted = str(card.published.get("url") or ""), str(card.published.get("sha256") or "")
    by_hand = f"`aigiscan detectors import {card.name} FILE -o DIR`"
    if not url or not wanted:
        why = "its sha256 is not known here" if url else "its authors state no licence"
        raise DetectorError(f"{card.name} is not fetched ({why}): get {url or 'its file'} yourself and use {by_hand}")
    place = cached_at(card)
    raw = place.read_bytes() if place.is_file() else b""
    if hashlib.sha256(raw).hexdigest() != wanted:
        raw = fetch(url, place, by_hand)
        found = hashlib.sha256(raw).hexdigest()
        if found != wanted:
            raise DetectorError(
                f"{url} is not the published file of {card.name}: sha256 {found[:12]}…, not {wanted[:12]}…; not used"
            )
        keep_cached(place, raw)
    return _parts(raw, card, "the fetched file")


def cached_at(card: Card) -> Path:
    """Where the file of a head is kept, or can be put by hand."""
    return cache_dir() / "published" / str(card.published.get("sha256"))


def _parts(raw: bytes, card: Card, what: str) -> Parts:
    reader = READERS.get(str(card.published.get("kind")))
    if reader is None:
        raise DetectorError(f"card {card.name} names weights of an unknown kind; update aigiscan")
    arrays = reader(_tensors(raw, what), what)
    features = card.published.get("features")
    try:
        classifier: Any = make_classifier(card.classifier["name"]).set_arrays(arrays)
    except (ValueError, KeyError) as error:
        raise DetectorError(f"{what} is not a file of {card.name}: {error}") from error
    if features and classifier.n_features_in_ != features:
        raise DetectorError(f"{what} is not a file of {card.name}: it takes {classifier.n_features_in_} features")
    # No calibration pictures: nothing may be flagged; p_ai is the published sigmoid (slope 1, intercept 0).
    none = Tail(np.empty(0))
    calibration = Calibration(none, none, platt=np.array([1.0, 0.0]))
    card = replace(card, thresholds=calibration.describe(), versions=library_versions())
    return Parts(card, view_from_saved(card.view, {}), classifier, calibration)


def _tensors(raw: bytes, what: str) -> dict[str, np.ndarray]:
    """The tensors of a torch state dict, float64, by torch's loader that builds tensors only.

    What a training script wraps around them is taken off: a dict under ``model`` or ``state_dict``, ``module.``.
    """
    import pickle

    import torch

    try:
        state: Any = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    # torch's own unpickler follows damaged bytes into lists that are empty and objects that are others
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError,
            pickle.UnpicklingError) as error:  # fmt: skip
        raise DetectorError(
            f"{what} is not a file of plain tensors: {(str(error) or 'empty').splitlines()[0]}"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), Mapping):
            state = dict(state[key])
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DetectorError(f"{what} holds no state dict of tensors")
    found = {str(k).removeprefix("module."): v.detach().double().numpy() for k, v in state.items()}
    if not all(np.isfinite(value).all() for value in found.values()):
        raise DetectorError(f"{what} holds NaN or infinite numbers")
    return found


def _linear(tensors: Arrays, what: str) -> Arrays:
    """One linear layer under whatever name; of two outputs (photograph, generated) their difference is the score."""
    names = {key.rpartition(".")[0] for key in tensors}
    weight, bias = (
        next((v for k, v in tensors.items() if k.rpartition(".")[2] == part), None) for part in ("weight", "bias")
    )
    fine = len(tensors) == 2 and len(names) == 1 and weight is not None and bias is not None and weight.ndim == 2
    if not fine or weight is None or bias is None or bias.shape != weight.shape[:1] or len(bias) not in (1, 2):
        raise DetectorError(f"{what} does not hold one linear layer (weight 1×d or 2×d, bias)")
    if len(bias) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    return {"coef": weight, "intercept": bias, **_binary(weight.shape[1])}


def _rine(tensors: Arrays, what: str) -> Arrays:
    """The tensors as they are: :class:`aigiscan.classifiers.rine.RineHead` has the same names."""
    return tensors


def _binary(features: int) -> Arrays:
    return {"classes": np.array([0, 1]), "n_features": np.array([features])}


#: kind → the tensors of its file as the arrays of its card's classifier; "unifd": as cards before called it
READERS: dict[str, Callable[[Arrays, str], Arrays]] = {"linear": _linear, "unifd": _linear, "rine": _rine}
