"""Opening a connection to the mail server: reached, encrypted, greeted and logged in at."""

import ssl
from base64 import b64encode
from typing import TYPE_CHECKING, cast

import aiosmtplib
import anyio

from reach.messages.outcome import Unavailable
from reach.network.sockets import open_socket
from reach.settings import BadSettings, Settings
from reach.settings.urls import SmtpUrl, parse_mailbox
from reach.smtp.connection import Connection, NoReply, Reply, outcome
from reach.smtp.oauth import NoToken, Tokens, tokens_of

if TYPE_CHECKING:
    import asyncio

#: How long the network may take to reach the server, as in Postfix (smtp_connect_timeout): RFC
#: 5321's minutes are for a server that is there.
CONNECT_SECONDS = 30
#: The server's no to a login (RFC 4954 §6).
REFUSED = 535
WITHHELD = "(what the server said is withheld: it repeats the password)"
#: What opening may raise. The last two: aiosmtplib's, if the peer goes between two of its steps.
FAILURES = (
    *(aiosmtplib.SMTPException, OSError, ValueError, NoReply, NoToken),
    *(RuntimeError, AttributeError),
)


class Opener:
    """Opens connections to one mail server: never with less security than its URL says."""

    def __init__(
        self,
        settings: Settings,
        server: SmtpUrl,
        *,
        tokens: Tokens | None = None,
        connect_seconds: float | None = None,
    ) -> None:
        """Load what TLS needs, once. Raises BadSettings if a file cannot be used.

        ``tokens`` log in where the server wants one; without them, some are made.
        """
        self._settings, self._server = settings, server
        self._seconds = settings.smtp_greeting_seconds
        if connect_seconds is not None:
            # Another server waits: one that is reached and says nothing is not there either.
            self._seconds = min(self._seconds, connect_seconds)
        self._connect_seconds = min(CONNECT_SECONDS, self._seconds)
        self._tokens = (tokens or tokens_of(settings)) if server.uses_token else None
        # EHLO's name: the sender's domain. It costs no look-up (socket.getfqdn may block for
        # seconds), is the same on every replica, and is a real domain where a pod's is not.
        self._name = parse_mailbox(settings.mail_from).domain
        self._context = None if server.security == "plain" else _trust(settings)
        self._secrets = _secret_words(server)

    async def open(self) -> Connection | Unavailable:
        """Connect, encrypt, greet and log in; or say why no message can be sent now."""
        opened: list[Connection | Unavailable] = []

        async def attempt() -> None:
            opened.append(await self._try())

        # As a task of its own, because anyio repeats a cancellation until it is heeded: before
        # Python 3.12, asyncio.wait_for (in aiosmtplib) loses one that comes just as it ends.
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(attempt)
        except BaseException:
            for result in opened:
                if isinstance(result, Connection):
                    result.abort()
            raise
        return opened[0]

    async def _try(self) -> Connection | Unavailable:
        client = aiosmtplib.SMTP(
            hostname=self._server.verify_name or self._server.host,  # whose certificate it must be
            local_hostname=self._name,
            timeout=self._seconds,
            use_tls=self._server.security == "tls",
            start_tls=False,
            tls_context=self._context,
        )
        stage = "connect"
        transport: asyncio.BaseTransport | None = None
        try:
            await self._connect(client)
            transport = client.transport
            stage = "EHLO"
            await client.ehlo()
            if self._server.security == "starttls":
                stage = "STARTTLS"
                await client.starttls()
                transport = client.transport
                stage = "EHLO"
                await client.ehlo()
            if self._server.username is not None:
                stage = "AUTH"
                await self._log_in(client)
            return Connection(client, self._settings)
        except BaseException as error:
            if transport is not None:
                cast("asyncio.Transport", transport).abort()
            if isinstance(error, FAILURES):
                return self._unavailable(stage, error)
            raise

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """Connect to the first address that answers, encrypt, and hear the greeting."""
        seconds, server = self._connect_seconds, self._server
        connected = await open_socket(server.host, server.port, seconds=seconds)
        try:
            await client.connect(sock=connected)
        except BaseException:
            connected.close()
            raise

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        """Try one way of logging in, so that a wrong password counts once at the server."""
        if self._tokens is not None:
            await self._log_in_by_token(client, self._tokens)
            return
        known = ["plain", "login", "cram-md5"]
        if self._server.security == "plain":
            known = ["cram-md5", "plain", "login"]
        client.server_auth_methods = [m for m in known if m in client.server_auth_methods][:1]
        await client.login(self._server.username or "", self._server.password or "")

    async def _log_in_by_token(self, client: aiosmtplib.SMTP, tokens: Tokens) -> None:
        """Log in by a token; by another one, once, if that is refused: it may have been revoked."""
        if "xoauth2" not in client.server_auth_methods:
            raise NoToken("the mail server does not offer XOAUTH2")
        user, token = self._server.username or "", await tokens.token()
        try:
            await client.auth_xoauth2(user, token)
        except aiosmtplib.SMTPAuthenticationError as error:
            if error.code != REFUSED:
                raise
            await client.auth_xoauth2(user, await tokens.token(refused=token))

    def _unavailable(self, stage: str, error: Exception) -> Unavailable:
        code, words = 0, str(error) or type(error).__name__
        if isinstance(error, aiosmtplib.SMTPResponseException):
            code, words = error.code, error.message.replace("\n", " ")
        secrets = self._secrets
        if self._tokens is not None:
            secrets = self._tokens.spelled(self._server.username or "")
        if any(secret in words for secret in secrets):
            words = WITHHELD
        # aiosmtplib's own code for what is no reply at all is -1.
        said = Reply(code, words) if code > 0 else words
        return outcome(Unavailable, stage, said)


def _trust(settings: Settings) -> ssl.SSLContext:
    """Make what verifies a server's certificate and its name, and shows it ours."""
    try:
        context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    except OSError as error:
        raise BadSettings(f"REACH_SMTP_CA_FILE cannot be used: {error}") from None
    if settings.smtp_cert_file is not None:
        try:
            # The empty password: without one, OpenSSL would ask for it at the terminal.
            context.load_cert_chain(settings.smtp_cert_file, settings.smtp_key_file, "")
        except (OSError, ValueError) as error:
            names = "REACH_SMTP_CERT_FILE, REACH_SMTP_KEY_FILE"
            raise BadSettings(f"{names} cannot be used: {error}") from None
    return context


def _secret_words(server: SmtpUrl) -> tuple[str, ...]:
    """Spell the password as a server could repeat it: in clear, and as it went on the wire."""
    if not server.password:
        return ()
    password = server.password.encode()
    plain = b"\0".join((b"", (server.username or "").encode(), password))
    return (
        server.password,
        *(b64encode(secret).decode().rstrip("=") for secret in (password, plain)),
    )
