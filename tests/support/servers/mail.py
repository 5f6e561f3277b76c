"""A real SMTP server that a test can script: what to answer, where to hang, when to vanish.

    async with MailServer() as server:
        server.script["rcpt"] = "450 4.2.1 busy"    # a reply, DROP, SILENCE, GARBAGE, a callable
        gate = server.gate("dot")                   # sessions stop here until gate.open()
        …
        assert server.messages[0].recipient == "ada@example.com"

Stages, each before its answer: greeting, ehlo, starttls, auth, mail, rcpt, data, data-content
(some of the content has come), dot, accepted (the message is stored, the reply not yet sent),
rset, noop, quit.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self
from urllib.parse import quote

import trustme

from tests.support.servers.mail_session import Behaviour, Reply, Session

__all__ = [
    "DROP",
    "GARBAGE",
    "SILENCE",
    "Authority",
    "Gate",
    "MailServer",
    "ReceivedMail",
    "Reply",
    "Script",
    "once",
]

DROP, SILENCE, GARBAGE = Behaviour.DROP, Behaviour.SILENCE, Behaviour.GARBAGE

#: What to answer at a stage; a callable gets the session and the command's argument.
Script = Reply | Callable[[Session, str], Reply | Awaitable[Reply]]


def once(*replies: Reply) -> Callable[[Session, str], Reply]:
    """Answer with each of ``replies`` in turn, then as usual."""
    left = list(replies)
    return lambda _session, _argument: left.pop(0) if left else None


@dataclass(frozen=True)
class ReceivedMail:
    """A message that the server took. ``content`` is as sent, less the dot-stuffing."""

    sender: str
    recipient: str
    parameters: str
    content: bytes
    received_at: datetime

    @cached_property
    def headers(self) -> EmailMessage:
        """The parsed message."""
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def message_id(self) -> str:
        """The ``Message-ID``, in angle brackets."""
        return str(self.headers["Message-ID"])

    @property
    def text(self) -> str:
        """The plain part, or nothing."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The HTML part, or nothing."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.headers.get_body((kind,))
        return "" if part is None else str(part.get_content())


class Gate:
    """Holds every session that comes to one stage, until the test opens it."""

    def __init__(self) -> None:
        """Start closed."""
        self.reached = asyncio.Event()
        self.count = 0
        self._opened = asyncio.Event()
        self._then: Reply = None
        self._arrival = asyncio.Condition()

    async def wait_reached(self, count: int = 1, *, within_seconds: float = 10) -> None:
        """Wait until ``count`` sessions have come. Raises TimeoutError."""
        async with asyncio.timeout(within_seconds), self._arrival:
            await self._arrival.wait_for(lambda: self.count >= count)

    def open(self, then: Reply = None) -> None:
        """Let all go on; those that wait now do ``then`` (DROP, say) instead of going on."""
        self._then = then
        self._opened.set()

    async def hold(self) -> Reply:
        """Count a session in and keep it until the gate opens."""
        async with self._arrival:
            self.count += 1
            self._arrival.notify_all()
        self.reached.set()
        if self._opened.is_set():
            return None
        await self._opened.wait()
        return self._then


