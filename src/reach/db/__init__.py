"""The only place that opens and commits transactions."""
