"""Channels ↔ HDF5."""

from __future__ import annotations

from aigiscan.store.files import is_store
from aigiscan.store.lookup import StoreCache
from aigiscan.store.reader import EmbeddingStore, Rows
from aigiscan.store.writer import StoreWriter

__all__ = ["EmbeddingStore", "Rows", "StoreCache", "StoreWriter", "is_store"]
