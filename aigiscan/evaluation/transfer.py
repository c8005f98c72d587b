"""Transfer matrix: fit on each generator, test on each (Gaintseva et al., section 5, figure 2 and table 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigiscan import metrics
from aigiscan.detector.calibration import Calibration
from aigiscan.errors import FitError
from aigiscan.evaluation.intervals import Draws, Interval, resample
from aigiscan.images.labels import split_by_group
from aigiscan.metrics import auc_draws, share_draws

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Fit = Callable[[Index], Any]

#: figures of a cell that are averaged and drawn
CELL_METRICS = ("accuracy", "auc", "ap", "recall_1", "recall_5", "calibrated_accuracy", "validated_accuracy")


@dataclass(frozen=True, slots=True)
class TransferCell:
    """Fitted on ``train``, tested on ``test``; shares in [0, 1].

    accuracy: balanced, at score 0; real_accuracy, fake_accuracy: its parts. ap: with as many reals as the test side
    has. recall_1, recall_5: at 1 % and 5 % false alarms on the test photographs. calibrated_*: at the threshold that
    the conformal bound gives on held-out groups of the training side. validated_accuracy: at the
    threshold that is best on held-out images of the training generator (Ojha et al. 2023, section 5.3); NaN where that
    has one group alone. oracle_accuracy: at the threshold that is best on the test images themselves, an upper bound.
    """

    train: str
    test: str
    n_real: int
    n_fake: int
    accuracy: Interval
    real_accuracy: float
    fake_accuracy: float
    auc: Interval
    ap: float
    recall_1: float
    recall_5: float
    calibrated_accuracy: float
    calibrated_false_alarms: float
    calibrated_recall: float
    validated_accuracy: float
    oracle_accuracy: float

    def value(self, metric: str) -> float:
        """A figure by name, without its interval."""
        found = getattr(self, metric)
        return found.value if isinstance(found, Interval) else float(found)


@dataclass(frozen=True, slots=True)
class TransferAverage:
    """Mean over the cells of one kind: accuracy and AUC with intervals by group, the others plain."""

    name: str
    cells: int
    accuracy: Interval
    auc: Interval
    others: Mapping[str, float]


@dataclass(frozen=True)
class TransferMatrix:
    """generators: rows and columns, sorted by family and name. left_out: generator → why it is neither."""

    generators: list[str]
    families: dict[str, str]
    cells: list[TransferCell]
    averages: list[TransferAverage]
    left_out: dict[str, str]

    def grid(self, metric: str) -> Array:
        """(generators, generators) of one figure: rows trained on, columns tested on."""
        size = len(self.generators)
        return np.array([cell.value(metric) for cell in self.cells]).reshape(size, size)


def split_by_source(
    labels: NDArray,
    sources: NDArray,
    groups: NDArray,
    splits: NDArray | None = None,
    test_share: float = 0.3,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Mask (n,) of the test side: groups stay whole, every source gives about ``test_share`` of its images.

    One split for all generators (:func:`~aigiscan.images.labels.split_by_group`, a label per source), so that the same
    photographs lie on the same side for all (section 5). Where every image has a ``split``, that one is used: ``test``
    against the rest. FitError if a side lacks a class.
    """
    given = None if splits is None else np.asarray(splits).astype(str)
    if given is not None and (given != "").all() and (given == "test").any():
        test = given == "test"
    else:
        code = np.unique(np.asarray(sources).astype(str), return_inverse=True)[1]
        keys = np.asarray(groups).astype(str).tolist()
        test = split_by_group(keys, code, [1.0 - test_share, test_share], seed) == 1
    for name, mask in (("test", test), ("training", ~test)):
        if len(np.unique(labels[mask])) < 2:
            raise FitError(f"the {name} side has one class only; give more groups of both classes")
    return test


def transfer_matrix(
    X: NDArray,
    labels: NDArray,
    generators: NDArray,
    families: Mapping[str, str],
    groups: NDArray,
    test: NDArray[np.bool_],
    fit: Fit,
    *,
    tune: Callable[[Index], Fit] | None = None,
    min_images: int = 10,
    exclude: Collection[str] = (),
    max_fpr: float = 0.05,
    draws: int = 500,
    seed: int = 0,
) -> TransferMatrix:
    """Fit on the photographs of the training side and each generator's fakes there; test on each generator.

    X: (n, features). labels: (n,). generators: (n,), of the fakes. families: generator → family ("" unknown).
    test: mask of the test side, see :func:`split_by_source`. fit(rows) returns an estimator fitted on these rows, both
    classes weighing the same. tune(rows) returns what ``fit`` is for the training rows of one generator, settings
    being tuned on a part of them (Gaintseva et al., A.3). min_images: generators with fewer images in all are left out,
    as are those in ``exclude`` (that a search has seen). Raises FitError if fewer than two remain.
    """
    y, names, keys = np.asarray(labels), np.asarray(generators).astype(str), np.asarray(groups).astype(str)
    chosen, left_out = _choose(y, names, families, test, min_images, exclude)
    real_train, real_test = np.flatnonzero((y == 0) & ~test), np.flatnonzero((y == 0) & test)
    fake_test = {g: np.flatnonzero((y == 1) & test & (names == g)) for g in chosen}
    all_fake = np.concatenate(list(fake_test.values()))
    # drawn once for all cells: the same photographs, and prompts that generators share, count alike in each of them
    drawn = resample(keys[real_test], keys[all_fake], n=draws, seed=seed)
    cells, samples = [], {}
    for train in chosen:
        rows = np.concatenate([real_train, np.flatnonzero((y == 1) & ~test & (names == train))])
        fit_here = tune(rows) if tune else fit
        estimator = fit_here(rows)
        thresholds = _thresholds(fit_here, X, y, keys, rows, max_fpr, seed)
        real = np.asarray(estimator.decision_function(X[real_test]))
        passed = share_draws(real <= 0, drawn.sides[0])
        for tested in chosen:
            fake = np.asarray(estimator.decision_function(X[fake_test[tested]]))
            mine = drawn.sides[1][:, np.isin(all_fake, fake_test[tested])]
            won = auc_draws(fake, real, mine, drawn.sides[0])
            right = (share_draws(fake > 0, mine) + passed) / 2.0
            samples[train, tested] = (right, won)
            fewest = min(drawn.clusters[0], len(np.unique(keys[fake_test[tested]])))
            intervals = (drawn.interval(right, fewest), drawn.interval(won, fewest))
            cells.append(_cell(train, tested, real, fake, intervals, thresholds))
    averages = _averages(families, cells, samples, drawn)
    return TransferMatrix(chosen, {g: families.get(g, "") for g in chosen}, cells, averages, left_out)


