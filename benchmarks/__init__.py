"""Measurements, each beside its limit on the same machine; see docs/reference/speed.md."""
