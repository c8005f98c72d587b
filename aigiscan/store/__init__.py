"""Channels ↔ HDF5, rows ↔ SQLite."""

from __future__ import annotations

from aigiscan.store.reader import EmbeddingStore, Rows, is_store
from aigiscan.store.writer import StoreWriter

__all__ = ["EmbeddingStore", "Rows", "StoreWriter", "is_store"]
