"""The schema's history: expand first, contract a release later."""
