"""What ``fit``, ``continue`` and ``stack`` share: labelled data → tables, and a result → card, table, folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.cli import console
from aigiscan.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from aigiscan.detector.detector import Detector
    from aigiscan.detector.fit import FitResult, FitSettings
    from aigiscan.detector.table import FitTable
    from aigiscan.encoders.base import Encoder
    from aigiscan.images.records import FileFacts, ImageRecord


def all_stores(paths: Sequence[str]) -> bool:
    """Whether the data are stores; InputError for a mixture, or for several folders."""
    from aigiscan.store import is_store

    stores = [is_store(path) for path in paths]
    if any(stores) and not all(stores):
        raise InputError("give stores, or one labelled folder or manifest, not both")
    if len(paths) > 1 and not all(stores):
        raise InputError("give one labelled folder or manifest, or only stores; a manifest can name several folders")
    return bool(paths) and all(stores)


def store_tables(
    paths: Sequence[str], also: Sequence[str], channels: Sequence[str], detector: Detector | None = None
) -> list[FitTable]:
    """Stores of different pictures as one table, then one more per equalisation of the stores in ``also``.

    detector: whose features they must hold. Stores among ``paths`` that are equalised otherwise than the first are
    taken for ``also`` (as versions before did), which is said.
    """
    from aigiscan.detector.table import aligned, concatenated

    by_spec: dict[str, list[FitTable]] = {}
    for path in (*paths, *also):
        table = _store_table(path, channels, detector)
        by_spec.setdefault(table.equalization, []).append(table)
        other = table.equalization != next(iter(by_spec))
        if path in also and not other:
            raise InputError(
                f"--also takes the same pictures under another equalisation than {table.equalization or 'none'}; "
                "stores of other pictures are given beside the first"
            )
        if path not in also and other:
            console.note(f"{path} holds pictures under another equalisation; the spelling is now --also {path}")
    first, *others = (concatenated(tables) for tables in by_spec.values())
    return [first, *(aligned(other, first) for other in others)]


def _store_table(path: str, channels: Sequence[str], detector: Detector | None) -> FitTable:
    from aigiscan.detector.table import table_from_store
    from aigiscan.store import EmbeddingStore

    with EmbeddingStore(path) as store:
        if detector is not None:
            detector.check_fingerprint(store.fingerprint, f"store {path}")
        return table_from_store(store, channels)


def picture_tables(
    data: str | Sequence[ImageRecord], equalize: Sequence[str], encoder: Encoder, running: dict[str, Any]
) -> list[FitTable]:
    """Pictures embedded, once per equalisation; it is said before if file facts alone tell the label."""
    from aigiscan.cli.tables import embed_labelled

    tables: list[FitTable] = []
    for spec in equalize or [""]:
        records, facts, table = embed_labelled(data, encoder, spec, running, quiet=bool(tables))
        if not tables and not spec:
            _short_audit(records, facts)
        tables.append(table)
    return tables


def data_for(detector: Detector, paths: Sequence[str], running: dict[str, Any]) -> list[FitTable]:
    """Stores or pictures as a detector takes them: its encoder, its equalisations."""
    if all_stores(paths):
        return store_tables(paths, [], detector.view.channels, detector)
    return picture_tables(paths[0], detector.equalizations, detector.make_encoder(device=running["device"]), running)


def _short_audit(records: Sequence[ImageRecord], facts: Sequence[FileFacts]) -> None:
    from aigiscan.images.audit import audit
    from aigiscan.images.measure import Measured

    found = audit([Measured(record, fact) for record, fact in zip(records, facts, strict=True)])
    for line in found.findings:
        console.warn(line)


def words_for(settings: FitSettings, table: FitTable) -> np.ndarray | None:
    """Text features, where the classifier uses them."""
    from aigiscan.classifiers import make_classifier
    from aigiscan.cli.tables import text_features

    return text_features(make_classifier(settings.classifier, **dict(settings.params)), table)


def finish(result: FitResult, output: Path) -> Detector:
    """Figures into the card and onto standard error, the detector into its folder."""
    from aigiscan.evaluation.card_metrics import complete_card

    detector, heading, rows = complete_card(result)
    detector.save(output)
    console.table(heading, ("measure", "value", "95 % interval"), rows)
    for warning in detector.calibration.warnings:
        console.warn(warning)
    console.note(f"wrote {output}; use it with: aigiscan scan FOLDER --detector {output} > report.csv")
    return detector
