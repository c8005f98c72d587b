"""The parts of ``evaluate`` that need the pictures themselves again: perturbations and JPEG qualities."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.classifiers.folds import source_folds
from aigiscan.cli.evaluation_inputs import make_encoder, perturbed_channels, without_jpeg
from aigiscan.detector.calibration import Calibration
from aigiscan.errors import InputError
from aigiscan.evaluation.robustness import (
    CLEAN,
    PERTURBATIONS,
    QUALITIES,
    RobustnessRow,
    quality_matrix,
    robustness,
    sample,
)
from aigiscan.evaluation.transfer import split_by_source
from aigiscan.evaluation.write import write_quality, write_robustness

if TYPE_CHECKING:
    from aigiscan.cli.evaluate_detectors import Unseen
    from aigiscan.cli.evaluation_inputs import Entry
    from aigiscan.evaluation.report import EvaluationReport


def of_detectors(
    report: EvaluationReport,
    found: list[Unseen],
    *,
    max_images: int,
    draws: int,
    seed: int,
    running: dict[str, Any],
) -> None:
    """Each detector with its own preprocessing and threshold, on pictures that it has not seen."""
    rows: dict[str, list[RobustnessRow]] = {}
    for one in found:
        given, judge, pictures = one.given, one.detector, one.pictures
        if len(np.unique(pictures.labels)) < 2:
            raise InputError(f"--robustness needs photographs and fakes; {given.name} has one of both alone")
        chosen = one.judged.rows[sample(pictures.labels, pictures.names, max_images, seed)]
        steps = {spec: (spec, judge.card.equalization) for spec in (CLEAN, *PERTURBATIONS)}
        encoder = judge.make_encoder(device=running["device"])
        readable, channels = perturbed_channels(given, chosen, encoder, steps, running)
        scores = {spec: judge.scores(values) for spec, values in channels.items()}
        rows[one.label] = robustness(
            scores,
            given.labels[readable],
            given.groups[readable],
            judge.calibration.threshold_ai,
            draws=draws,
            seed=seed,
        )
    note = (
        f"At most {max_images} images, sources alike, perturbed as files would be, before the detector's own "
        "preprocessing. Called ai: above the detector's own threshold."
    )
    write_robustness(report, rows, note)


def of_fits(
    report: EvaluationReport, entries: list[Entry], *, max_images: int, draws: int, seed: int, running: dict[str, Any]
) -> None:
    """Fitted on two thirds of the sources, tested on perturbed images of the others."""
    rows: dict[str, list[RobustnessRow]] = {}
    known: dict[str, tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]] = {}
    for entry in entries:
        given, candidate = entry.given, entry.candidate
        folds = source_folds(candidate.labels, candidate.sources, candidate.groups, 3, seed)
        # the fold with most photo sources: one whose photographs are all of one source says little
        counts = [
            len(np.unique(candidate.sources[(folds == k) & (candidate.labels == 0)])) for k in range(folds.max() + 1)
        ]
        best = int(np.argmax(counts))
        held = np.flatnonzero(folds == best)
        fitted = candidate.fit(
            np.flatnonzero((folds != best) & ~np.isin(candidate.groups, candidate.groups[held])), "source"
        )
        if given.name not in known:
            chosen = held[sample(candidate.labels[held], candidate.names[held], max_images, seed)]
            steps = {spec: (spec, given.fitting_table().equalization) for spec in (CLEAN, *PERTURBATIONS)}
            known[given.name] = perturbed_channels(given, chosen, make_encoder(given, running), steps, running)
        readable, channels = known[given.name]
        scores = {spec: fitted.decision_function(entry.view.transform(values)) for spec, values in channels.items()}
        labels = candidate.labels[readable]
        threshold = Calibration.from_scores(scores[CLEAN][labels == 0], None, 0.05).threshold_ai
        rows[candidate.name] = robustness(scores, labels, candidate.groups[readable], threshold, draws=draws, seed=seed)
    note = (
        "Fitted on two thirds of the sources, tested on images of the third that the fit never saw, perturbed as files "
        "would be, before equalisation. Called ai: above the threshold that 5 % of these clean photographs reach."
    )
    write_robustness(report, rows, note)


def quality(
    report: EvaluationReport, entries: list[Entry], *, max_images: int, seed: int, running: dict[str, Any]
) -> None:
    """The report's table 1: JPEG quality in training against JPEG quality in test."""
    known: dict[str, tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]] = {}
    for entry in entries:
        given, candidate = entry.given, entry.candidate
        crop = without_jpeg(given.fitting_table().equalization)
        if given.name not in known:
            chosen = sample(candidate.labels, candidate.names, 2 * max_images, seed)
            steps = {f"quality {q}": (CLEAN, f"{crop},jpeg:{q}".lstrip(",")) for q in QUALITIES}
            known[given.name] = perturbed_channels(given, chosen, make_encoder(given, running), steps, running)
        readable, channels = known[given.name]
        part = replace(
            candidate,
            labels=candidate.labels[readable],
            names=candidate.names[readable],
            sources=candidate.sources[readable],
            groups=candidate.groups[readable],
        )
        matrices = {q: entry.view.transform(channels[f"quality {q}"]) for q in QUALITIES}
        test = split_by_source(part.labels, part.names, part.groups, seed=seed)

        def fit(X: np.ndarray, rows: np.ndarray, part: Any = part) -> Any:
            return replace(part, X=X).fit(rows, "source")

        note = (
            f"{len(readable)} images re-encoded at each quality after the crop '{crop or CLEAN}', "
            f"{int(test.sum())} of them for the test; split by group: the fit knows their generators and photo sources."
        )
        write_quality(report, candidate.name, quality_matrix(matrices, part.labels, test, fit), note)
