"""Zero-shot classification by text: no training, the class whose words are nearer (Saland's report, section 2.10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.classifiers.base import Array, ProbeClassifier, UnfitDataError, unit_rows

#: the report's two classes, each in a few wordings; their embeddings are averaged
PROMPTS_REAL = ("a real image", "a photograph", "a photo taken with a camera")
PROMPTS_FAKE = ("a generated image", "an AI-generated image", "an image made by a generative model")


def prompt_features(
    encode_text: Callable[[Sequence[str]], NDArray], prompts_real: Sequence[str], prompts_fake: Sequence[str]
) -> Array:
    """Prompts of both classes → (2, d) unit vectors, real then fake: the mean over each class's prompts."""
    rows = [unit_rows(np.asarray(encode_text(list(p)), np.float64)).mean(axis=0) for p in (prompts_real, prompts_fake)]
    return unit_rows(np.stack(rows))


class WordsClassifier(ProbeClassifier):
    """Classifiers that take the text features of both classes; ``text_`` is zero where none are given."""

    scale: float

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        text_features: ArrayLike | None = None,
    ) -> WordsClassifier:
        """As every classifier; text_features: (2, d), real then fake. FitError without them where words are needed."""
        matrix, target, weight = self._check_fit(X, y, sample_weight)
        if text_features is not None:
            self.text_ = self._checked_text(text_features)
        elif self.needs_text:
            raise UnfitDataError("zero-shot needs an encoder with a text tower: an open_clip model or 'mini'")
        else:
            self.text_ = np.zeros((2, matrix.shape[1]))
        self._fit(matrix, target, weight)
        return self

    def _prior(self, X: Array) -> Array:
        """s · (cos(image, fake words) − cos(image, real words)), (n,)."""
        return self.scale * (unit_rows(X) @ (self.text_[1] - self.text_[0]))

    def _checked_text(self, text_features: ArrayLike) -> Array:
        text = np.asarray(text_features, dtype=np.float64)
        if text.shape != (2, self.n_features_in_):
            raise UnfitDataError(
                f"text features have shape {text.shape}, images {self.n_features_in_} columns: "
                "use the whole embedding of an encoder with a text tower"
            )
        if not np.isfinite(text).all():
            raise UnfitDataError("text features hold NaN or infinite numbers")
        return unit_rows(text)


@dataclass(eq=False, repr=False)
class ZeroShotClassifier(WordsClassifier):
    """Score = s · (cos(image, fake words) − cos(image, real words)); the images of ``fit`` are only checked.

    prompts_real, prompts_fake: what :func:`prompt_features` encodes for ``fit``. scale: s, CLIP's own logit scale.
    """

    needs_text = True
    _arrays = ("text_",)

    prompts_real: Sequence[str] = PROMPTS_REAL
    prompts_fake: Sequence[str] = PROMPTS_FAKE
    scale: float = 100.0

    def _fit(self, X: Array, y: NDArray[np.intp], weight: Array) -> None:
        """The words are all there is."""

    def merged(self, members: Sequence[ProbeClassifier]) -> ProbeClassifier:
        """All members are the same words."""
        return members[0]

    def _decide(self, X: Array) -> Array:
        return self._prior(X)
