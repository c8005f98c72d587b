"""Scores → p-values, verdicts and probabilities, with a bound on false alarms that holds for finite samples.

Everything that is needed after loading is NumPy alone; scikit-learn is imported only while a probability curve is
fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.detector.guard import SourceGuard
from aigiscan.errors import DetectorError, FitError

Array = NDArray[np.float64]

AI, REAL, UNCERTAIN = "ai", "real", "uncertain"

#: From this many images of each class on, the probability curve is isotonic; below, Platt's sigmoid. An isotonic fit
#: has one free number per step and overfits smaller samples (Niculescu-Mizil and Caruana, 2005: about 1,000).
ISOTONIC_FROM = 1000


@dataclass(frozen=True)
class Tail:
    """Calibration scores of one class, sorted upwards, with the weight of each.

    Every image weighs 1 where the unit is an image; where the unit is a source, every source weighs 1 in all and its
    images share that weight.
    """

    scores: Array
    weights: Array

    @classmethod
    def of(cls, scores: ArrayLike, sources: Sequence[str] | NDArray | None = None) -> Tail:
        """Sorted scores; with ``sources`` (n,) the unit of the bound is a source, else an image."""
        values = finite_scores(scores)
        weights = np.ones(len(values))
        if sources is not None:
            _, inverse, counts = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
            if len(inverse) != len(values):
                raise FitError(f"{len(values)} calibration scores but {len(inverse)} sources")
            weights = 1.0 / counts[inverse]
        order = np.argsort(values, kind="stable")
        return cls(values[order], weights[order])

    @property
    def units(self) -> float:
        """How many exchangeable units (images or sources) there are."""
        return float(round(self.weights.sum(), 6))

    def p_at_least(self, scores: Array) -> Array:
        """(1 + weight of calibration scores ≥ s) / (units + 1)."""
        above = np.concatenate([np.cumsum(self.weights[::-1])[::-1], [0.0]])
        return (1.0 + above[np.searchsorted(self.scores, scores, side="left")]) / (self.units + 1.0)

    def p_at_most(self, scores: Array) -> Array:
        """(1 + weight of calibration scores ≤ s) / (units + 1)."""
        below = np.concatenate([[0.0], np.cumsum(self.weights)])
        return (1.0 + below[np.searchsorted(self.scores, scores, side="right")]) / (self.units + 1.0)


@dataclass(frozen=True)
class Calibration:
    """Thresholds by the split-conformal bound and calibrated probabilities.

    For a photograph exchangeable with the calibration photographs, ``P(p_value ≤ a) ≤ a`` for every a, so that flagging
    where ``p_value ≤ max_fpr`` gives at most ``max_fpr`` false alarms on average over calibration sets; the mirror
    image holds for fakes called ``real``. The bound says nothing about photographs of another kind: that is what
    calibrating by source is for, where one unit is a source and the bound is for a picture of a *new* source that is
    exchangeable with the sources calibrated on (it needs at least 1/max_fpr − 1 sources).

    ``guard`` asks more: a picture is flagged only if, besides, in all but a tenth of the calibration photo sources at
    most ``max_fpr`` of the pictures score as high. That can only flag less, so the bound above still holds; it is a
    caution, not a second bound.

    A score in both regions – rarer than ``max_fpr`` among photographs and also rarer than ``max_miss`` among fakes,
    which happens in the gap between classes that separate well – is ``uncertain``: it is like neither. That costs at
    most ``max_miss`` of the fakes and ``max_fpr`` of the photographs, and both bounds still hold.

    real, fake: calibration scores. max_fpr, max_miss: in (0, 1). platt: (slope, intercept) or empty; curve_x, curve_p:
    knots of the isotonic curve or empty; with neither (no fakes given) ``p_ai`` is NaN. guard: empty guards nothing.
    """

    real: Tail
    fake: Tail
    max_fpr: float = 0.01
    max_miss: float = 0.01
    platt: Array = field(default_factory=lambda: np.empty(0))
    curve_x: Array = field(default_factory=lambda: np.empty(0))
    curve_p: Array = field(default_factory=lambda: np.empty(0))
    guard: SourceGuard = field(default_factory=SourceGuard)

    @classmethod
    def from_scores(
        cls,
        real_scores: ArrayLike,
        fake_scores: ArrayLike | None,
        max_fpr: float = 0.01,
        max_miss: float = 0.01,
        *,
        real_sources: Sequence[str] | NDArray | None = None,
        fake_sources: Sequence[str] | NDArray | None = None,
        guard_sources: Sequence[str] | NDArray | None = None,
        copies: int = 1,
    ) -> Calibration:
        """Calibrate on scores that no fitting saw; higher scores mean more likely AI-generated.

        With ``real_sources``/``fake_sources`` the unit of the respective bound is a source. guard_sources: source of
        each photograph, for the caution by source; copies: how often each photograph is among the scores. Raises
        FitError for NaN or infinite scores, for no real scores at all and for rates outside (0, 1).
        """
        for name, rate in (("max_fpr", max_fpr), ("max_miss", max_miss)):
            if not 0.0 < rate < 1.0:
                raise FitError(f"{name} must lie between 0 and 1, not {rate:g}")
        real = Tail.of(real_scores, real_sources)
        fake = Tail.of([] if fake_scores is None else fake_scores, fake_sources if fake_scores is not None else None)
        if not len(real.scores):
            raise FitError("no photographs to calibrate on; give real images whose groups no fitting saw")
        platt, curve_x, curve_p = _probability_curve(real.scores, fake.scores)
        guard = SourceGuard()
        if guard_sources is not None:
            guard = SourceGuard.of(finite_scores(real_scores), guard_sources, copies)
        return cls(real, fake, float(max_fpr), float(max_miss), platt, curve_x, curve_p, guard)

    def recalibrated(self, real_scores: ArrayLike, max_fpr: float | None = None) -> Calibration:
        """The same with other photographs (a user's own): false-alarm threshold anew, fakes and ``p_ai`` as they were.

        ``p_ai`` is kept because a user's folder has no fakes to fit a curve with.
        """
        rate = self.max_fpr if max_fpr is None else max_fpr
        fresh = Calibration.from_scores(real_scores, None, rate, self.max_miss)
        return replace(self, real=fresh.real, max_fpr=fresh.max_fpr, guard=fresh.guard)

    def with_rates(self, max_fpr: float | None = None, max_miss: float | None = None) -> Calibration:
        """The same scores under other promised rates (``scan --max-fpr``)."""
        fpr = self.max_fpr if max_fpr is None else max_fpr
        miss = self.max_miss if max_miss is None else max_miss
        for name, rate in (("max_fpr", fpr), ("max_miss", miss)):
            if not 0.0 < rate < 1.0:
                raise FitError(f"{name} must lie between 0 and 1, not {rate:g}")
        return replace(self, max_fpr=float(fpr), max_miss=float(miss))

    def p_value(self, scores: ArrayLike) -> Array:
        """(1 + #{calibration photographs with a score ≥ s}) / (n + 1), in (0, 1]: small = unlike the photographs.

        With a guard the larger of that and the share of the most alike sources' photographs with a score ≥ s.
        """
        values = finite_scores(scores)
        return np.maximum(self.real.p_at_least(values), self.guard.p_at_least(values))

    def p_miss(self, scores: ArrayLike) -> Array:
        """The mirror image: (1 + #{calibration fakes with a score ≤ s}) / (m + 1): small = unlike the fakes."""
        return self.fake.p_at_most(finite_scores(scores))

    def verdict(self, scores: ArrayLike) -> NDArray[np.str_]:
        """``ai``, ``real`` or ``uncertain`` for every score, (n,) of str."""
        # 1e-12: a rate like 0.07 and a fraction like 7/100 that mean the same number may differ in the last bit
        ai = self.p_value(scores) <= self.max_fpr + 1e-12
        real = self.p_miss(scores) <= self.max_miss + 1e-12
        return np.select([ai & ~real, real & ~ai], [AI, REAL], default=UNCERTAIN)

    def p_ai(self, scores: ArrayLike) -> Array:
        """Calibrated probability of being AI-generated, in (0, 1), if both kinds were equally frequent.

        Never falls as the score rises. NaN where the calibration had no fakes.
        """
        values = finite_scores(scores)
        if len(self.platt):
            slope, intercept = self.platt
            return 1.0 / (1.0 + np.exp(-np.clip(slope * values + intercept, -500, 500)))
        if len(self.curve_x):
            return np.interp(values, self.curve_x, self.curve_p)
        return np.full(values.shape, np.nan)

    @property
    def threshold_ai(self) -> float:
        """A score strictly above it has a ``p_value`` ≤ ``max_fpr``; +inf if no score can be flagged."""
        allowed = self.max_fpr * (self.real.units + 1.0) - 1.0 + 1e-9
        if allowed < 0:
            return float("inf")
        heavier = np.cumsum(self.real.weights[::-1]) > allowed
        threshold = float(self.real.scores[::-1][np.argmax(heavier)]) if heavier.any() else float("-inf")
        return max(threshold, self.guard.threshold(self.max_fpr))

    @property
    def threshold_real(self) -> float:
        """A score strictly below it is rarer than ``max_miss`` among fakes; −inf if none can be called real."""
        allowed = self.max_miss * (self.fake.units + 1.0) - 1.0 + 1e-9
        if allowed < 0:
            return float("-inf")
        heavier = np.cumsum(self.fake.weights) > allowed
        return float(self.fake.scores[np.argmax(heavier)]) if heavier.any() else float("inf")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know, one line each; empty if nothing."""
        found = []
        for tail, rate, noun, verdict in (
            (self.real, self.max_fpr, "real", AI),
            (self.fake, self.max_miss, "AI-generated", REAL),
        ):
            needed = least_units(rate)
            if tail.units < needed:
                unit = "images" if np.all(tail.weights == 1.0) else "sources"
                found.append(
                    f"{tail.units:.0f} {noun} {unit} to calibrate on are too few to promise a rate of {rate:g}: "
                    f"nothing will be called '{verdict}'; give at least {needed} or allow a higher rate"
                )
        if len(self.platt) and self.platt[0] == 0.0:
            found.append("scores of AI-generated calibration images are not higher than those of photographs")
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Plain values for a detector's card; ``threshold_ai`` is infinite where nothing can be flagged."""
        unit = "image" if np.all(self.real.weights == 1.0) else "source"
        return {
            "method": "split-conformal",
            "unit": unit,
            "max_fpr": self.max_fpr,
            "max_miss": self.max_miss,
            "threshold_ai": self.threshold_ai,
            "threshold_real": self.threshold_real,
            "real_images": len(self.real.scores),
            "fake_images": len(self.fake.scores),
            "p_ai": "platt" if len(self.platt) else "isotonic" if len(self.curve_x) else "none",
            "warnings": list(self.warnings),
            **({"by_source": self.guard.describe()} if self.guard.sources else {}),
        }

    def to_arrays(self) -> dict[str, NDArray]:
        """Everything as numeric arrays, for safetensors; ``from_arrays`` gives an equal calibration."""
        return {
            "real_scores": self.real.scores,
            "real_weights": self.real.weights,
            "fake_scores": self.fake.scores,
            "fake_weights": self.fake.weights,
            "rates": np.array([self.max_fpr, self.max_miss]),
            "platt": self.platt,
            "curve_x": self.curve_x,
            "curve_p": self.curve_p,
            **({"guard_scores": self.guard.scores, "guard_codes": self.guard.codes} if self.guard.sources else {}),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Calibration:
        """The calibration that ``to_arrays`` wrote; DetectorError if one is missing or not finite."""
        names = ("real_scores", "real_weights", "fake_scores", "fake_weights", "rates", "platt", "curve_x", "curve_p")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise DetectorError(f"calibration lacks {', '.join(missing)}; the detector's files are damaged")
        guards = ("guard_scores", "guard_codes")  # detectors without a caution by source have none
        a = {name: np.asarray(arrays.get(name, ()), dtype=np.float64) for name in (*names, *guards)}
        if not all(np.isfinite(v).all() for v in a.values()) or a["rates"].shape != (2,):
            raise DetectorError("calibration holds values that are not finite; the detector's files are damaged")
        if a["guard_scores"].shape != a["guard_codes"].shape:
            raise DetectorError("calibration by source is incomplete; the detector's files are damaged")
        guard = SourceGuard(a["guard_scores"], a["guard_codes"])
        real, fake = Tail(a["real_scores"], a["real_weights"]), Tail(a["fake_scores"], a["fake_weights"])
        max_fpr, max_miss = (float(rate) for rate in a["rates"])
        return cls(real, fake, max_fpr, max_miss, a["platt"], a["curve_x"], a["curve_p"], guard)


def least_units(rate: float) -> int:
    """How many calibration images (or sources) it takes before any score is as rare as ``rate``."""
    return int(np.ceil(1.0 / rate - 1e-9)) - 1


def finite_scores(scores: ArrayLike) -> Array:
    """Scores as float64 of shape (n,); FitError for NaN or infinity: a score that is none must not get a verdict."""
    values = np.atleast_1d(np.asarray(scores, dtype=np.float64))
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise FitError(f"{bad} of {values.size} scores are NaN or infinite; check the embeddings of these images")
    return values


def _probability_curve(real: Array, fake: Array) -> tuple[Array, Array, Array]:
    """(platt, curve_x, curve_p): one of the two is empty, both are without fakes. Classes weigh the same."""
    none = np.empty(0)
    if not len(fake):
        return none, none, none
    scores = np.concatenate([real, fake])
    weights = np.concatenate([np.full(len(real), 0.5 / len(real)), np.full(len(fake), 0.5 / len(fake))]) * len(scores)
    if min(len(real), len(fake)) >= ISOTONIC_FROM:
        from sklearn.isotonic import IsotonicRegression

        # Never 0 or 1: with m images per class nothing rarer than about 1 in m was seen.
        floor = 1.0 / (min(len(real), len(fake)) + 2.0)
        curve = IsotonicRegression(y_min=floor, y_max=1.0 - floor, out_of_bounds="clip")
        curve.fit(scores, np.repeat([0.0, 1.0], [len(real), len(fake)]), sample_weight=weights)
        return none, np.asarray(curve.X_thresholds_, np.float64), np.asarray(curve.y_thresholds_, np.float64)
    centre, spread = scores.mean(), scores.std()
    if spread == 0.0:
        return np.zeros(2), none, none
    from sklearn.linear_model import LogisticRegression

    # Platt (1999), equation 11: softened targets. A soft target t is the pair (1, weight t), (0, weight 1 − t).
    target = np.concatenate(
        [np.full(len(real), 1.0 / (len(real) + 2.0)), np.full(len(fake), (len(fake) + 1.0) / (len(fake) + 2.0))]
    )
    z = ((scores - centre) / spread)[:, None]
    model = LogisticRegression(C=1e6, max_iter=1000)
    model.fit(
        np.concatenate([z, z]),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([weights * target, weights * (1.0 - target)]),
    )
    slope = float(model.coef_[0, 0]) / spread
    if slope <= 0.0:
        # A probability that falls as the score rises would contradict the verdicts: say nothing instead.
        return np.zeros(2), none, none
    return np.array([slope, float(model.intercept_[0]) - slope * centre]), none, none
