"""Requests, sent until they are answered: once for each kind of client, and alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from reach_client.problems import NotReached
from reach_client.retrying import Retries, Tries
from reach_client.secret import Secret
from reach_client.version import __version__

T = TypeVar("T")
USER_AGENT = f"reach-client/{__version__} python-httpx/{httpx.__version__}"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, the same in each of its tries; ``secret`` is a link's token."""

    method: str
    path: str
    query: Mapping[str, Any]
    json: Mapping[str, Any] | None
    headers: Mapping[str, str]
    secret: Secret | None
    needs_key: bool


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go, with which key, and how often."""

    url: httpx.URL
    key: Secret | None
    retries: Retries

    def prepare(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """Make httpx's request of ours. Only what asks for the key gets it."""
        headers = dict(request.headers)
        secret = request.secret or (self.key if request.needs_key else None)
        if secret is not None:
            headers["Authorization"] = secret.header
        return client.build_request(
            request.method,
            f"{self.url}{request.path}",
            params=request.query or None,
            json=request.json,
            headers=headers,
        )


class Sender:
    """Sends requests, and waits in this thread. Threads may share it."""

    def __init__(
        self, server: Server, *, timeout: float, transport: httpx.BaseTransport | None
    ) -> None:
        """Take where to, and httpx's own transport if it is to be another than usual."""
        self._server = server
        self._http = httpx.Client(
            timeout=timeout, transport=transport, headers={"User-Agent": USER_AGENT}
        )

    def call(self, request: Request, read: Callable[[httpx.Response], T]) -> T:
        """Send it and read the whole answer. Raises ReachError."""
        return read(self._answer(request, whole=True))

    @contextmanager
    def stream(self, request: Request) -> "Iterator[Stream]":
        """Send it and give the answer as it comes. Raises ReachError."""
        response = self._answer(request, whole=False)
        try:
            yield Stream(response)
        finally:
            response.close()

    def _answer(self, request: Request, *, whole: bool) -> httpx.Response:
        tries = Tries(self._server.retries, is_delete=request.method == "DELETE")
        prepared = self._server.prepare(self._http, request)
        while True:
            outcome: httpx.Response | httpx.RequestError
            try:
                outcome = self._http.send(prepared, stream=True)
                if whole or not outcome.is_success:
                    outcome.read()
            except httpx.RequestError as error:
                outcome = error
            wait = tries.wait_seconds(outcome)
            if wait is None:
                return tries.end(outcome)
            time.sleep(wait)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncSender:
    """Sends requests in asyncio's loop, any number at the same time."""

    def __init__(
        self, server: Server, *, timeout: float, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        """Take where to, and httpx's own transport if it is to be another than usual."""
        self._server = server
        self._http = httpx.AsyncClient(
            timeout=timeout, transport=transport, headers={"User-Agent": USER_AGENT}
        )

    async def call(self, request: Request, read: Callable[[httpx.Response], T]) -> T:
        """Send it and read the whole answer. Raises ReachError."""
        return read(await self._answer(request, whole=True))

    @asynccontextmanager
    async def stream(self, request: Request) -> "AsyncIterator[AsyncStream]":
        """Send it and give the answer as it comes. Raises ReachError."""
        response = await self._answer(request, whole=False)
        try:
            yield AsyncStream(response)
        finally:
            await response.aclose()

    async def _answer(self, request: Request, *, whole: bool) -> httpx.Response:
        tries = Tries(self._server.retries, is_delete=request.method == "DELETE")
        prepared = self._server.prepare(self._http, request)
        while True:
            outcome: httpx.Response | httpx.RequestError
            try:
                outcome = await self._http.send(prepared, stream=True)
                if whole or not outcome.is_success:
                    await outcome.aread()
            except httpx.RequestError as error:
                outcome = error
            wait = tries.wait_seconds(outcome)
            if wait is None:
                return tries.end(outcome)
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class Stream:
    """An answer that is read while it comes. Lost on the way, it is not asked for again."""

    def __init__(self, response: httpx.Response) -> None:
        """Take httpx's answer, unread."""
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """Give its bytes as they come: ``file.writelines(stream.chunks())``. Raises NotReached."""
        with _lost():
            yield from self._response.iter_bytes()

    def lines(self) -> Iterator[str]:
        """Give its lines, without their ends. Raises NotReached."""
        with _lost():
            yield from self._response.iter_lines()


class AsyncStream:
    """An answer that is read while it comes. Lost on the way, it is not asked for again."""

    def __init__(self, response: httpx.Response) -> None:
        """Take httpx's answer, unread."""
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give its bytes as they come. Raises NotReached."""
        with _lost():
            async for chunk in self._response.aiter_bytes():
                yield chunk

    async def lines(self) -> AsyncIterator[str]:
        """Give its lines, without their ends. Raises NotReached."""
        with _lost():
            async for line in self._response.aiter_lines():
                yield line


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except httpx.RequestError as error:
        raise NotReached(f"The answer ended early: {type(error).__name__}") from error
