"""Records → decoded, equalised, prepared inputs, read ahead by a few threads and given back in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aigiscan.encoders.base import Encoder
from aigiscan.errors import InputError
from aigiscan.images.ahead import in_order
from aigiscan.images.decode import DEFAULT_MAX_PIXELS, PLAIN_READER, decode
from aigiscan.images.equalize import Equalization
from aigiscan.images.records import DecodedImage, FileFacts, ImageRecord
from aigiscan.provenance import ProvenanceReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


class Cache(Protocol):
    """What has been encoded before (:class:`aigiscan.store.StoreCache`)."""

    def find(self, record: ImageRecord) -> tuple[int, FileFacts] | None:
        """Where this file's channels are; called in loader threads."""

    def read_rows(self, rows: Sequence[int]) -> Mapping[str, np.ndarray]:
        """Channels of some of those places, name → (len(rows), \\*shape)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file before the encoder: an input for it, a row of the cache (≥ 0), or an error."""

    record: ImageRecord
    facts: FileFacts
    input: Any = None
    row: int = -1
    error: str = ""

    @property
    def to_encode(self) -> bool:
        """Whether the encoder has work with it."""
        return not self.error and self.row < 0


@dataclass(frozen=True, slots=True)
class Loader:
    """What happens to one file before the encoder, and the threads that do it."""

    encoder: Encoder
    equalization: Equalization | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    cache: Cache | None = None
    decode: Callable[..., DecodedImage] = decode
    reader: ProvenanceReader = PLAIN_READER

    def load(self, record: ImageRecord) -> Loaded:
        """One file; whatever is wrong with it becomes an error of its row."""
        hit = self.cache.find(record) if self.cache is not None and not record.error else None
        if hit is not None:
            return Loaded(record, hit[1], row=hit[0])
        least_side = self.equalization.least_side if self.equalization is not None else 0
        image = self.decode(record, max_pixels=self.max_pixels, least_side=least_side, reader=self.reader)
        if image.pixels is None:
            return Loaded(record, image.facts, error=image.error)
        try:
            prepared = self.encoder.prepare_record(record, image.pixels, self.equalization, image.size)
            return Loaded(record, image.facts, input=prepared)
        except InputError as error:  # what lies beside the picture
            return Loaded(record, image.facts, error=str(error))
        # What one picture's size or content can cause. Anything else is a mistake in the program and must be seen.
        except (OSError, ValueError, ArithmeticError, MemoryError) as error:
            return Loaded(record, image.facts, error=f"cannot be prepared: {type(error).__name__}: {error}")

    def load_all(self, records: Iterable[ImageRecord], workers: int, ahead: int) -> Generator[Loaded, None, None]:
        """All files in order, at most ``ahead`` of them loaded and not yet taken; 0 workers: in this thread."""
        return in_order(self.load, records, workers, ahead)
