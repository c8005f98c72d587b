"""What is shown and said how often, by batch number: a run that goes on from a checkpoint finds its stage by itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

# treatment → weight as the one property in which a pair differs
_TOGGLES = {
    "blur": 4.0, "noise": 3.5, "jpeg": 6.0, "upscale": 4.0, "grey": 1.5, "sepia": 0.5, "oversaturated": 0.8,
    "muted": 0.6, "dark": 1.2, "bright": 1.2, "faded": 0.8, "contrast": 0.7, "tint": 1.2, "inverted": 0.4,
    "posterized": 0.5, "vignette": 0.6, "double": 0.6, "oversharpened": 0.7, "scanlines": 0.4, "motion": 0.6,
    "impulse": 0.4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """first: number of its first batch. captions: property → factor on its weight in captions.yaml.

    blur: range of σ in pixels. jpeg: range of "compressed" qualities. fine_jpeg: lowest quality that a caption may call
    not compressed. upscale: range of factors. tilt: property → how much more a picture counts that a caption of it does
    not fit (0 equal, 0.5 only those): photographs are seldom damaged, so the words for damage should need evidence.
    """

    first: int
    toggles: dict[str, float] = field(default_factory=lambda: dict(_TOGGLES))
    captions: dict[str, float] = field(default_factory=dict)
    blur: tuple[float, float] = (1.1, 4.0)
    jpeg: tuple[int, int] = (5, 25)
    fine_jpeg: int = 70
    upscale: tuple[float, float] = (2.5, 5.0)
    tilt: dict[str, float] = field(default_factory=dict)


_SECOND = {"jpeg": 2.5, "real": 1.8, "by": 1.7, "noise": 0.5, "blur": 0.7, "upscaled": 0.7, "dark": 0.7, "bright": 0.7}

_BEGINNING = (
    Stage(0),
    # In the first run, after 67,000 pictures, noise, blur and darkness were known, JPEG was not: TRAINING_LOG.md.
    Stage(
        800,
        {**_TOGGLES, "jpeg": 16.0, "grey": 4.0, "noise": 2.0, "blur": 3.0, "upscale": 3.0},
        _SECOND,
        blur=(1.5, 4.0),
        jpeg=(3, 20),
        fine_jpeg=80,
        upscale=(3.0, 5.0),
    ),
    # After 101,000 pictures of that run the order was right for every treatment, but a fifth of the soft photographs of
    # old cameras were called blurred, enlarged and compressed.
    Stage(
        1500,
        {**_TOGGLES, "jpeg": 12.0, "grey": 4.0, "noise": 3.0},
        {**_SECOND, "noise": 0.8, "blur": 0.9, "upscaled": 0.9, "real": 2.2, "by": 2.0},
        blur=(1.5, 4.0),
        jpeg=(5, 30),
        fine_jpeg=80,
        upscale=(3.0, 5.0),
        tilt={"blur": 0.28, "noise": 0.25, "jpeg": 0.25, "upscaled": 0.18, "grey": 0.15},
    ),
)

STAGES = (
    *_BEGINNING,
    # After 298,000 pictures every order was right again, but a tenth of the noisy pictures were called clean and a
    # tenth of the soft photographs blurred and enlarged.
    replace(_BEGINNING[-1], first=2486, tilt={"blur": 0.36, "noise": 0.1, "jpeg": 0.2, "upscaled": 0.25, "grey": 0.08}),
)


def stage_of(number: int) -> Stage:
    """The stage of a batch."""
    return [stage for stage in STAGES if stage.first <= number][-1]
