"""The links that templates print."""

import gettext
from collections.abc import Callable, Mapping

from reach.auth.links import ALL, Link, Links, Scope
from reach.messages.model import NOTICE, Message

#: The longest first, and how each is said of one and of several.
UNITS: tuple[tuple[int, Callable[[gettext.NullTranslations, int], str]], ...] = (
    (86_400, lambda said, n: said.ngettext("%(num)s day", "%(num)s days", n)),
    (3600, lambda said, n: said.ngettext("%(num)s hour", "%(num)s hours", n)),
    (60, lambda said, n: said.ngettext("%(num)s minute", "%(num)s minutes", n)),
)


class CannotLink(ValueError):
    """A template asks for a link that cannot be given; ``args[0]`` says why, fit to be stored."""


#: Which links the readers of most emails may have, who are who the record is of …
USUAL: tuple[Scope, ...] = ("confirm", "manage")
#: … those of emails that they may stop besides …
STOPPABLE: tuple[Scope, ...] = (*USUAL, "unsubscribe")
#: … and those of emails that go to somebody who may be somebody else.
LINKS_OF: Mapping[str, tuple[Scope, ...]] = {"confirm-address": ("address",), "address-changed": ()}


class MessageLinks:
    """What templates know as ``link``: ``link("manage")`` is an address.

    Asked again, it gives the same: text and HTML are one email, and a copy of it is the same.
    """

    __slots__ = ("_links", "_made_at", "_minted", "_number", "_person_id", "_scopes", "_version")

    def __init__(
        self, links: Links | None, message: Message, *, is_stoppable: bool = False
    ) -> None:
        """Take what mints, if there is a key to sign with, and whose message it is.

        ``is_stoppable``: people may unsubscribe from messages like this one.
        """
        self._links = links
        self._person_id = message.person_id
        # A notice goes to somebody else than the person it names.
        self._version = None if message.template == NOTICE else message.links_version
        self._scopes = STOPPABLE if is_stoppable else LINKS_OF.get(message.template, USUAL)
        self._number = message.data.get("change")
        self._made_at = message.created_at.timestamp()
        self._minted: dict[str, str] = {}

    def __call__(self, scope: str) -> str:
        """Give the link with a scope. Raises CannotLink."""
        if (found := self._minted.get(scope)) is not None:
            return found
        if scope not in self._scopes:
            known = ", ".join(self._scopes) or "none in this email"
            if scope == "unsubscribe":
                known += ". REACH_UNSUBSCRIBE_TEMPLATES does not name this template"
            raise CannotLink(f"there is no such link; there are: {known}")
        if self._links is None:
            raise CannotLink("links need REACH_SECRET_KEY")
        if self._version is None or self._person_id is None:
            raise CannotLink("a message to a person has links once it is leased; a notice has none")
        version: object = self._version
        if scope == "address":
            version = self._number
        elif scope == "unsubscribe":
            version = ALL
        if type(version) is not int:
            raise CannotLink("it is for a change of address, and this message is for none")
        link = Link(self._person_id, scope, version)
        self._minted[scope] = made = self._links.url(link, self._made_at)
        return made

    def __str__(self) -> str:
        """Refuse to be printed: a template forgot to say which link. Raises CannotLink."""
        raise CannotLink('say which link: link("manage"), link("confirm")')


def lasts(seconds: float, said: gettext.NullTranslations) -> str:
    """Say in words how long a link works: in whole units, and never more than it does."""
    for length, words in UNITS:
        if seconds >= 2 * length:
            number = int(seconds // length)
            return words(said, number) % {"num": number}
    return said.gettext("a minute")
