"""False discoveries: the procedure on known p-values, and the bound on noise over many scans."""

from __future__ import annotations

import numpy as np
import pytest

from aigiscan.detector.calibration import Calibration
from aigiscan.detector.discovery import at_discovery_rate, discovery_threshold
from aigiscan.detector.verdict import Verdict
from aigiscan.errors import FitError


def test_threshold_is_that_of_benjamini_and_hochberg() -> None:
    # their example: 15 p-values, q = 0.05, the four smallest are rejected
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759]
    p.append(1.0)
    assert discovery_threshold(p, 0.05) == 0.0095
    assert discovery_threshold([0.2, 0.9], 0.05) == 0.0
    assert discovery_threshold([], 0.05) == 0.0
    for rate in (0.0, 1.0):
        with pytest.raises(FitError, match="false discovery rate"):
            discovery_threshold(p, rate)


def test_only_ai_can_be_lost_and_unreadable_files_do_not_count() -> None:
    rows = [
        Verdict("a", "ai", 0.9, 3.0, 0.001, generator="sd"),
        Verdict("b", "ai", 0.8, 2.0, 0.09, generator="sd"),
        Verdict("c", "real", 0.1, -2.0, 0.9),
        Verdict("d", "uncertain", 0.5, 0.0, 0.0001),  # rare among photographs and among fakes: not called ai
        *(Verdict(f"x{i}", "unreadable", error="broken") for i in range(50)),
    ]
    found = at_discovery_rate(rows, 0.1)
    assert [v.verdict for v in found[:4]] == ["ai", "uncertain", "real", "uncertain"]
    assert (found[0].generator, found[1].generator) == ("sd", "")
    assert [v.path for v in found] == [v.path for v in rows]


@pytest.mark.parametrize(("photographs", "fakes"), [(300, 0), (270, 30), (150, 150)])
def test_share_of_photographs_among_the_accused_keeps_the_bound(photographs: int, fakes: int) -> None:
    """Over many calibrations and scans; without any fake every accusation is false, so few scans may have one."""
    rng, shares, found, scans = np.random.default_rng(photographs), [], [], 120
    for _ in range(scans):
        calibration = Calibration.from_scores(rng.normal(0, 1, 500), rng.normal(4, 1, 200), 0.1)
        scores = np.concatenate([rng.normal(0, 1, photographs), rng.normal(4, 1, fakes)])
        p, verdicts = calibration.p_value(scores), calibration.verdict(scores)
        rows = [Verdict("x", str(v), score=s, p_value=q) for v, s, q in zip(verdicts, scores, p, strict=True)]
        accused = np.array([row.verdict == "ai" for row in at_discovery_rate(rows, 0.1)])
        shares.append(accused[:photographs].sum() / max(accused.sum(), 1))
        found.append(accused[photographs:].mean() if fakes else 1.0)
    error = np.std(shares) / np.sqrt(scans)
    assert np.mean(shares) <= 0.1 + 3 * error
    assert np.mean(found) > 0.7