def _choose(
    y: NDArray, names: NDArray, families: Mapping[str, str], test: NDArray, min_images: int, exclude: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    chosen, left_out = [], {}
    for name in np.unique(names[y == 1]).tolist():
        mine = (y == 1) & (names == name)
        if name in exclude:
            left_out[name] = "chose the features"
        elif mine.sum() < min_images:
            left_out[name] = f"{mine.sum()} images"
        elif not (mine & test).any() or (mine & ~test).sum() < 2:
            left_out[name] = "too few groups for both sides"
        else:
            chosen.append(name)
    if len(chosen) < 2:
        raise FitError(f"a transfer matrix needs two generators with at least {min_images} images; lower --min-images")
    return sorted(chosen, key=lambda g: (families.get(g, "") or "~", g)), left_out


def _thresholds(
    fit: Fit, X: NDArray, y: NDArray, keys: NDArray, rows: Index, max_fpr: float, seed: int
) -> tuple[float, float]:
    """(threshold of the conformal bound on the training photographs, threshold of the best balanced accuracy on the
    training images), each image scored by a fit without its group. NaN for the second where a class has one group."""
    rng, part = np.random.default_rng(seed), np.full(len(rows), -1)
    for label in (0, 1):
        mine = y[rows] == label
        _, group = np.unique(keys[rows[mine]], return_inverse=True)
        if group.max() > 0:
            part[mine] = rng.permutation(np.arange(group.max() + 1) % 4)[group]
    scores = np.full(len(rows), np.nan)
    for one in np.unique(part[part >= 0]):
        held = part == one
        left = rows[~np.isin(keys[rows], keys[rows[held]])]
        if len(np.unique(y[left])) == 2:
            scores[held] = fit(left).decision_function(X[rows[held]])
    scored = np.isfinite(scores)
    best = metrics.oracle_threshold(y[rows[scored]], scores[scored])[0]
    return Calibration.from_scores(scores[scored & (y[rows] == 0)], None, max_fpr).threshold_ai, best


def _cell(
    train: str,
    tested: str,
    real: Array,
    fake: Array,
    intervals: tuple[Interval, Interval],
    thresholds: tuple[float, float],
) -> TransferCell:
    labels, scores = np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([real, fake])
    _, real_accuracy, fake_accuracy = metrics.accuracies(labels, scores)
    calibrated, below, above = metrics.accuracies(labels, scores, thresholds[0])
    return TransferCell(
        train=train,
        test=tested,
        n_real=len(real),
        n_fake=len(fake),
        accuracy=intervals[0],
        real_accuracy=real_accuracy,
        fake_accuracy=fake_accuracy,
        auc=intervals[1],
        ap=metrics.average_precision(labels, scores),
        recall_1=metrics.recall_at(labels, scores, 0.01),
        recall_5=metrics.recall_at(labels, scores, 0.05),
        calibrated_accuracy=calibrated,
        calibrated_false_alarms=1.0 - below,
        calibrated_recall=above,
        validated_accuracy=float("nan")
        if np.isnan(thresholds[1])
        else metrics.accuracies(labels, scores, thresholds[1])[0],
        oracle_accuracy=metrics.oracle_threshold(labels, scores)[1],
    )


def _averages(
    families: Mapping[str, str],
    cells: Sequence[TransferCell],
    samples: Mapping[tuple[str, str], tuple[Array, Array]],
    drawn: Draws,
) -> list[TransferAverage]:
    """Table 4: all transfers, within each family, and from each family to each other; a generator to itself apart."""
    kinds: dict[str, list[TransferCell]] = {"all": [], "same generator": []}
    for cell in cells:
        if cell.train == cell.test:
            kinds["same generator"].append(cell)
            continue
        kinds["all"].append(cell)
        source, target = families.get(cell.train, ""), families.get(cell.test, "")
        if source and target:  # of unknown families nothing is said
            name = f"within {source}" if source == target else f"{source} → {target}"
            kinds.setdefault(name, []).append(cell)
    found = []
    for name, members in kinds.items():
        if not members:
            continue
        # a draw may hold nothing of a small generator: its cells are then not in the mean of that draw
        right, won = (np.nanmean([samples[c.train, c.test][i] for c in members], axis=0) for i in (0, 1))
        others = {m: _mean([c.value(m) for c in members]) for m in (*CELL_METRICS[2:], "oracle_accuracy")}
        found.append(TransferAverage(name, len(members), drawn.interval(right), drawn.interval(won), others))
    return sorted(found, key=lambda a: (a.name != "all", a.name != "same generator", "→" in a.name, a.name))


def _mean(values: Sequence[float]) -> float:
    """Mean of what is known; NaN of nothing."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
