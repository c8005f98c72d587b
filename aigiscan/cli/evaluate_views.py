"""Parts of ``aigiscan evaluate`` that show instead of measure: geometry, spectra, galleries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from aigiscan.cli.evaluation_inputs import Inputs
    from aigiscan.evaluation.report import EvaluationReport


def geometry(report: EvaluationReport, inputs: Sequence[Inputs], features: Sequence[str], *, seed: int) -> None:
    """How isotropic the features are, before and after the removal of components where a view removes some."""
    from aigiscan.evaluation.geometry import write_geometry
    from aigiscan.evaluation.report import BACKGROUND
    from aigiscan.features import parse_view
    from aigiscan.features.views import ComponentsView

    report.section(
        "Geometry",
        "Mean cosine similarity over pairs of images (1: one ray) and IsoScore (0: a line, 1: all dimensions used "
        "alike; Rudman et al. 2022). The t-SNE map shows neighbourhoods; the size of a cluster and the distance "
        "between two mean nothing.",
        place=BACKGROUND,
    )
    for given in inputs:
        table = given.fitting_table()
        generators = np.where(given.labels == 1, given.names, "")
        for spec in features:
            view = parse_view(spec, table.encoder["fingerprint"])
            kept = view.kept if isinstance(view, ComponentsView) else None
            X = table.channels["embedding"] if kept is not None else view.transform(table.channels)
            name = _folder("geometry", given, inputs, spec, features)
            written = write_geometry(
                report.out / name,
                np.asarray(X),
                given.labels,
                generators,
                kept=kept,
                paths=[record.path for record in given.records],
                seed=seed,
            )
            keys = ("columns", "subset", "images", "dimensions", "mean_cosine", "isoscore", "corrected",
                    "dimensions_used")  # fmt: skip
            header = ("columns", "subset", "images", "dimensions", "mean cosine", "IsoScore", "IsoScore, corrected",
                      "dimensions used")  # fmt: skip
            rows = [[row[key] for key in keys] for row in written["rows"]]
            report.table(f"{name}_table", f"{given.name}, {spec}", header, rows)
            report.image(f"{name}/tsne.png", f"t-SNE of {given.name}, {spec}")
            shown = [row for row in rows if row[1] in ("all images", "real")]
            console.table(f"geometry: {given.name}, {spec}", header, shown)


def spectra(report: EvaluationReport, inputs: Sequence[Inputs], *, size: int) -> None:
    """Average high-pass spectra per generator, from the files themselves at native resolution (UniFD, figure 3)."""
    from aigiscan.evaluation.report import BACKGROUND
    from aigiscan.evaluation.spectra import average_spectra, write_spectra

    report.section(
        "Spectra",
        f"What a median filter takes away from the central {size} × {size} pixels, averaged over the pictures of a "
        "generator, and its Fourier transform; zero frequency in the centre. Bright points are periodic traces. "
        "Equalisation is not applied: resizing and re-encoding remove what this shows.",
        place=BACKGROUND,
    )
    for given in inputs:
        failed: dict[str, int] = {}
        found = average_spectra(_pictures(given, failed), size=size)
        if failed:
            console.warn(f"{sum(failed.values())} images of {given.name} could not be read and are in no spectrum")
        if not found:
            raise InputError(f"no image of {given.name} has {size} × {size} pixels; give a smaller --spectra-size")
        name = _folder("spectra", given, inputs)
        written = write_spectra(report.out / name, found, skipped=failed)
        report.image(f"{name}/spectra.png", f"Spectra of {given.name}")
        rows = [
            (generator, entry["images"], entry["skipped"], entry["peaks"][0]["height"] if entry["peaks"] else 0.0)
            for generator, entry in written["generators"].items()
        ]
        header = ("generator", "images", "skipped", "strongest peak over its ring's median")
        report.table(f"{name}_table", f"{given.name}: periodic traces", header, rows)


def gallery(
    report: EvaluationReport,
    name: str,
    paths: Sequence[str] | np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray,
    *,
    count: int,
) -> None:
    """The most confident rights and wrongs (paper 000, table 5) of one detector or held-out fit; none for count 0."""
    from aigiscan.evaluation.galleries import pick, write_gallery
    from aigiscan.evaluation.write import file_name

    if not count:
        return
    file = f"gallery_{file_name(name)}"
    written = write_gallery(report.out, pick(scores, labels, count=count), paths, scores, generators=sources, name=file)
    report.image(f"{file}.png", f"Most confident rights and wrongs: {name} (threshold: score 0)")
    for title, shown in written.items():
        report.pictures(f"{name}: {title}", [(one["path"], f"{one['score']:+.2f} {one['path']}") for one in shown])


def _pictures(given: Inputs, failed: dict[str, int]) -> Iterator[tuple[str, Image]]:
    from aigiscan.images.decode import decode

    names = np.where(given.labels == 1, given.names, "real")
    for record, name in console.track(
        list(zip(given.records, names.tolist(), strict=True)), total=len(names), description="spectra"
    ):
        pixels = decode(record).pixels
        if pixels is None:
            failed[name] = failed.get(name, 0) + 1
        else:
            yield name, pixels


def _folder(kind: str, given: Inputs, inputs: Sequence[Inputs], spec: str = "", features: Sequence[Any] = ()) -> str:
    """``geometry``, or with what differs behind it where there are several."""
    from aigiscan.evaluation.write import file_name

    several = [given.name] if len(inputs) > 1 else []
    several += [spec] if len(features) > 1 else []
    return "_".join([kind, *map(file_name, several)])
