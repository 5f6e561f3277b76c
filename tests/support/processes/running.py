"""Processes of Reach beside an event loop that goes on meanwhile.

The test's mail server lives in that loop: a test that waits without it stalls the mail server.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import ADA

START_SECONDS = 20


@asynccontextmanager
async def worker(settings: Settings, **changes: Any) -> AsyncIterator[ReachProcess]:
    """Run ``reach worker``; it works when this begins."""
    with ReachProcess("worker", settings=settings, **changes) as process:
        await said(process, "worker started")
        yield process


@asynccontextmanager
async def door(
    settings: Settings, command: str = "api", **changes: Any
) -> AsyncIterator[ReachProcess]:
    """Run ``reach api`` (or ``up``); it takes sign-ups when this begins."""
    with ReachProcess(command, settings=settings, **changes) as process:
        await said(process, "api started" if command == "api" else "Reach is ready.")
        yield process


async def said(process: ReachProcess, words: str, count: int = 1) -> None:
    """Wait until a process has written ``words`` so many times."""

    def has_said() -> bool:
        return everything(process).count(words) >= count

    await eventually(lambda: has_said() or process.exit_code is not None, START_SECONDS, 0.02)
    assert has_said(), everything(process)


def everything(process: ReachProcess) -> str:
    """What a process has written so far."""
    return process.output + process.errors


async def ended(process: ReachProcess, seconds: float) -> int:
    """Wait until a process ends by itself, and return its exit code."""
    await eventually(lambda: process.exit_code is not None, seconds)
    return process.wait()


@asynccontextmanager
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Offer a client of the door at ``settings.port``."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(
        base_url=settings.origin, verify=NO_CERTIFICATES, trust_env=False, timeout=20, limits=limits
    ) as http:
        yield http


async def is_closed(settings: Settings) -> bool:
    """Whether nobody listens at the door's port any more."""
    try:
        _, writer = await asyncio.open_connection(settings.host, settings.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@asynccontextmanager
async def half_a_request(
    settings: Settings,
) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Begin a sign-up, and give what ends it: it returns the answer, empty if there is none."""
    reader, writer = await asyncio.open_connection(settings.host, settings.port)
    body = json.dumps(ADA).encode()
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    # Else the answer would be over only when an idle connection is given up, a minute later.
    head += "Connection: close\r\n\r\n"
    # It asks for a 100 Continue: that comes once the request is under way.
    writer.write(b"POST /v1/signups HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")

    async def finish() -> bytes:
        with suppress(ConnectionError):
            writer.write(body)
            return await reader.read()
        return b""

    try:
        yield finish
    finally:
        writer.close()


ANSWER_SECONDS = 5


async def sign_up(http: httpx.AsyncClient, name: str) -> httpx.Response:
    """Sign up, and see that the answer comes in time."""
    began = time.monotonic()
    body = {"email": f"{name}@example.com", "name": "Ada"}
    answer = await http.post("/v1/signups", json=body)
    assert time.monotonic() - began < ANSWER_SECONDS, answer
    return answer
