"""Channels ↔ HDF5."""
