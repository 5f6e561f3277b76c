"""Links in emails: minted while a message is composed, and kept nowhere else."""

from reach.access.links import SCOPES, Link, Links
from reach.messages.model import Message

#: The longest first.
UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60))


class CannotLink(ValueError):  # noqa: N818 - an expected failure, as Problem is
    """A template asks for a link that cannot be given; ``args[0]`` says why, fit to be stored."""


class MessageLinks:
    """What templates know as ``link``: ``link("manage")`` is an address.

    Asked again, it gives the same: text and HTML are one email, and a copy of it is the same.
    """

    __slots__ = ("_links", "_made_at", "_minted", "_person_id", "_version")

    def __init__(self, links: Links | None, message: Message) -> None:
        """Take what mints, if there is a key to sign with, and whose message it is."""
        self._links = links
        self._person_id = message.person_id
        self._version = message.links_version
        self._made_at = message.created_at.timestamp()
        self._minted: dict[str, str] = {}

    def __call__(self, scope: str) -> str:
        """Give the link with a scope. Raises CannotLink."""
        found = self._minted.get(scope)
        if found is None:
            found = self._minted[scope] = self._mint(scope)
        return found

    def _mint(self, scope: str) -> str:
        known = next((known for known in SCOPES if known == scope), None)
        if known is None:
            raise CannotLink(f"there is no such link; there are: {', '.join(SCOPES)}")
        if self._links is None:
            raise CannotLink("links need REACH_SECRET_KEY")
        if self._version is None:
            raise CannotLink("a message has links once it is leased")
        return self._links.url(Link(self._person_id, known, self._version), self._made_at)

    def __str__(self) -> str:
        """Refuse to be printed: a template forgot to say which link. Raises CannotLink."""
        raise CannotLink('say which link: link("manage"), link("confirm")')


def lasts(seconds: float) -> str:
    """Say in words how long a link works: in whole units, and never more than it does."""
    for unit, length in UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return "a minute"
