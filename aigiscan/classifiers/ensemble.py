"""The classifiers of several folds as one: what judges must be of the family whose scores set the threshold.

A threshold taken from scores of fold classifiers is too low for a classifier that was fitted on everything, whose
scores spread further: on noise it flagged 10 % of photographs at two folds and 5 to 6 % at ten where 5 % were promised
(benchmarks/RESULTS.md, "The promise on noise"). The mean of the fold classifiers spreads less than each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.classifiers import make_classifier
from aigiscan.classifiers.base import Array, ProbeClassifier

#: an ensemble of more than this is not kept: the weights file would outweigh the encoder's
MOST_BYTES = 32 << 20


class FoldEnsemble(ProbeClassifier):
    """Mean score of its members, fitted classifiers of one kind; the generator that most of them name.

    Not registered: it is made of fitted classifiers, by :func:`averaged`, and saved with their number in the card.
    """

    def __init__(self, members: Sequence[Any] = ()) -> None:
        self.members = members
        self.multiclass = bool(members) and members[0].multiclass  # type: ignore[misc]
        self.classes_ = np.asarray(members[0].classes_) if members else np.empty(0)

    def decision_function(self, X: ArrayLike) -> Array:
        """Mean of the members' scores (n,)."""
        return np.mean([member.decision_function(X) for member in self.members], axis=0)

    def __getattr__(self, name: str) -> Any:
        # as long as the members have it: a binary ensemble names no generators, and few have words
        if name == "predict_generator" and hasattr(self.members[0], name):
            return self._vote
        if name in ("text_", "prompts_real", "prompts_fake"):
            return getattr(self.members[0], name)
        raise AttributeError(name)

    def _vote(self, X: ArrayLike) -> NDArray[np.str_]:
        votes = [member.predict_generator(X).tolist() for member in self.members]
        return np.array([Counter(of_one).most_common(1)[0][0] for of_one in zip(*votes, strict=True)])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters that the members share."""
        return dict(self.members[0].get_params(deep))

    def get_arrays(self) -> dict[str, NDArray]:
        """The members' arrays under ``<number>.<name>``."""
        return {f"{i}.{key}": value for i, m in enumerate(self.members) for key, value in m.get_arrays().items()}


def averaged(members: Sequence[ProbeClassifier]) -> ProbeClassifier | None:
    """Members fitted on different folds as one classifier whose score is the mean of theirs.

    One linear probe again for linear ones, else a :class:`FoldEnsemble`; None where that would be too large to keep.
    """
    merged = members[0].merged(members)
    if merged is not None:
        return merged
    ensemble = FoldEnsemble(list(members))
    return ensemble if sum(a.nbytes for a in ensemble.get_arrays().values()) <= MOST_BYTES else None


def classifier_entry(name: str, classifier: Any) -> dict[str, Any]:
    """What a card says of a fitted classifier: registered name, parameters, number of members of an ensemble."""
    params = {k: v.item() if isinstance(v, np.generic) else v for k, v in classifier.get_params().items()}
    members = {"members": len(classifier.members)} if isinstance(classifier, FoldEnsemble) else {}
    return {"name": name, "params": params, **members}


def classifier_from_saved(entry: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> ProbeClassifier:
    """Inverse of :func:`classifier_entry` and ``get_arrays``; ValueError if an array is missing."""

    def one(own: Mapping[str, NDArray]) -> ProbeClassifier:
        return make_classifier(entry["name"], **entry.get("params", {})).set_arrays(own)

    if "members" not in entry:
        return one(arrays)
    parts = [
        {key.removeprefix(f"{i}."): value for key, value in arrays.items() if key.startswith(f"{i}.")}
        for i in range(int(entry["members"]))
    ]
    return FoldEnsemble([one(part) for part in parts])
