"""The URLs of where reports come in: what Reach listens at, and the mailbox that it reads."""

from dataclasses import dataclass, field, replace
from typing import Literal

from reach.network.hosts import Place, is_loopback
from reach.settings.urls import Login, Security, ServerUrl, decoded, shown

Protocol = Literal["lmtp", "smtp"]
LMTP_PORT, SMTP_PORT = 24, 25
UNIX = "lmtp+unix://"
#: What the system takes for the path of a socket.
UNIX_BYTES = 107

IMAP_SCHEMES: dict[str, tuple[Security, int]] = {
    "imap": ("plain", 143),
    "imaps": ("tls", 993),
    "imap+starttls": ("starttls", 143),
}
INBOX = "INBOX"
UNENCRYPTED = (
    "REACH_BOUNCE_MAILBOX_URL would send its password unencrypted: use imaps:// or imap+starttls://"
)


@dataclass(frozen=True, slots=True)
class Bind:
    """Where Reach listens for reports: a host and a port, or the ``path`` of a Unix socket."""

    protocol: Protocol
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Bind":
        """Read ``lmtp://host:port``, ``smtp://host:port`` or ``lmtp+unix:///path``.

        Raises ValueError.
        """
        if text.startswith(UNIX):
            path = text.removeprefix(UNIX)
            if not path.startswith("/") or len(path.encode()) > UNIX_BYTES or "\0" in path:
                raise ValueError("must be like lmtp+unix:///run/reach/inbound.sock")
            return cls("lmtp", path=path)
        url = ServerUrl.parse(text)
        if url.login or url.path not in ("", "/") or url.parameters is not None:
            raise ValueError("must hold a host and a port, and nothing else")
        if url.scheme == "lmtp":
            return cls("lmtp", url.place.host, url.place.port or LMTP_PORT)
        if url.scheme == "smtp":
            return cls("smtp", url.place.host, url.place.port or SMTP_PORT)
        raise ValueError("must start with lmtp://, lmtp+unix:// or smtp://")

    def __str__(self) -> str:
        """Write it for people."""
        return f"the socket {self.path}" if self.path else f"{self.host}, port {self.port}"


@dataclass(frozen=True, slots=True)
class ImapUrl:
    """A mailbox at an IMAP server. ``folder`` is in ASCII, as the server writes it."""

    host: str
    port: int
    security: Security
    folder: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "ImapUrl":
        """Read ``imaps://[user:password@]host[:port][/folder]``, ``imap+starttls://``, ``imap://``.

        Raises ValueError, with words that do not repeat the URL (it may hold a password).
        """
        url = ServerUrl.parse(text)
        if url.scheme not in IMAP_SCHEMES:
            raise ValueError("must start with imaps://, imap+starttls:// or imap://")
        security, default_port = IMAP_SCHEMES[url.scheme]
        folder = decoded(url.path.removeprefix("/")) or INBOX
        if url.parameters is not None or not (folder.isascii() and folder.isprintable()):
            raise ValueError("may end in the name of a folder, in ASCII as the server writes it")
        login = url.login
        place = url.place
        port = place.port or default_port
        return cls(place.host, port, security, folder, login.user, login.password)

    @property
    def login(self) -> Login:
        """Who logs in with what."""
        return Login(self.username, self.password)

    def with_login(self, login: Login) -> "ImapUrl":
        """Have another log in."""
        return replace(self, username=login.user, password=login.password)

    def require_login(self) -> None:
        """Refuse a mailbox that nobody logs in to. Raises ValueError."""
        if self.username is None or self.password is None:
            raise ValueError(
                "REACH_BOUNCE_MAILBOX_URL: needs a user and a password: they may be in "
                "REACH_BOUNCE_MAILBOX_USER and REACH_BOUNCE_MAILBOX_PASSWORD"
            )

    @property
    def tells_its_password(self) -> bool:
        """Whether the password would go over a network, unencrypted."""
        return self.security == "plain" and not is_loopback(self.host)

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        scheme = next(name for name, (kind, _) in IMAP_SCHEMES.items() if kind == self.security)
        places = [Place(self.host, self.port)]
        return f"{shown(scheme, places, has_login=bool(self.login))}/{self.folder}"
