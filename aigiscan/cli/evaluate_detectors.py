"""``evaluate --detector``: finished detectors on labelled pictures that they have not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.cli import console
from aigiscan.cli import evaluate_views as views
from aigiscan.cli.evaluation_inputs import Judged, judge_inputs
from aigiscan.detector.verdict import VERDICT_AI
from aigiscan.errors import InputError
from aigiscan.evaluation.heldout import Figures, detector_figures
from aigiscan.evaluation.means import Pictures, differences
from aigiscan.evaluation.slices import slices
from aigiscan.evaluation.words import ORACLE
from aigiscan.evaluation.write import terminal_table, write_differences, write_figures, write_slices
from aigiscan.metrics import oracle_threshold

if TYPE_CHECKING:
    from aigiscan.cli.evaluation_inputs import Inputs
    from aigiscan.detector.detector import Detector
    from aigiscan.evaluation.report import EvaluationReport


@dataclass(frozen=True)
class Unseen:
    """What a detector said of the pictures that took no part in making it. said: what was left out, in sentences."""

    label: str
    detector: Detector
    given: Inputs
    judged: Judged
    said: tuple[str, ...]

    @property
    def pictures(self) -> Pictures:
        """Labels, names and units of the pictures judged."""
        rows = self.judged.rows
        return Pictures(self.given.labels[rows], self.given.names[rows], self.given.units[rows])


def evaluate_detectors(
    report: EvaluationReport,
    inputs: list[Inputs],
    detectors: dict[str, Detector],
    *,
    max_fpr: float,
    draws: int,
    seed: int,
    running: dict[str, Any],
    gallery: int,
) -> list[Unseen]:
    """Every detector on every input, with its own thresholds; pairs of detectors on the same pictures."""
    several = len(inputs) > 1
    found = [
        unseen(f"{name} on {given.name}" if several else name, judge, given, running)
        for given in inputs
        for name, judge in detectors.items()
    ]
    figures: dict[str, Figures] = {}
    known, oracles = {}, []
    for one in found:
        shown, scores, calibration = one.pictures, one.judged.scores, one.detector.calibration
        figures[one.label] = detector_figures(
            scores, shown.labels, shown.names, one.given.groups[one.judged.rows], calibration, one.given.families,
            units=shown.units, sides=one.judged.sides, doubtful=one.judged.doubtful, max_fprs=[max_fpr],
            draws=draws, seed=seed,
        )  # fmt: skip
        training = one.detector.card.training
        known[one.label] = {*training.get("generators", {}), *training.get("photo_sources", {})}
        oracles.append((one.label, calibration.threshold_ai, *oracle_threshold(shown.labels, scores)))
    text = "Each detector with its own thresholds. 'in training': a source of that name is in the detector's card."
    warnings = [f"{one.label}: {sentence}" for one in found for sentence in one.said]
    write_figures(report, "detectors", "Detectors", text, figures, known, warnings)
    for warning in warnings:
        console.warn(warning)
    report.table(
        "detectors_oracle",
        "Beside, never instead: the threshold that is best on these very images",
        ("detector", "threshold ai", "oracle threshold", ORACLE),
        oracles,
    )
    for one in found:
        shown, judged = one.pictures, one.judged
        verdicts = one.detector.calibration.verdict(judged.scores, judged.sides, judged.doubtful)
        parts = slices(one.judged.facts, shown.labels, one.judged.scores, verdicts == VERDICT_AI, shown.units)
        write_slices(report, "detectors_files", one.label, parts)
    for given in inputs:
        _compare(report, [one for one in found if one.given is given], several, draws=draws, seed=seed)
    for one in found:
        shown, paths = one.pictures, [one.given.records[int(i)].path for i in one.judged.rows]
        views.gallery(report, one.label, paths, one.judged.scores, shown.labels, shown.names, count=gallery)
    console.table("detectors", *terminal_table(figures))
    return found


def unseen(label: str, detector: Detector, given: Inputs, running: dict[str, Any]) -> Unseen:
    """Judge an input, and leave out the pictures that the detector has seen and the generators that chose its features.

    InputError if nothing is left: a figure on what it was fitted on would say nothing.
    """
    judged = judge_inputs(detector, given, running)
    said = []
    shas = [facts.sha256 for facts in judged.facts]
    known = detector.seen.in_fit(shas) | detector.seen.in_calibration(shas)
    whole = given.table is not None and detector.card.training.get("digest") == given.table.summary()["digest"]
    if known.all() or whole:
        raise InputError(
            f"{detector.card.name} has seen all {len(known)} pictures of {given.name}: figures on them would say "
            "nothing; give pictures that it has not seen"
        )
    if known.any():
        said.append(
            f"{int(known.sum())} of {len(known)} pictures of {given.name} are left out, for it has seen them "
            "(in fitting, or for its threshold)"
        )
    elif not detector.seen.known:
        said.append(detector.seen.words(shas, detector.card.name))
    choosers = sorted(detector.view.search_generators)
    chose = (given.labels[judged.rows] == 1) & np.isin(given.names[judged.rows], choosers)
    if chose.any():
        said.append(f"left out, for they chose its features: {', '.join(choosers)} ({int(chose.sum())} pictures)")
    left = np.flatnonzero(~known & ~chose)
    if not len(left):
        raise InputError(f"nothing of {given.name} is left that {detector.card.name} was not made with")
    return Unseen(label, detector, given, judged.select(left), tuple(said))


def _compare(report: EvaluationReport, found: list[Unseen], several: bool, *, draws: int, seed: int) -> None:
    """Paired differences of the detectors of one input, on the pictures that all of them have not seen."""
    if len(found) < 2:
        return
    given = found[0].given
    common = np.array(sorted(set.intersection(*(set(one.judged.rows.tolist()) for one in found))), dtype=np.intp)
    if len(np.unique(given.labels[common])) < 2:
        return
    scores = {one.label: one.judged.scores[np.searchsorted(one.judged.rows, common)] for one in found}
    pictures = Pictures(given.labels[common], given.names[common], given.units[common])
    name = f"detectors_differences_{given.name}" if several else "detectors_differences"
    write_differences(report, name, differences(pictures, scores, draws, seed))
