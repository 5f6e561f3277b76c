"""Texts for people: marked where they stand, and translated where they are shown."""


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues (see ``reach.languages``); it stays as it is."""
    return text
