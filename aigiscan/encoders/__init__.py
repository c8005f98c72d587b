"""Pixels → channels. The registry: one line per encoder kind, imported when it is used."""
