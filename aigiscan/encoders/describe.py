"""Models that say what a picture shows: captioners, and grounders that find the objects a caption names.

They are named like encoders: ``open_clip:coca_ViT-L-14/mscoco_finetuned_laion2b_s13b_b90k``,
``hf:Salesforce/blip2-opt-2.7b``, ``hf:FOLDER``. A new kind is one class in one file and one line here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigiscan.images.beside import Region

#: what lies beside the pictures, and no model
GIVEN = "given"

CAPTIONERS = {
    "open_clip": "aigiscan.encoders.coca:CocaCaptioner",
    "hf": "aigiscan.encoders.hf_models:HfCaptioner",
}
GROUNDERS = {"hf": "aigiscan.encoders.hf_models:HfGrounder"}


class DescribingModel(ABC):
    """A model that describes pictures. Nothing is loaded before it is used.

    argument: what follows the colon of the name. prompt: text the model is to go on from or to answer, "" the kind's
    own. expected: the fingerprint of an earlier run; it is taken as this one's without looking at the weights, and
    compared with them before the first picture is described (EncoderError if they are others).
    """

    kind: str

    def __init__(
        self, argument: str, prompt: str = "", device: str = "auto", expected: Mapping[str, Any] | None = None
    ) -> None:
        self.argument, self.prompt, self.device_name, self.expected = argument, prompt, device, expected

    @abstractmethod
    def own_fingerprint(self) -> dict[str, Any]:
        """``source`` (the name), ``weights`` (sha256), and whatever else decides what it says."""

    def fingerprint(self) -> dict[str, Any]:
        """As :meth:`own_fingerprint`, without reading weights where an earlier run's is known."""
        return dict(self.expected) if self.expected is not None else self.own_fingerprint()

    def check(self) -> None:
        """EncoderError if the weights here are not those of the earlier run."""
        from aigiscan.encoders.fingerprint import compare_fingerprints

        if self.expected is not None:
            different = compare_fingerprints({"captions": self.expected}, {"captions": self.own_fingerprint()})
            if different:
                raise EncoderError(
                    f"{self.kind}:{self.argument} is not the model that was used before ({'; '.join(different)}); "
                    "get that one, or put captions beside the pictures"
                )
            self.expected = None


class Captioner(DescribingModel):
    """Pictures → one sentence each."""

    @abstractmethod
    def caption(self, pictures: Sequence[Image]) -> list[str]:
        """RGB pictures → captions, in order, white space made single spaces; "" where the model said nothing."""


class Grounder(DescribingModel):
    """Pictures and their captions → the objects that the captions name."""

    @abstractmethod
    def ground(self, pictures: Sequence[Image], captions: Sequence[str]) -> list[list[Region]]:
        """Regions of each picture in its pixels, within it, the surest first; none where nothing was found."""


def create_captioner(
    source: str, prompt: str = "", device: str = "auto", expected: Mapping[str, Any] | None = None
) -> Captioner | None:
    """The captioner of that name, None for ``given``; EncoderError for a name that is none."""
    made = _create(CAPTIONERS, "--captions", source, prompt, device, expected)
    assert made is None or isinstance(made, Captioner)
    return made


def create_grounder(source: str, device: str = "auto", expected: Mapping[str, Any] | None = None) -> Grounder | None:
    """The grounder of that name, None for ``given``; EncoderError for a name that is none."""
    made = _create(GROUNDERS, "--objects", source, "", device, expected)
    assert made is None or isinstance(made, Grounder)
    return made


def _create(
    registry: Mapping[str, str], option: str, source: str, prompt: str, device: str, expected: Mapping[str, Any] | None
) -> DescribingModel | None:
    if source == GIVEN:
        return None
    kind, _, argument = source.partition(":")
    if kind not in registry or not argument:
        raise EncoderError(f"{option} {source} is not known: use {GIVEN}, {', '.join(f'{k}:NAME' for k in registry)}")
    module, name = registry[kind].split(":")
    made: DescribingModel = getattr(import_module(module), name)(argument, prompt, device, expected)
    return made
