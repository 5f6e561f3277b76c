"""A key or a link token, which nothing shows by accident."""


class Secret:
    """Text that goes into one header, and nowhere else: not into ``repr``, ``str`` or a pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take the text, without the line break that a file of it may end in.

        Raises ValueError if it cannot be sent: httpx would raise too, and quote all of it.
        """
        self._text = text.strip()
        if not self._text or not self._text.isascii() or not self._text.isprintable():
            raise ValueError("A key or token is one line of printable ASCII; this one is not")

    @property
    def header(self) -> str:
        """The value of ``Authorization``."""
        return f"Bearer {self._text}"

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str:
        raise TypeError("A secret is not pickled")
