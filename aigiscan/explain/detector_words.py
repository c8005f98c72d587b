"""A detector in words: its weights, its heads, the residual of every generator (paper 000, tables 1, 3, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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

#: times that the labels of a store are dealt anew, and the rank from above that counts as what chance reaches: the
#: second highest of 39 is exceeded by a direction that means nothing in 5 of 100 cases
_DEALS, _RANK = 39, 2

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
    regression on it alone. ``interpretability`` is the largest cosine similarity; ``clarity``, ``warning``: see
    :func:`bias_warning`. ``chance``: the clarity that such weights, and such residuals, reach where the labels of the
    store are dealt anew; without a store nothing is called clear. ``missing``: what has no words and why.
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
        result |= describe(weights, lists, top)
    for (layer, head), vector in directions.heads.items():
        result["heads"][f"{layer}:{head}"] = describe(vector, lists, top)
    if store is None:
        missing["generators"] = "no store of known images was given (--neighbours STORE)"
    else:
        columns = np.arange(member.start, member.stop)
        if isinstance(detector.view, ComponentsView):
            columns = columns[np.isin(columns, detector.view.kept)]
        result["generators"] = generator_words(detector, store, lists, member, columns, weights, top)
    if weights is not None:
        chance, why = chance_of_weights(detector, encoder, store, lists)
        result["chance"] = {name: round(level, 6) for name, level in chance.items()}
        result["warning"] = bias_warning(result, chance)
        if why:
            missing["chance"] = why
    return result


def chance_of_weights(
    detector: Detector, encoder: Encoder, store: EmbeddingStore | None, lists: Mapping[str, WordList]
) -> tuple[dict[str, float], str]:
    """(list name → clarity that the detector's weights would reach if labels meant nothing, why there is none).

    The labels of the store are dealt anew to its pictures, the detector's classifier is fitted on them, and its weights
    go the same way into the joint space. Random directions would not do: what differs between two halves of the same
    pictures is a direction in which pictures differ, and such directions have words.
    """
    from aigiscan.classifiers import make_classifier
    from aigiscan.classifiers.base import fit_classifier

    unfitted = make_classifier(detector.card.classifier["name"], **detector.card.classifier.get("params", {}))
    if store is None:
        return {}, "no store of known images was given (--neighbours STORE), whose labels could be dealt anew"
    if unfitted.needs_text or unfitted.needs_groups or unfitted.multiclass:
        return {}, f"{type(unfitted).__name__} does not learn from labels alone, so none can be dealt anew"
    rows = np.flatnonzero(np.asarray(store.rows.label) >= 0)
    labels = np.asarray(store.rows.label)[rows]
    lacking = [name for name in detector.view.channels if name not in store.channel_names]
    if lacking or len(np.unique(labels)) < 2:
        why = f"no channel {lacking[0]}" if lacking else "labels of one class alone"
        return {}, f"store {store.path} has {why}"
    X = detector.view.transform({name: store.read(name, rows=rows) for name in detector.view.channels})
    weight = np.where(labels == 1, 0.5 / (labels == 1).sum(), 0.5 / (labels == 0).sum()) * len(labels)
    rng, dealt = np.random.default_rng(0), []
    for _ in range(_DEALS):
        order = rng.permutation(len(labels))
        classifier = fit_classifier(
            make_classifier(detector.card.classifier["name"], **detector.card.classifier.get("params", {})),
            X, labels[order], sample_weight=weight[order],
        )  # fmt: skip
        joint = directions_of(replace(detector, classifier=classifier), encoder).joint()
        assert joint is not None  # the detector's own weights had one
        dealt.append(joint)
    return _chance(np.array(dealt), lists), ""


def chance_of_residual(fake: np.ndarray, real: np.ndarray, lists: Mapping[str, WordList]) -> dict[str, float]:
    """List name → clarity that the residual (d,) of these pictures (n, d) reaches if they are dealt into such halves
    anew."""
    both, rng = np.concatenate([fake, real]), np.random.default_rng(0)
    dealt = []
    for _ in range(_DEALS):
        order = rng.permutation(len(both))
        dealt.append(residual(both[order[: len(fake)]], both[order[len(fake) :]]))
    return _chance(np.array(dealt), lists)


def _chance(directions: np.ndarray, lists: Mapping[str, WordList]) -> dict[str, float]:
    return {
        name: float(np.sort([words.clarity(direction) for direction in directions])[-_RANK])
        for name, words in lists.items()
    }


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
        placed = [_placed(part, columns - member.start, len(vector)) for part in (fake, real)]
        level = chance_of_residual(placed[0], placed[1], lists)
        entry["chance"] = {name: round(value, 6) for name, value in level.items()}
        entry["weights"] = describe(own, lists, top)
        entry["images"] = {"fake": len(fake), "real": len(real)}
        entry["cosine_with_detector"] = None if weights is None else round(_cosine(vector, weights), 6)
        entry["cosine_with_own_weights"] = round(_cosine(vector, own), 6)
        found[printable(name)] = entry
    return found


def _placed(X: np.ndarray, columns: np.ndarray, width: int) -> np.ndarray:
    """X (n, columns) at its columns of the joint space (n, width), zeros elsewhere."""
    placed = np.zeros((len(X), width))
    placed[:, columns] = X
    return placed


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
