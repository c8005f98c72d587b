"""What an encoder makes of pictures that are to be explained: features, and parts and patches where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as images

from aigiscan.encoders.companions import CompanionEncoder
from aigiscan.encoders.companions import Look as AccompaniedLook
from aigiscan.encoders.heads import Decomposition, decompose
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.errors import EncoderError
from aigiscan.explain.directions import Directions, Member, directions_of, head_member

if TYPE_CHECKING:
    from aigiscan.detector.detector import Detector
    from aigiscan.encoders.base import Encoder


@dataclass(frozen=True)
class Look:
    """What the encoder made of one picture: its input, channels (name → its values), features (n,) and decomposition
    per member.

    length: what the linear form divides the weighted sum by.
    """

    prepared: Any
    channels: dict[str, np.ndarray]
    features: np.ndarray
    length: float
    decompositions: dict[int, Decomposition]
    accompanied: AccompaniedLook | None = None


class Looker:
    """The pass through the encoder. missing: part → why there is none for this detector.

    Whether a model's attention can be read as patches only the model itself shows (scaled or normalised attention
    cannot), so a grey picture goes through it first.
    """

    def __init__(self, detector: Detector, encoder: Encoder) -> None:
        self.detector, self.encoder = detector, encoder
        self.directions: Directions = directions_of(detector, encoder)
        self.missing = dict(self.directions.missing)
        self._apart = [m for m in self.directions.members if self._is_taken_apart(m)]
        self.patches = bool(self._apart) and "patches" not in self.missing
        if self.patches:
            (member, *_) = self._apart
            grey = member.encoder.prepare(images.new("RGB", (64, 64), (128, 128, 128)))
            try:
                self._decompose(member, grey)
            except EncoderError as error:
                self.patches, self.missing["patches"] = False, str(error)  # heads are still exact

    @property
    def batch_size(self) -> int:
        """Pictures at once. One where they are taken apart: what each token added to each head is large."""
        return 1 if self._apart else 8

    def look(self, prepared: Sequence[Any]) -> list[Look]:
        """One look for each of a batch of encoder inputs."""
        apart = [{m.position: self._decompose(m, self._own(one, m)) for m in self._apart} for one in prepared]
        if self.directions.heads:
            (found,) = ([each[m.position] for each in apart] for m in self._apart)
            channels = {
                "heads": np.concatenate([one.z for one in found]),
                "sigma": np.concatenate([one.sigma for one in found]),
            }
        elif self.directions.embedding is None:
            channels = self.encoder.encode(prepared)
        else:
            columns = []
            for member in self.directions.members:
                if member.no_parts:
                    own = [self._own(one, member) for one in prepared]
                    columns.append(member.encoder.encode(own)["embedding"])
                else:
                    columns.append(np.concatenate([each[member.position].embedding for each in apart]))
            channels = {"embedding": np.concatenate(columns, axis=1)}
        features = np.asarray(self.detector.view.transform(channels), dtype=np.float64)
        form = self.directions.form
        lengths = form.length(features) if form else np.ones(len(features))
        looks = self.encoder.look if isinstance(self.encoder, CompanionEncoder) else lambda _: None
        return [
            Look(one, {n: v[i] for n, v in channels.items()}, features[i], float(lengths[i]), apart[i], looks(one))
            for i, one in enumerate(prepared)
        ]

    def patches_of(self, look: Look) -> tuple[np.ndarray, float, np.ndarray] | None:
        """((rows, columns), what came from the class token itself: together the sum of all heads; the picture)."""
        for member in self._apart:
            tokens = look.decompositions[member.position].tokens
            if tokens is not None:
                assert isinstance(member.encoder, OpenClipEncoder)
                values = tokens[0].astype(np.float64).sum(axis=(0, 1)) / look.length  # [t]
                picture = np.asarray(self._own(look.prepared, member)).transpose(1, 2, 0)
                return values[1:].reshape(member.encoder.grid), float(values[0]), picture
        return None

    def _is_taken_apart(self, member: Member) -> bool:
        if self.directions.heads:
            return member is head_member(self.directions.members)
        return self.directions.embedding is not None and not member.no_parts

    def _decompose(self, member: Member, own: Any) -> Decomposition:
        """Heads, and patches where they have a meaning, in one pass of the model."""
        assert isinstance(member.encoder, OpenClipEncoder)
        return decompose(member.encoder, [own], *([self._toward(member)] if self.patches else []))

    def _toward(self, member: Member) -> np.ndarray:
        """The weights that patches are read with: (d,), or one vector per head (layers, heads, d)."""
        if not self.directions.heads:
            assert self.directions.embedding is not None
            return self.directions.embedding[member.start : member.stop]
        layers, heads, _ = member.encoder.channels()["heads"].shape
        toward = np.zeros((layers, heads, member.stop - member.start))
        for pair, vector in self.directions.heads.items():
            toward[pair] = vector
        return toward

    def _own(self, prepared: Any, member: Member) -> Any:
        """The part of the encoder's input that is this member's."""
        return prepared if len(self.directions.members) == 1 else prepared[member.position]
