"""What the commands do, for programs and notebooks: one call each, plain values in and out.

The examples are run by the tests, on a folder ``labelled`` of two cameras and two generators::

    from aigiscan import api

    store = api.embed("labelled", "store.h5")
    detector = api.fit_store(store, "my-detector")
    frame = api.to_frame(detector.scan("photos"))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import pandas

    from aigiscan.detector.detector import Detector
    from aigiscan.detector.fit import FitResult
    from aigiscan.evaluation.heldout import Figures
    from aigiscan.explain.explanation import Explanation
    from aigiscan.store import EmbeddingStore

Paths = str | Path | Sequence[str | Path]


def embed(
    pictures: str | Path,
    store: str | Path,
    *,
    encoder: str = "lite+spam",
    equalize: str = "",
    heads: bool = False,
    blocks: bool = False,
    device: str = "auto",
) -> EmbeddingStore:
    """``aigiscan embed``: a labelled folder or manifest → a store, which is gone on with if it is there.

    encoder, equalize: as on the command line. heads, blocks: also keep every attention head, the pooled token
    after every layer.

    >>> store = embed("labelled", "store.h5", encoder="color:rgb")
    >>> len(store.rows), store.read("embedding").shape[0]
    (96, 96)
    """
    from aigiscan.embedding import EmbedSettings
    from aigiscan.embedding import embed as embed_records
    from aigiscan.encoders import create_encoder
    from aigiscan.encoders.base import EncoderOptions
    from aigiscan.images.equalize import Equalization
    from aigiscan.images.labels import find_labelled
    from aigiscan.store import EmbeddingStore

    made = create_encoder(encoder, EncoderOptions(heads=heads, blocks=blocks, device=device))
    settings = EmbedSettings(Equalization.parse(equalize) if equalize else None)
    embed_records(find_labelled(str(pictures)), made, store, settings)
    return EmbeddingStore(store)


def fit_store(
    store: EmbeddingStore, output: str | Path | None = None, *, features: str = "embedding", **settings: Any
) -> Detector:
    """``aigiscan fit``: the labelled rows of a store → a detector with its figures in the card, written to ``output``.

    features: a view as on the command line. settings: of :class:`aigiscan.FitSettings`.

    >>> detector = fit_store(embed("labelled", "store.h5", encoder="color:rgb"), "my-detector", max_fpr=0.1)
    >>> detector.card.metrics["held_out"]["as they are"]["auc"][0] > 0.9
    True
    """
    from aigiscan.detector.fit import FitSettings, fit
    from aigiscan.detector.table import table_from_store
    from aigiscan.features import parse_view

    view = parse_view(features, store.fingerprint)
    given = {"name": Path(output).name} if output else {}
    table = table_from_store(store, view.channels)
    return _completed(fit(table, FitSettings(**{**given, **settings}), view), output)


def calibrate(
    detector: Detector, photographs: Paths, max_fpr: float | None = None, *, device: str = "auto"
) -> Detector:
    """``aigiscan calibrate``: the detector with its threshold for ``ai`` taken from photographs of your own.

    >>> from aigiscan import Detector
    >>> mine = calibrate(Detector.load("my-detector"), "photographs", max_fpr=0.1)
    >>> mine.card.thresholds["real_images"]
    24
    """
    from aigiscan.detector.recalibrate import recalibrate
    from aigiscan.images.find import find_images
    from aigiscan.runner import run

    encoder = detector.make_encoder(device=device)
    rows = run(find_images(_several(photographs)), encoder, equalization=detector.equalization)
    return recalibrate(detector, rows, max_fpr).detector


def select_features(
    store: EmbeddingStore, pair: tuple[str, str], output: str | Path | None = None, **options: Any
) -> list[int]:
    """``aigiscan select-features``: the components that transfer between two generators of a store.

    options: of :class:`aigiscan.search.greedy.SearchOptions`. output: the selection as a file, for
    ``fit_store(…, features="components:FILE")``.

    >>> store = embed("labelled", "store.h5", encoder="color:rgb")
    >>> kept = select_features(store, ("gan", "sd"), "kept.yaml", max_steps=2)
    >>> 0 <= store.read("embedding").shape[1] - len(kept) <= 2
    True
    """
    from aigiscan.features.selection import write_yaml
    from aigiscan.search.features import as_yaml, pair_problems, search_pairs
    from aigiscan.search.greedy import SearchOptions

    chosen = SearchOptions(**options)
    (found,) = search_pairs([pair_problems(store, pair)], chosen)
    if output is not None:
        settings = {"standardize": False, "seed": 0, "max_steps": chosen.max_steps}
        write_yaml(Path(output), as_yaml(store, found, chosen, settings))
    return [int(column) for column in found.kept]


def select_heads(
    store: EmbeddingStore, train: str, validate: str, output: str | Path | None = None, **how: Any
) -> list[tuple[int, int]]:
    """``aigiscan select-heads``: the attention heads (layer, head), from 0, that transfer between generators.

    how: ``top`` (3), ``strategy``, ``among``, ``jobs`` and ``seed`` as on the command line; the rest are options of
    :class:`aigiscan.search.greedy.SearchOptions`. output: the selection as a file, for ``features="heads:FILE"``.

    >>> store = embed("labelled", "mini.h5", encoder="mini", heads=True, device="cpu")
    >>> best = select_heads(store, "gan", "sd", "heads.yaml", top=2)
    >>> len(best), all(head < 6 for layer, head in best)
    (2, True)
    """
    from aigiscan.search.heads import head_data, store_factors

    data = head_data(store, train, validate, store_factors(store), seed=how.get("seed", 0))
    return [(layer, head) for layer, head in _select_parts("heads", store, (train, validate), data, output, how)]


def select_layers(
    store: EmbeddingStore, train: str, validate: str, output: str | Path | None = None, **how: Any
) -> list[int]:
    """``aigiscan select-layers``: the layers, from 0, whose pooled token transfers from one generator to another.

    how, output: as of :func:`select_heads`; ``top`` is 1. The store needs the channel ``blocks``.

    >>> store = embed("labelled", "blocks.h5", encoder="mini", blocks=True, device="cpu")
    >>> len(select_layers(store, "gan", "sd", "layers.yaml"))
    1
    """
    from aigiscan.search.layers import layer_data

    data = layer_data(store, train, validate, seed=how.get("seed", 0))
    found = _select_parts("layers", store, (train, validate), data, output, {"top": 1, **how})
    return [layer for (layer,) in found]


def _select_parts(
    kind: str, store: EmbeddingStore, sides: tuple[str, str], data: Any, output: str | Path | None, how: dict[str, Any]
) -> list[tuple[int, ...]]:
    from aigiscan.features.selection import write_yaml
    from aigiscan.search.greedy import SearchOptions
    from aigiscan.search.parts import as_yaml, search_parts

    kept = {name: how.pop(name) for name in ("top", "strategy", "among", "jobs") if name in how}
    seed, options = how.pop("seed", 0), SearchOptions(**how)
    found = search_parts(data, options, **kept)
    if output is not None:
        settings = {"strategy": kept.get("strategy", "top"), "tuned": False, "seed": seed}
        write_yaml(Path(output), as_yaml(kind, store.fingerprint, sides, data, found, options, settings))
    return list(found.kept)


def continue_fit(
    detector: Detector, store: EmbeddingStore, output: str | Path | None = None, **settings: Any
) -> Detector:
    """``aigiscan continue``: the detector gone on training on pictures of a store that it has not seen.

    settings: of :class:`aigiscan.FitSettings`, without classifier, parameters and rates, which are the detector's.

    >>> from aigiscan import Detector
    >>> more = continue_fit(Detector.load("my-detector"), embed("others", "others.h5", encoder="color:rgb"))
    >>> len(more.seen.fitted) > len(Detector.load("my-detector").seen.fitted)
    True
    """
    from aigiscan.detector.fit import FitSettings, fit
    from aigiscan.detector.forgotten import what_was_forgotten
    from aigiscan.detector.table import table_from_store

    detector.check_fingerprint(store.fingerprint, f"store {store.path}")
    kind, rates = detector.card.classifier, detector.calibration
    own = {"classifier": kind["name"], "params": dict(kind["params"]), "max_fpr": rates.max_fpr}
    given = {**own, "max_miss": rates.max_miss, "name": Path(output).name if output else detector.card.name}
    table = table_from_store(store, detector.view.channels)
    result = fit(table, FitSettings(**{**given, **settings}), detector.view, previous=detector)
    return _completed(replace(result, detector=what_was_forgotten(result.detector, detector, None)), output)


def stack(
    bases: Sequence[Detector], store: EmbeddingStore, output: str | Path | None = None, **settings: Any
) -> Detector:
    """``aigiscan stack``: a meta-classifier on the probabilities of detectors that all take the store's features.

    settings: of :class:`aigiscan.FitSettings`.

    >>> from aigiscan import Detector
    >>> store = embed("labelled", "store.h5", encoder="color:rgb")
    >>> bases = [Detector.load("my-detector"), fit_store(store, "neighbours", classifier="knn")]
    >>> stack(bases, store, max_fpr=0.1).view.columns([])
    ['base:my-detector', 'base:neighbours']
    """
    from aigiscan.detector.bases import stacked_view
    from aigiscan.detector.fit import FitSettings, fit
    from aigiscan.detector.table import table_from_store

    channels = sorted({channel for base in bases for channel in base.view.channels})
    table = table_from_store(store, channels)
    view = stacked_view(bases, table.encoder, table.equalization)
    given = {"name": Path(output).name} if output else {}
    return _completed(fit(table, FitSettings(**{**given, "classifier": "stacking", **settings}), view), output)


def _completed(result: FitResult, output: str | Path | None) -> Detector:
    from aigiscan.evaluation.card_metrics import complete_card

    detector = complete_card(result).detector
    return detector.save(output) if output else detector


def evaluate(detector: Detector, store: EmbeddingStore) -> Figures:
    """``aigiscan evaluate -d``: figures of a finished detector on the labelled rows of a store that it has not seen.

    InputError if there are none.

    >>> from aigiscan import Detector
    >>> figures = evaluate(Detector.load("my-detector"), embed("others", "others.h5", encoder="color:rgb"))
    >>> figures.n_real, figures.n_fake, figures.pooled_auc > 0.9
    (48, 48, True)
    """
    import numpy as np

    from aigiscan.detector.doubt import doubtful
    from aigiscan.detector.fold_choice import chose_features, seen_rows
    from aigiscan.detector.table import table_from_store
    from aigiscan.evaluation.heldout import detector_figures

    detector.check_fingerprint(store.fingerprint, f"store {store.path}")
    everything = table_from_store(store, detector.view.channels)
    table = everything.select(
        np.flatnonzero(~seen_rows(detector, everything) & ~chose_features(everything, detector.view))
    )
    if not len(table):
        raise InputError(f"{detector.card.name} has seen all {len(everything)} labelled pictures of {store.path}")
    return detector_figures(
        detector.scores(table.channels), table.label, table.names, table.groups, detector.calibration,
        units=table.sources, sides=table.sides, doubtful=doubtful(detector.card, table),
    )  # fmt: skip


def explain(
    detector: Detector, pictures: Paths, *, store: EmbeddingStore | None = None, device: str = "auto", **shown: Any
) -> list[Explanation]:
    """``aigiscan explain``: why each picture has its score. store: known pictures for neighbours.

    shown: ``neighbours``, ``top_heads``, ``windows`` of :class:`aigiscan.explain.images.Explainer`;
    :func:`aigiscan.explain.write.write_explanations` makes the page of them.

    >>> from aigiscan import Detector
    >>> why = explain(Detector.load("my-detector"), "photographs")
    >>> len(why), sorted(why[0].parts)
    (24, ['color:rgb', 'intercept'])
    """
    from aigiscan.explain.images import Explainer, load_for_explaining
    from aigiscan.images.find import find_images

    explainer = Explainer(detector, load_for_explaining(detector, device=device), store=store, **shown)
    return list(explainer.explain_all(find_images(_several(pictures))))


def report(scan_report: str | Path, html: str | Path, *, thumbnails: str | Path | None = None) -> Path:
    """``aigiscan report``: the CSV or JSON-lines report of a scan → one page with thumbnails; the page's path.

    thumbnails: a folder for them beside the page; in the page without it.

    >>> import subprocess, sys
    >>> scan = [sys.executable, "-m", "aigiscan", "scan", "photographs", "-d", "my-detector", "-o", "report.csv"]
    >>> subprocess.run(scan, check=True, capture_output=True).returncode
    0
    >>> "photographs" in report("report.csv", "report.html").read_text(encoding="utf-8")
    True
    """
    from aigiscan.reports.page import ReportPage, read_report

    rows, meta = read_report(Path(scan_report))
    beside = None if thumbnails is None else Path(thumbnails)
    return ReportPage(rows, meta, f"Report of {len(rows)} pictures", beside, None).write(Path(html))


def label_by_claims(pictures: Paths, output: str | Path, *, deep: bool = False) -> dict[str, int]:
    """``aigiscan label-by-claims``: a manifest of the pictures that claim an origin; how many are what.

    deep: pixels are read for marks too. InputError if no file claims anything that labels it.

    >>> try:
    ...     label_by_claims("photographs", "claimed.csv")
    ... except InputError as error:
    ...     print(str(error).split(";")[0])
    none of 24 files claims anything that labels it
    """
    from aigiscan.images.find import find_images
    from aigiscan.images.origin import label_by_claims, read_origins
    from aigiscan.provenance import ProvenanceReader

    origins = read_origins(find_images(_several(pictures)), ProvenanceReader.plain(), deep=deep)
    return dict(label_by_claims(origins, Path(output)))


def to_frame(rows: Iterable[Any] | EmbeddingStore) -> pandas.DataFrame:
    """Verdicts, figures or the row table of a store as a pandas table, one row each.

    MissingDependencyError without pandas (``pip install 'aigiscan[pandas]'``); InputError for what has no columns.

    >>> from aigiscan import Detector
    >>> frame = to_frame(Detector.load("my-detector").scan("photographs"))
    >>> frame.shape[0], "verdict" in frame, to_frame(embed("labelled", "store.h5", encoder="color:rgb")).label.sum()
    (24, True, np.int64(48))
    """
    from aigiscan.store import EmbeddingStore
    from aigiscan.store.layout import COLUMNS

    try:
        import pandas
    except ImportError:
        raise MissingDependencyError("tables need pandas: pip install 'aigiscan[pandas]'") from None
    if isinstance(rows, EmbeddingStore):
        return pandas.DataFrame({name: getattr(rows.rows, name) for name in COLUMNS})
    found = list(rows)
    if not all(is_dataclass(row) for row in found):
        raise InputError("a table is made of verdicts, figures or a store, not of " + type(found[0]).__name__)
    return pandas.DataFrame(
        [{field.name: getattr(row, field.name) for field in fields(row)} for row in found],
        columns=[field.name for field in fields(found[0])] if found else None,
    )


def _several(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)
