"""Directions in the joint space of images and texts, in words (Gaintseva et al., sections 4, 5, tables 1–3, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.errors import InputError
from aigiscan.files import reason

if TYPE_CHECKING:
    from aigiscan.encoders.base import Encoder

WORD_END = "word-end"
SUB_WORD = "sub-word"


@dataclass(frozen=True, slots=True)
class WordList:
    """Texts with their embeddings.

    embeddings: (n, d), rows of unit length. kinds: for vocabulary tokens ``"word-end"`` (the token ends a word) or
    ``"sub-word"`` (a beginning or a middle); empty for phrases.
    """

    texts: tuple[str, ...]
    embeddings: np.ndarray
    kinds: tuple[str, ...] = ()

    def cosines(self, direction: np.ndarray) -> np.ndarray:
        """Cosine similarity of every text with the direction (d,) → (n,); 0 for a direction of length 0."""
        length = float(np.linalg.norm(direction))
        if length == 0.0:
            return np.zeros(len(self.texts))
        return self.embeddings @ (np.asarray(direction, dtype=np.float64) / length)

    def ends(self, direction: np.ndarray, top: int) -> dict[str, list[dict[str, Any]]]:
        """``positive``: the ``top`` nearest texts, nearest first; ``negative``: the farthest, farthest first."""
        return self.ends_of_cosines(self.cosines(direction), top)

    def ends_of_cosines(self, cosines: np.ndarray, top: int) -> dict[str, list[dict[str, Any]]]:
        """As :meth:`ends`, from cosines (n,) that are known. Ties go to the earlier text."""
        order = np.argsort(-cosines, kind="stable")[:top]
        reverse = np.argsort(cosines, kind="stable")[:top]
        sides = {"positive": order, "negative": reverse}
        return {side: [self._entry(i, cosines) for i in rows] for side, rows in sides.items()}

    def _entry(self, i: int, cosines: np.ndarray) -> dict[str, Any]:
        entry: dict[str, Any] = {"text": self.texts[i], "cosine": round(float(cosines[i]), 6)}
        if self.kinds:
            entry["kind"] = self.kinds[i]
        return entry

    def interpretability(self, direction: np.ndarray) -> float:
        """The largest cosine similarity of any text with the direction (paper 000, section 5)."""
        return float(self.cosines(direction).max()) if self.texts else 0.0

    def clarity(self, direction: np.ndarray) -> float:
        """As :meth:`interpretability`, of the direction without its part along the mean of all texts.

        All texts of a CLIP model point a common way; a direction that leans that way resembles every word a little,
        which is no meaning.
        """
        if not self.texts:
            return 0.0
        mean = self._common()
        return self.interpretability(direction - (direction @ mean) * mean)

    def _common(self) -> np.ndarray:
        mean = self.embeddings.mean(axis=0, dtype=np.float64)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def read_phrases(path: str | Path | None = None) -> list[str]:
    """Phrases of a text file, one per line; empty lines and lines that start with ``#`` are left out, and repetitions.

    path: None for the list that comes with aigiscan. Raises InputError if the file cannot be read or has no phrase.
    """
    if path is None:
        text = resources.files("aigiscan.explain").joinpath("phrases.txt").read_text(encoding="utf-8")
    else:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"phrases {path} cannot be read: {reason(error)}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"phrases {path} is not UTF-8 text: one phrase per line") from error
    stripped = (line.strip() for line in text.splitlines())
    phrases = list(dict.fromkeys(line for line in stripped if line and not line.startswith("#")))
    if not phrases:
        raise InputError(f"phrases {path} has no phrase: write one per line")
    return phrases


def phrase_list(encoder: Encoder, phrases: Sequence[str]) -> WordList:
    """Phrases with their embeddings by the encoder's text tower; EncoderError if it has none."""
    return WordList(tuple(phrases), np.asarray(encoder.encode_text(list(phrases)), dtype=np.float32))


def residual(fakes: np.ndarray, reals: np.ndarray) -> np.ndarray:
    """``Norm[mean e_fake] − Norm[mean e_real]`` of embeddings (n, d): (d,) (paper 000, section 4)."""
    from aigiscan.classifiers.base import residual_direction

    return residual_direction(*(np.asarray(X, dtype=np.float64).mean(axis=0) for X in (fakes, reals)))


def describe(direction: np.ndarray, lists: Mapping[str, WordList], top: int) -> dict[str, Any]:
    """A direction (d,) against every list: name → ``ends``; ``interpretability`` and ``clarity``: name → number."""
    found: dict[str, Any] = {name: words.ends(direction, top) for name, words in lists.items()}
    found["interpretability"] = {name: round(words.interpretability(direction), 6) for name, words in lists.items()}
    found["clarity"] = {name: round(words.clarity(direction), 6) for name, words in lists.items()}
    return found


def bias_warning(words: Mapping[str, Any], chance: Mapping[str, float]) -> str:
    """One sentence if the direction has a clear meaning, else "".

    words: of :func:`describe`. chance: list name → clarity that such a direction does not exceed in 19 of 20 cases
    where labels mean nothing (:func:`aigiscan.explain.detector_words.chance_of_weights`).
    """
    clear = [name for name, level in chance.items() if words["clarity"][name] > level]
    if not clear:
        return ""
    name = max(clear, key=lambda key: words["clarity"][key] - chance[key])

    def some(side: str) -> str:
        return ", ".join(f"“{entry['text']}” ({entry['cosine']:+.2f})" for entry in words[name][side][:3])

    return (
        f"the weights have a clear meaning (clarity {words['clarity'][name]:.2f}, chance "
        f"{chance[name]:.2f}): towards AI-generated {some('positive')}; towards real {some('negative')}. "
        "The training pictures may be biased in just this: weights that carry over to other generators resemble no "
        "word (Gaintseva et al., section 5: 0.08 for the best detector, 0.12 to 0.15 for others, and "
        "“schwarzenegger” where all fakes were faces)"
    )
