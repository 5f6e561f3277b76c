"""A receiver of webhooks that a test scripts: a real HTTP server, which verifies what it gets."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import h11
from standardwebhooks import Webhook, WebhookVerificationError

#: What a receiver may answer instead of a status: nothing at all, ever.
SILENT, HANG_UP = 0, -1


@dataclass(frozen=True)
class Heard:
    """One request: its headers, its body, and what the answer was."""

    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def id(self) -> str:
        """The event's."""
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        """The body, read."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def type(self) -> str:
        """What happened."""
        return str(self.document["type"])

    def is_signed(self, secret: str) -> bool:
        """Whether a receiver who has this secret believes it."""
        try:
            Webhook(secret).verify(self.body, dict(self.headers))
        except WebhookVerificationError:
            return False
        return True


@dataclass
class Receiver:
    """It listens at loopback, and answers 204 unless ``answer`` says otherwise."""

    answer: Callable[[dict[str, Any]], int] = lambda _document: 204
    headers: Mapping[str, str] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    #: How many connections there were.
    connections: int = 0
    port: int = 0
    #: Answers wait for it; ``None`` waits for nothing.
    gate: asyncio.Event | None = None
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where to send."""
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def taken(self) -> list[Heard]:
        """What it took: those it answered with 2xx."""
        return [one for one in self.heard if 200 <= one.status < 300]

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection, body, request = h11.Connection(h11.SERVER), b"", None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                writer.close()
                return
        assert request is not None
        headers = {name.decode(): value.decode() for name, value in request.headers}
        status = self.answer(json.loads(body))
        self.heard.append(Heard(headers, body, status))
        if self.gate is not None:
            await self.gate.wait()
        if status == SILENT:
            await reader.read()  # until they hang up
        elif status != HANG_UP:
            told = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            text = "all of it" if status < 300 else "not today"
            writer.write(
                f"HTTP/1.1 {status} X\r\n{told}Content-Length: {len(text)}\r\n\r\n{text}".encode()
                if status != 204
                else f"HTTP/1.1 204 X\r\n{told}\r\n".encode()
            )
        writer.close()
