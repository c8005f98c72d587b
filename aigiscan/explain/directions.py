"""A detector's weights, taken back to where they act: the joint space, single heads, or groups of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aigiscan.encoders.concat import ConcatEncoder
from aigiscan.encoders.heads import head_matrices
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.errors import AigiscanError, DetectorError, EncoderError
from aigiscan.explain.linear import LinearForm, linear_form
from aigiscan.features.base import FeatureView
from aigiscan.features.views import ComponentsView, EmbeddingView, HeadsView

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.encoders.base import Encoder


@dataclass(frozen=True, slots=True)
class Member:
    """One encoder of a detector and its columns ``start`` to ``stop`` in the embedding.

    no_joint, no_parts: why its embedding does not lie in a joint space of images and texts, or cannot be taken apart
    into heads; "" if it does, or can.
    """

    encoder: Encoder
    position: int
    start: int
    stop: int
    no_joint: str
    no_parts: str


@dataclass(frozen=True)
class Directions:
    """The weights of a detector in every space in which they mean something.

    form: the score as a linear form of the view's features, None if it is none. embedding: weights per column of the
    encoder's whole embedding (zero for removed components), None if the view does not read it. heads: (layer, head) →
    weights (d,) on that head's contribution to the embedding, for views of heads. members: the encoder, or the parts
    of ``a+b``. missing: ``parts``, ``heads``, ``patches``, ``words`` → why there is none.
    """

    form: LinearForm | None
    embedding: np.ndarray | None
    heads: Mapping[tuple[int, int], np.ndarray]
    members: Sequence[Member]
    missing: Mapping[str, str] = field(default_factory=dict)

    def joint_member(self) -> Member | None:
        """The member whose columns lie in the joint space of images and texts, if there is exactly one."""
        joint = [member for member in self.members if not member.no_joint]
        return joint[0] if len(joint) == 1 else None

    def joint(self) -> np.ndarray | None:
        """The weights as one vector (d,) in the joint space, None if there is none.

        A detector on heads has one vector per head; their sum says how the score moves when the same vector of the
        joint space is added to each of them.
        """
        member = self.joint_member()
        if member is None or "words" in self.missing:
            return None
        if self.heads:
            return np.asarray(np.sum(list(self.heads.values()), axis=0))
        return None if self.embedding is None else self.embedding[member.start : member.stop]


def directions_of(detector: Detector, encoder: Encoder) -> Directions:
    """Take a detector's weights back through its classifier and its view; exact, nothing is fitted.

    DetectorError for a detector on inner layers: its encoder stops before there is an embedding to take apart.
    """
    if detector.view.depth:
        raise DetectorError(f"{detector.card.name} reads inner layers; only what ends in an embedding can be explained")
    members = members_of(encoder)
    view = detector.view
    try:
        form = linear_form(detector.classifier, len(view.columns(encoder.columns())))
    except AigiscanError as error:
        return Directions(None, None, {}, members, dict.fromkeys(("parts", "heads", "patches", "words"), str(error)))
    embedding = _embedding_weights(view, form.weights, members[-1].stop)
    heads = _head_weights(view, form.weights, members) if isinstance(view, HeadsView) else {}
    missing: dict[str, str] = {}
    if embedding is None and not heads:
        why = f"the feature view {view.kind} is not a linear map of an embedding"
        missing = dict.fromkeys(("heads", "patches", "words"), why)
    elif heads:
        missing["other parts"] = f"the detector reads {len(heads)} heads alone; no other part of the encoder counts"
    _say_missing(members, missing)
    return Directions(form, embedding, heads, members, missing)


def _say_missing(members: Sequence[Member], missing: dict[str, str]) -> None:
    if all(member.no_parts for member in members):
        missing.setdefault("heads", "; ".join(member.no_parts for member in members))
        missing.setdefault("patches", missing["heads"])
    elif sum(not member.no_parts for member in members) > 1:
        missing.setdefault("patches", "several transformers look at the picture, each with a grid of its own")
    joint = [member for member in members if not member.no_joint]
    if not joint:
        missing.setdefault("words", "; ".join(member.no_joint for member in members))
    elif len(joint) > 1:
        missing.setdefault("words", "several encoders with text towers, each with a space of its own")


def members_of(encoder: Encoder) -> list[Member]:
    """The encoder itself, or the parts of a concatenation, with their columns."""
    parts = encoder.parts if isinstance(encoder, ConcatEncoder) else [getattr(encoder, "base", encoder)]
    members, start = [], 0
    for i, part in enumerate(parts):
        (width,) = part.channels()["embedding"].shape
        members.append(Member(part, i, start, start + width, _why_not_joint(part), _why_no_parts(part)))
        start += width
    return members


def _why_not_joint(encoder: Encoder) -> str:
    if not isinstance(encoder, OpenClipEncoder):
        return f"encoder {encoder.name} has no text tower, so its columns have no words"
    if encoder.options.projection != "projected":
        return f"the embedding of {encoder.name} is taken before the projection into the space of texts"
    return ""


def _why_no_parts(encoder: Encoder) -> str:
    if not isinstance(encoder, OpenClipEncoder):
        return f"encoder {encoder.name} has no attention heads"
    try:
        encoder.check_heads()
    except EncoderError as error:
        return str(error)
    return ""


def _embedding_weights(view: FeatureView, weights: np.ndarray, width: int) -> np.ndarray | None:
    if isinstance(view, EmbeddingView):
        return weights
    if isinstance(view, ComponentsView):
        full = np.zeros(width)
        full[view.kept] = weights
        return full
    return None


def _head_weights(view: HeadsView, weights: np.ndarray, members: Sequence[Member]) -> dict[tuple[int, int], np.ndarray]:
    """Weights on (z/σ)R → weights on E = (z/σ)M in the joint space.

    M = R Q with orthonormal rows of Q, so u = Qᵀw gives E·u = (z/σ) R Q Qᵀ w = (z/σ) R w; u is the shortest solution
    of M u = R w, so neither Q nor a second store of it is needed.
    """
    member = head_member(members)
    assert isinstance(member.encoder, OpenClipEncoder)
    maps = head_matrices(member.encoder).M  # [l, h, dh, d]
    found = {}
    for i, (pair, block) in enumerate(zip(view.heads, np.split(weights, len(view.heads)), strict=True)):
        target = np.asarray(view.factors[i], dtype=np.float64) @ block
        found[pair] = np.linalg.lstsq(np.asarray(maps[pair], dtype=np.float64), target, rcond=None)[0]
    return found


def head_member(members: Sequence[Member]) -> Member:
    """The member that the channels ``heads`` and ``sigma`` come from."""
    return next(m for m in members if m.encoder.options.heads and not m.no_parts)