class Authority:
    """A certificate authority of the test's own; ``file`` is what its clients trust."""

    def __init__(self, folder: Path) -> None:
        """Make its key, and write its certificate into ``folder``."""
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def certify(self, *names: str) -> ssl.SSLContext:
        """Make what a server of these names (127.0.0.1 and localhost by default) needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context

    def certify_client(self, name: str) -> Path:
        """Make what a client of that name shows: its certificate and its key, in one file."""
        file = self.file.with_name(f"{name}.pem")
        self._authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(file)
        return file


class MailServer:
    """An SMTP server on 127.0.0.1. It can be stopped, and started again on the same port."""

    #: Whether servers offer to take several commands at once, unless they are told.
    pipelines: ClassVar[bool] = False

    def __init__(
        self,
        *,
        tls: Literal["implicit", "starttls"] | None = None,
        certificate: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        requires_auth: bool = False,
        smtputf8: bool = True,
        pipelining: bool | None = None,
        max_messages_per_connection: int | None = None,
        idle_seconds: float | None = None,
        port: int = 0,
    ) -> None:
        """Say how it behaves; ``certificate`` (see Authority) belongs to ``tls``."""
        self.tls = tls
        self.certificate = certificate
        self.login = login
        self.requires_auth = requires_auth
        self.smtputf8 = smtputf8
        self.pipelining = self.pipelines if pipelining is None else pipelining
        self.max_messages_per_connection = max_messages_per_connection
        self.idle_seconds = idle_seconds
        self.port = port
        self.script: dict[str, Script] = {}
        self.messages: list[ReceivedMail] = []
        #: Every command line, and its verb.
        self.lines: list[str] = []
        self.commands: list[str] = []
        #: Sessions ever begun (a TLS handshake that failed began none).
        self.sessions = 0
        self._gates: dict[str, Gate] = {}
        self._running = asyncio.Event()
        self._running.set()
        self._waiting = 0
        self._open: dict[Session, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._faults: list[BaseException] = []

    @property
    def url(self) -> str:
        """What REACH_SMTP_URL would be for it."""
        scheme = {None: "smtp", "implicit": "smtps", "starttls": "smtp+starttls"}[self.tls]
        login = ":".join(quote(part, safe="") for part in self.login) + "@" if self.login else ""
        return f"{scheme}://{login}127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._open)

    @property
    def recipients(self) -> list[str]:
        """Whom the taken messages were for, in order."""
        return [message.recipient for message in self.messages]

    def gate(self, stage: str) -> Gate:
        """Stop every session that comes to ``stage`` from now on."""
        self._gates[stage] = gate = Gate()
        return gate

    def stall(self) -> None:
        """Go on accepting connections and commands, but answer none until ``resume``."""
        self._running.clear()

    def resume(self) -> None:
        """Answer again, first what was left unanswered."""
        self._running.set()

    def is_stalled(self) -> bool:
        """Whether somebody waits for an answer that ``stall`` holds back."""
        return self._waiting > 0

    def close_idle(self, farewell: str = "421 4.4.2 Idle for too long") -> int:
        """Close the connections that are between messages, as busy servers do; says how many."""
        idle = [session for session in self._open if session.is_idle]
        for session in idle:
            session.speak(farewell)
            session.leave()
        return len(idle)

    def speak_to_idle(self, words: str) -> None:
        """Say something unasked on the connections that are between messages."""
        for session in self._open:
            if session.is_idle:
                session.speak(words)

    async def start(self) -> None:
        """Begin to listen; on the same port as before, if it did before."""
        self._server = await asyncio.start_server(
            self._connected,
            "127.0.0.1",
            self.port,
            ssl=self.certificate if self.tls == "implicit" else None,
            backlog=1024,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection. Raises what went wrong in a session, if any."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.sleep(0)  # what was accepted a moment ago has a session then, too
        while self._open:
            for task in self._open.values():
                task.cancel()
            await asyncio.gather(*self._open.values(), return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        if self._faults:
            raise self._faults.pop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    async def decide(self, session: Session, stage: str, argument: str) -> Reply:
        """Wait for the gate and for ``resume``, then tell a session what to say; None: as usual."""
        if (gate := self._gates.get(stage)) and (reply := await gate.hold()) is not None:
            return reply
        if not self._running.is_set():
            self._waiting += 1
            try:
                await self._running.wait()
            finally:
                self._waiting -= 1
        script = self.script.get(stage)
        if not callable(script):
            return script
        said = script(session, argument)
        return await said if isinstance(said, Awaitable) else said

    def take(self, sender: str, recipient: str, parameters: str, content: bytes) -> None:
        """Accept a message."""
        self.messages.append(
            ReceivedMail(sender, recipient, parameters, content, datetime.now(UTC))
        )

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self, reader, writer)
        self.sessions += 1
        task = asyncio.get_running_loop().create_task(session.run())
        self._open[session] = task
        task.add_done_callback(lambda _: self._over(session))

    def _over(self, session: Session) -> None:
        session.hang_up()  # one that was cancelled before its first step has not
        task = self._open.pop(session)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._faults.append(fault)
