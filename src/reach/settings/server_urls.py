"""The URL of a server, taken apart: one way for the database, mail and Redis.

Passwords are pasted as providers show them, so ``/ ? # [ @`` may stand in one as they are, although
RFC 3986 wants them encoded: what is before the *last* ``@`` says who logs in. No error repeats
any of it, as any of it may be a part of a password.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from reach.network.hosts import Place

MASK = "********"
ENCODED = "/ as %2F, ? as %3F, # as %23, @ as %40, : as %3A, % as %25"
TWO_WAYS = (
    f"can be read in two ways: in a user or a password write {ENCODED} (or set the password in its "
    "own variable), and behind the host @ as %40, # as %23"
)
NOT_TEXT = f"holds a % that begins no character of UTF-8: in a user or a password write {ENCODED}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in with what; None is what is not said. It shows neither.

    Some providers' users are secret too: with Postmark, user and password are one token.
    """

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return self.user is not None or self.password is not None


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """``scheme://[user[:password]@]host[:port][,host[:port]…][/path][?parameters]``.

    The login is percent-decoded; ``path`` (with its slash) and ``parameters`` are as written,
    None if there is no ``?``.
    """

    scheme: str
    login: Login
    places: tuple[Place, ...]
    path: str
    parameters: str | None

    @classmethod
    def parse(cls, text: str, *, has_more: bool = False) -> "ServerUrl":
        """Take it apart. ``has_more`` says whether a name and parameters may follow the host.

        Raises ValueError, with words that repeat nothing.
        """
        scheme, _, rest = text.strip().partition("://")
        login, where = _divide(rest, has_more=has_more)
        hosts, tail = _cut(where)
        if "#" in tail:
            raise ValueError("must not hold a # behind its host: write it as %23")
        path, mark, parameters = tail.partition("?")
        user, _, password = login.partition(":")
        return cls(
            scheme=scheme.lower(),
            login=Login(decoded(user) or None, decoded(password) or None),
            places=tuple(_place(part) for part in hosts.split(",")),
            path=path,
            parameters=parameters if mark else None,
        )

    @property
    def place(self) -> Place:
        """Its one host and port. Raises ValueError if there is none, or several."""
        if len(self.places) > 1:
            raise ValueError("must name one host")
        if not self.places[0].host:
            raise ValueError("names no host")
        return self.places[0]


def decoded(text: str) -> str:
    """Percent-decode. Raises ValueError without repeating it."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(NOT_TEXT) from None
    if "\0" in plain:
        raise ValueError("must not hold %00")
    return plain


def shown(scheme: str, places: Sequence[Place], *, has_login: bool) -> str:
    """Write a URL up to its path, without who logs in."""
    return f"{scheme}://{f'{MASK}@' if has_login else ''}{','.join(map(str, places))}"


def _divide(rest: str, *, has_more: bool) -> tuple[str, str]:
    """Divide who logs in from where to, at the last ``@``.

    ``has_more`` says that there may be an ``@`` behind the host too. Raises ValueError if what is
    before the last ``@`` already makes a whole URL: ``reach:12/3@db`` may be a host, port and name.
    """
    login, _, where = rest.rpartition("@")
    head, _ = _cut(rest)
    if not has_more or len(head) >= len(login):
        return login, where
    if not head:  # postgresql:///name?user=me@example: there is no host, so nobody before it
        return "", rest
    if _are_places(head.rpartition("@")[2]):
        raise ValueError(TWO_WAYS)
    return login, where


def _cut(text: str) -> tuple[str, str]:
    """Cut before the first of what ends a host."""
    end = re.search(r"[/?#]|$", text)
    at = end.start() if end else len(text)
    return text[:at], text[at:]


def _are_places(text: str) -> bool:
    try:
        for part in text.split(","):
            _place(part)
    except ValueError:
        return False
    return True


def _place(text: str) -> Place:
    """Read a place; a percent-encoded path is the folder of a socket (as in libpq)."""
    host, _, port = text.partition(":")
    if host[:3].upper() != "%2F":
        return Place.parse(text)
    return replace(Place.parse(f"socket:{port}"), host=decoded(host))
