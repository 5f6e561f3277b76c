"""Opening a connection to the mail server: connect, EHLO, TLS, login, by aiosmtplib."""

import ssl
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiosmtplib
import anyio

from reach.messages.connection import Connection
from reach.messages.outcome import Paused
from reach.messages.reply import NoReply, Reply, outcome
from reach.network.sockets import open_socket
from reach.settings import BadSettings, Settings
from reach.urls import SmtpUrl, parse_mailbox

if TYPE_CHECKING:
    import asyncio

#: How long the network may take to reach the server, as in Postfix (smtp_connect_timeout): RFC
#: 5321's minutes are for a server that is there.
CONNECT_SECONDS = 30
#: What opening may raise. The last two: aiosmtplib's, if the peer goes between two of its steps.
FAILURES = (aiosmtplib.SMTPException, OSError, ValueError, NoReply, RuntimeError, AttributeError)


class Opener:
    """Opens connections to one mail server: never with less security than its URL says."""

    def __init__(self, settings: Settings, server: SmtpUrl) -> None:
        """Load what TLS needs, once. Raises BadSettings if the CA file cannot be used."""
        self._server = server
        self._seconds = settings.smtp_greeting_seconds
        # EHLO's name: the sender's domain. It costs no look-up (socket.getfqdn may block for
        # seconds), is the same on every replica, and is a real domain where a pod's is not.
        self._name = parse_mailbox(settings.mail_from).domain
        self._context = None if server.security == "plain" else _trust(settings.smtp_ca_file)
        self._secrets = _secret_words(server)

    async def open(self) -> Connection | Paused:
        """Connect, encrypt, greet and log in; or say why no message can be sent now."""
        opened: list[Connection | Paused] = []

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

    async def _try(self) -> Connection | Paused:
        client = aiosmtplib.SMTP(
            hostname=self._server.host,  # whose certificate it must be
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
            return Connection(client)
        except BaseException as error:
            if transport is not None:
                cast("asyncio.Transport", transport).abort()
            if isinstance(error, FAILURES):
                return self._paused(stage, error)
            raise

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """Connect to the first address that answers, encrypt, and hear the greeting."""
        seconds = min(CONNECT_SECONDS, self._seconds)
        connected = await open_socket(self._server.host, self._server.port, seconds=seconds)
        try:
            await client.connect(sock=connected)
        except BaseException:
            connected.close()
            raise

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        """Try one way of logging in, so that a wrong password counts once at the server."""
        known = ["plain", "login", "cram-md5"]
        if self._server.security == "plain":
            known = ["cram-md5", "plain", "login"]
        client.server_auth_methods = [m for m in known if m in client.server_auth_methods][:1]
        await client.login(self._server.username or "", self._server.password or "")

    def _paused(self, stage: str, error: Exception) -> Paused:
        code, words = 0, str(error) or type(error).__name__
        if isinstance(error, aiosmtplib.SMTPResponseException):
            code, words = error.code, error.message.replace("\n", " ")
        if any(secret in words for secret in self._secrets):
            words = "(what the server said is withheld: it repeats the password)"
        # aiosmtplib's own code for what is no reply at all is -1.
        said = Reply(code, words) if code > 0 else words
        return outcome(Paused, stage, said)


def _trust(file: Path | None) -> ssl.SSLContext:
    """Make what verifies a server's certificate and its name."""
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise BadSettings(f"REACH_SMTP_CA_FILE cannot be used: {error}") from None


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
