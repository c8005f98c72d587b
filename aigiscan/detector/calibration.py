"""Scores → p-values, verdicts and probabilities, with a bound on false alarms that holds for finite samples.

Everything that is needed after loading is NumPy alone; scikit-learn is imported only while a probability curve is
fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigiscan.detector.guard import SourceGuard
from aigiscan.detector.tail import Array, Tail, finite_scores, least_units
from aigiscan.errors import DetectorError, FitError

Mask = NDArray[np.bool_]

AI, REAL, UNCERTAIN = "ai", "real", "uncertain"

#: pictures with a shorter side below this many pixels are not exchangeable with larger ones: of the development
#: photographs 11 % were flagged at the threshold that flags 1 % of all (benchmarks/RESULTS.md)
SMALL_SIDE = 256
#: sizes are kept apart where this rate can be promised to both
_LEAST_RATE = 0.05
#: a rate like 0.07 and a fraction like 7/100 that mean the same number may differ in the last bit
_SAME = 1e-12


@dataclass(frozen=True)
class Calibration:
    """Thresholds by the conformal bound, and calibrated probabilities.

    For a photograph exchangeable with the calibration photographs, ``P(p_value ≤ a) ≤ a`` for every a, so that flagging
    where ``p_value ≤ max_fpr`` gives at most ``max_fpr`` false alarms on average over calibration sets; the mirror
    image holds for fakes called ``real``. The bound says nothing about photographs of another kind. Photographs whose
    shorter side is under ``small_side`` pixels are another kind: they are held against the small calibration
    photographs alone, all others against the rest (Vovk's Mondrian conformal predictors), and the bound holds for both.

    A score in both regions – rarer than ``max_fpr`` among photographs and also rarer than ``max_miss`` among fakes,
    which happens in the gap between classes that separate well – is ``uncertain``: it is like neither. That costs at
    most ``max_miss`` of the fakes and ``max_fpr`` of the photographs, and both bounds still hold.

    real, fake: calibration scores. small: those of small photographs; None: pictures of all sizes are held against
    ``real``. small_side: what is small. max_fpr, max_miss: in (0, 1). platt: (slope, intercept) of the log odds, or
    empty: then ``p_ai`` is NaN. floor: ``p_ai`` stays within [floor, 1 − floor], for m pictures say nothing of what is
    rarer than one in m. curve_x, curve_p, guard: of detectors written before, which judge as they did; see
    :class:`aigiscan.detector.guard.SourceGuard`. prior: share of AI-generated pictures that ``p_ai`` is for; not saved.
    """

    real: Tail
    fake: Tail
    max_fpr: float = 0.01
    max_miss: float = 0.05
    platt: Array = field(default_factory=lambda: np.empty(0))
    floor: float = 0.0
    small: Tail | None = None
    small_side: int = SMALL_SIDE
    curve_x: Array = field(default_factory=lambda: np.empty(0))
    curve_p: Array = field(default_factory=lambda: np.empty(0))
    guard: SourceGuard = field(default_factory=SourceGuard)
    prior: float = 0.5

    @classmethod
    def from_scores(
        cls,
        real_scores: ArrayLike,
        fake_scores: ArrayLike | None,
        max_fpr: float = 0.01,
        max_miss: float = 0.05,
        *,
        sides: ArrayLike | None = None,
        small_side: int = SMALL_SIDE,
        reduced: ArrayLike | None = None,
    ) -> Calibration:
        """Calibrate on scores that no fitting saw, one per picture; higher scores mean more likely AI-generated.

        sides: (n,) shorter sides of the photographs in pixels, 0 where unknown; with None, or with fewer than 19
        photographs on either side of ``small_side``, pictures of all sizes are held against each other. reduced: scores
        of photographs that were reduced to be small, to take the place of the small ones. Raises FitError for NaN or
        infinite scores, for no photographs at all and for rates outside (0, 1).
        """
        real = finite_scores(real_scores)
        fake = Tail.of([] if fake_scores is None else fake_scores)
        if not len(real):
            raise FitError("no photographs to calibrate on; give real images whose groups no fitting saw")
        platt = _log_odds(real, fake.scores)
        floor = 1.0 / (min(len(real), len(fake.scores)) + 2.0) if len(fake.scores) else 0.0
        found = cls(Tail.of(real), fake, platt=platt, floor=floor).with_rates(max_fpr, max_miss)
        if sides is None:
            return found
        small = is_small(sides, small_side)
        if small.shape != real.shape:
            raise FitError(f"{len(real)} calibration scores but {len(small)} sizes")
        held_against = real[small] if reduced is None else finite_scores(reduced)
        if min(len(held_against), (~small).sum()) < least_units(_LEAST_RATE):
            return found
        return replace(found, real=Tail.of(real[~small]), small=Tail.of(held_against), small_side=small_side)

    def recalibrated(
        self, real_scores: ArrayLike, max_fpr: float | None = None, *, sides: ArrayLike | None = None
    ) -> Calibration:
        """The same with other photographs (a user's own): false-alarm threshold anew, fakes and ``p_ai`` as they were.

        ``p_ai`` is kept because a user's folder has no fakes to fit a curve with, and what small pictures are held
        against where the folder has too few small ones.
        """
        rate, side = self.max_fpr if max_fpr is None else max_fpr, self.small_side
        fresh = Calibration.from_scores(real_scores, None, rate, self.max_miss, sides=sides, small_side=side)
        small = fresh.small or self.small
        return replace(self, real=fresh.real, small=small, max_fpr=fresh.max_fpr, guard=fresh.guard)

    def with_rates(
        self, max_fpr: float | None = None, max_miss: float | None = None, prior: float | None = None
    ) -> Calibration:
        """The same scores under other promised rates, and another prior (``scan --max-fpr``); None keeps what is there.

        FitError for values outside (0, 1).
        """
        fpr = self.max_fpr if max_fpr is None else float(max_fpr)
        miss = self.max_miss if max_miss is None else float(max_miss)
        share = self.prior if prior is None else float(prior)
        for name, value in (("max_fpr", fpr), ("max_miss", miss), ("prior", share)):
            if not 0.0 < value < 1.0:
                raise FitError(f"{name} must lie between 0 and 1, not {value:g}")
        return replace(self, max_fpr=fpr, max_miss=miss, prior=share)

    def p_value(self, scores: ArrayLike, sides: ArrayLike | None = None) -> Array:
        """(1 + #{calibration photographs with a score ≥ s}) / (n + 1), in (0, 1]: small = unlike the photographs.

        sides: (n,) shorter sides in pixels, 0 where unknown, to hold small pictures against small photographs.
        Detectors written with a guard by source say the larger of that and the guard's share.
        """
        values = finite_scores(scores)
        p = np.maximum(self.real.p_at_least(values), self.guard.p_at_least(values))
        if self.small is None or sides is None:
            return p
        return np.where(is_small(sides, self.small_side), self.small.p_at_least(values), p)

    def p_miss(self, scores: ArrayLike) -> Array:
        """The mirror image: (1 + #{calibration fakes with a score ≤ s}) / (m + 1): small = unlike the fakes."""
        return self.fake.p_at_most(finite_scores(scores))

    def verdict(
        self, scores: ArrayLike, sides: ArrayLike | None = None, doubtful: ArrayLike = False
    ) -> NDArray[np.str_]:
        """``ai``, ``real`` or ``uncertain`` for every score, (n,) of str; sides: as in :meth:`p_value`.

        doubtful: (n,) mask of what stays uncertain whatever its score (:mod:`aigiscan.detector.doubt`).
        """
        ai = self.p_value(scores, sides) <= self.max_fpr + _SAME
        real = self.p_miss(scores) <= self.max_miss + _SAME
        judged = ~np.asarray(doubtful, dtype=bool)
        return np.select([ai & ~real & judged, real & ~ai & judged], [AI, REAL], default=UNCERTAIN)

    def p_ai(self, scores: ArrayLike) -> Array:
        """Calibrated probability of being AI-generated, in (0, 1), where a share ``prior`` of the pictures is.

        Never falls as the score rises. NaN where the calibration had no fakes.
        """
        even, prior = self._even(finite_scores(scores)), self.prior
        return even * prior / (even * prior + (1.0 - even) * (1.0 - prior))

    def _even(self, values: Array) -> Array:
        """The probability at equal priors: both classes weighed the same when the curve was fitted."""
        if len(self.platt):
            slope, intercept = self.platt
            p = 1.0 / (1.0 + np.exp(-np.clip(slope * values + intercept, -500, 500)))
            return np.asarray(np.clip(p, self.floor, 1.0 - self.floor))
        if len(self.curve_x):
            return np.interp(values, self.curve_x, self.curve_p)
        return np.full(values.shape, np.nan)

    def likelihood_ratio(self, scores: ArrayLike) -> Array:
        """How many times as likely such a score is for an AI-generated picture as for a photograph, > 0.

        The odds at equal priors, which is what a curve calibrated between two equally weighing classes gives (Brümmer
        and Morrison, "Tutorial on logistic-regression calibration and fusion", 2013). Independent of the prior.
        """
        p = self._even(finite_scores(scores))
        with np.errstate(divide="ignore"):
            return p / (1.0 - p)

    @property
    def threshold_ai(self) -> float:
        """A score strictly above it has a ``p_value`` ≤ ``max_fpr``; +inf if no score can be flagged."""
        return max(self.real.upper(self.max_fpr), self.guard.threshold(self.max_fpr))

    @property
    def threshold_ai_small(self) -> float:
        """The same for small pictures."""
        return self.threshold_ai if self.small is None else self.small.upper(self.max_fpr)

    @property
    def threshold_real(self) -> float:
        """A score strictly below it is rarer than ``max_miss`` among fakes; −inf if none can be called real."""
        return self.fake.lower(self.max_miss)

    @property
    def small_note(self) -> str:
        """What is never said of small pictures, and why; "" if they are judged like others."""
        return "" if self.small is None else self._never(self.small, "with a side under")

    def _never(self, tail: Tail, sizes: str) -> str:
        needed = least_units(self.max_fpr)
        if len(tail.scores) >= needed:
            return ""
        return (
            f"pictures {sizes} {self.small_side} pixels are never called '{AI}': the detector was calibrated on "
            f"{len(tail.scores)} such photographs, {needed} are needed to promise a rate of {self.max_fpr:g}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know, one line each; empty if nothing."""
        found = []
        if self.small is None or self.small_note:
            photographs = len(self.real.scores) + (0 if self.small is None else len(self.small.scores))
            found.append(_too_few(len(self.real.scores), photographs, "real", self.max_fpr, AI))
        else:
            found.append(self._never(self.real, "with no side under"))
        found.append(_too_few(len(self.fake.scores), len(self.fake.scores), "AI-generated", self.max_miss, REAL))
        if len(self.platt) and self.platt[0] == 0.0:
            found.append("scores of AI-generated calibration images are not higher than those of photographs")
        return tuple(line for line in found if line)

    def describe(self) -> dict[str, Any]:
        """Plain values for a detector's card; ``threshold_ai`` is infinite where nothing can be flagged."""
        by_size = {} if self.small is None else {
            "small_images": len(self.small.scores),
            "small_side": self.small_side,
            "threshold_ai_small": self.threshold_ai_small, "small_note": self.small_note,
        }  # fmt: skip
        return {
            "max_fpr": self.max_fpr,
            "max_miss": self.max_miss,
            "threshold_ai": self.threshold_ai,
            "threshold_real": self.threshold_real,
            "real_images": len(self.real.scores),
            "fake_images": len(self.fake.scores),
            **by_size,
            "p_ai": "logistic" if len(self.platt) else "isotonic" if len(self.curve_x) else "none",
            "warnings": list(self.warnings),
            **({"by_source": self.guard.describe()} if self.guard.sources else {}),
        }

    def to_arrays(self) -> dict[str, NDArray]:
        """Everything as numeric arrays, for safetensors; ``from_arrays`` gives an equal calibration."""
        arrays = {
            "real_scores": self.real.scores,
            "fake_scores": self.fake.scores,
            "rates": np.array([self.max_fpr, self.max_miss]),
            "platt": self.platt,
            "floor": np.array([self.floor]),
        }
        if self.small is not None:
            arrays |= {"small_scores": self.small.scores, "small_side": np.array([self.small_side])}
        if len(self.curve_x):
            arrays |= {"curve_x": self.curve_x, "curve_p": self.curve_p}
        if self.guard.sources:
            arrays |= {"guard_scores": self.guard.scores, "guard_codes": self.guard.codes}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Calibration:
        """The calibration that ``to_arrays`` wrote; DetectorError if one is missing or not finite."""
        a = {name: np.asarray(values, dtype=np.float64) for name, values in arrays.items()}
        missing = [name for name in ("real_scores", "fake_scores", "rates", "platt") if name not in a]
        if missing:
            raise DetectorError(f"calibration lacks {', '.join(missing)}; the detector's files are damaged")
        none = np.empty(0)
        curve_x, curve_p = a.get("curve_x", none), a.get("curve_p", none)
        guard = SourceGuard(a.get("guard_scores", none), a.get("guard_codes", none))
        floor = a.get("floor", np.zeros(1))
        if not all(np.isfinite(v).all() for v in a.values()):
            raise DetectorError("calibration holds values that are not finite; the detector's files are damaged")
        if a["rates"].shape != (2,) or a["platt"].shape not in ((0,), (2,)) or floor.shape != (1,):
            raise DetectorError("calibration has arrays of a wrong shape; the detector's files are damaged")
        if guard.scores.shape != guard.codes.shape or curve_x.shape != curve_p.shape:
            raise DetectorError("calibration by source or curve is incomplete; the detector's files are damaged")
        max_fpr, max_miss = (float(rate) for rate in a["rates"])
        small = Tail(a["small_scores"]) if "small_scores" in a else None
        side = int(a.get("small_side", np.array([SMALL_SIDE]))[0])
        real, fake = Tail(a["real_scores"]), Tail(a["fake_scores"])
        return cls(real, fake, max_fpr, max_miss, a["platt"], float(floor[0]), small, side, curve_x, curve_p, guard)


def is_small(sides: ArrayLike, small_side: int = SMALL_SIDE) -> Mask:
    """Mask of the pictures whose shorter side is under so many pixels; sides of 0 are unknown: not small."""
    shorter = np.asarray(sides)
    return (shorter > 0) & (shorter < small_side)


def _too_few(most: int, images: int, noun: str, rate: float, verdict: str) -> str:
    needed = least_units(rate)
    if most >= needed:
        return ""
    return (
        f"{images} {noun} images to calibrate on are too few to promise a rate of {rate:g}: "
        f"nothing will be called '{verdict}'; give at least {needed} or allow a higher rate"
    )


def _log_odds(real: Array, fake: Array) -> Array:
    """(slope, intercept) of the log odds as a line of the score, both classes weighing the same; (0,) without fakes.

    Logistic-regression calibration: Platt (1999), with his softened targets (equation 11). A line, because on the
    development pictures neither an isotonic curve nor a monotone spline had a smaller error on left-out sources
    (benchmarks/RESULTS.md), and it has no steps.
    """
    if not len(fake):
        return np.empty(0)
    from sklearn.linear_model import LogisticRegression

    scores = np.concatenate([real, fake])
    weights = np.concatenate([np.full(len(real), 0.5 / len(real)), np.full(len(fake), 0.5 / len(fake))]) * len(scores)
    centre, spread = scores.mean(), scores.std()
    if spread == 0.0:
        return np.zeros(2)
    # A soft target t is the pair (1, weight t), (0, weight 1 − t).
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
        return np.zeros(2)
    return np.array([slope, float(model.intercept_[0]) - slope * centre])
