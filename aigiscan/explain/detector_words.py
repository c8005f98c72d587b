"""A detector in words: its weights, its heads, the residual of every generator (paper 000, tables 1, 3, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.errors import AigiscanError, DetectorError
from aigiscan.explain.directions import Member, directions_of
from aigiscan.explain.words import SUB_WORD, WORD_END, WordList, bias_warning, describe, phrase_list, residual
from aigiscan.features.views import ComponentsView
from aigiscan.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aigiscan.detector.detector import Detector
    from aigiscan.encoders.base import Encoder
    from aigiscan.store import EmbeddingStore

EMPTY: dict[str, list[Any]] = {"positive": [], "negative": []}


def word_lists(encoder: OpenClipEncoder, phrases: Sequence[str], *, tokens: bool = True) -> dict[str, WordList]:
    """``phrases``, and ``tokens`` (the whole vocabulary) where the tokenizer can be listed; cached on disk."""
    lists = {"phrases": phrase_list(encoder, phrases)}
    if tokens:
        table = encoder.token_embeddings()
        kinds = tuple(WORD_END if end else SUB_WORD for end in table.word_end.tolist())
        lists["tokens"] = WordList(tuple(table.texts), table.embeddings, kinds)
    return lists


def explain_words(
    detector: Detector,
    encoder: Encoder,
    phrases: Sequence[str],
    *,
    top: int = 10,
    store: EmbeddingStore | None = None,
) -> dict[str, Any]:
    """What ``words.json`` holds (docs/explain.md); positive = towards AI-generated.

    ``phrases`` and ``tokens``: the detector's weights against each list. ``heads``: the same for every head of a
    detector on heads. ``generators``: for every generator of the store its residual and the weights of a logistic
    regression on it alone. ``interpretability`` is the largest cosine similarity; ``clarity``, ``chance``,
    ``warning``: see :func:`bias_warning`. ``missing``: what
    has no words and why.
    """
    directions = directions_of(detector, encoder)
    missing = {key: reason for key, reason in directions.missing.items() if key in ("words", "tokens")}
    result: dict[str, Any] = {
        "detector": detector.card.name,
        "encoder": encoder.name,
        "phrases": EMPTY,
        "tokens": EMPTY,
        "interpretability": {},
        "clarity": {},
        "chance": {},
        "warning": "",
        "heads": {},
        "generators": {},
        "missing": missing,
    }
    member = directions.joint_member()
    if member is None:
        return result
    assert isinstance(member.encoder, OpenClipEncoder)
    try:
        lists = word_lists(member.encoder, phrases)
    except AigiscanError as error:
        missing["tokens"] = str(error)
        lists = word_lists(member.encoder, phrases, tokens=False)
    weights = directions.joint()
    if weights is not None:
        chance = {name: words.chance() for name, words in lists.items()}
        result |= describe(weights, lists, top)
        result["chance"] = {name: round(level, 6) for name, level in chance.items()}
        result["warning"] = bias_warning(result, chance)
    for (layer, head), vector in directions.heads.items():
        result["heads"][f"{layer}:{head}"] = describe(vector, lists, top)
    if store is None:
        missing["generators"] = "no store of known images was given (--neighbours STORE)"
    else:
        columns = np.arange(member.start, member.stop)
        if isinstance(detector.view, ComponentsView):
            columns = columns[np.isin(columns, detector.view.kept)]
        result["generators"] = generator_words(detector, store, lists, member, columns, weights, top)
    return result


def generator_words(
    detector: Detector,
    store: EmbeddingStore,
    lists: Mapping[str, WordList],
    member: Member,
    columns: np.ndarray,
    weights: np.ndarray | None,
    top: int,
) -> dict[str, Any]:
    """Every generator of the store against all its photographs.

    member: whose columns lie in the joint space. columns: numbers of those that the detector reads; a removed component
    counts in no direction. weights (d,): of the detector, None if it has none. Raises DetectorError if the store is of
    another encoder or has no photographs or no generator.
    """
    detector.check_fingerprint(store.fingerprint, f"store {store.path}", any_precision=True)
    labels = np.asarray(store.rows.label)
    names = np.asarray(store.rows.generator, dtype=object)
    generators = sorted({str(name) for name in names[labels == 1] if name})
    reals = np.flatnonzero(labels == 0)
    if not len(reals) or not generators:
        raise DetectorError(f"store {store.path} needs photographs and fakes with a generator to describe generators")
    real = store.read("embedding", rows=reals)[:, columns]
    found: dict[str, Any] = {}
    for name in generators:
        fake = store.read("embedding", rows=np.flatnonzero((labels == 1) & (names == name)))[:, columns]
        vector, own = np.zeros(member.stop - member.start), np.zeros(member.stop - member.start)
        vector[columns - member.start] = residual(fake, real)
        own[columns - member.start] = _probe(fake, real)
        entry = describe(vector, lists, top)
        entry["weights"] = describe(own, lists, top)
        entry["images"] = {"fake": len(fake), "real": len(real)}
        entry["cosine_with_detector"] = None if weights is None else round(_cosine(vector, weights), 6)
        entry["cosine_with_own_weights"] = round(_cosine(vector, own), 6)
        found[printable(name)] = entry
    return found


def _probe(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression on one generator, in the units of the embedding (paper 000, section 4)."""
    from aigiscan.classifiers import make_classifier
    from aigiscan.explain.linear import linear_form

    X = np.concatenate([fake, real])
    y = np.repeat([1, 0], [len(fake), len(real)])
    # Columns as they are: scaling each to unit spread would turn the direction that the words are compared with.
    classifier = make_classifier("logistic", standardize=False, class_weight="balanced").fit(X, y)
    return linear_form(classifier, X.shape[1]).weights


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
