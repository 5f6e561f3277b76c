"""Processes of Reach beside an event loop that goes on meanwhile.

The test's mail server lives in that loop: a test that waits without it stalls the mail server.
"""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from types import MappingProxyType
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
async def running_api(
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
    """Offer a client of the API at ``settings.port``."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(
        base_url=settings.origin, verify=NO_CERTIFICATES, trust_env=False, timeout=20, limits=limits
    ) as http:
        yield http


async def is_closed(settings: Settings) -> bool:
    """Whether nobody listens at the API's port any more."""
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


KILLED = -9


PATIENT_SECONDS = 30


MOST_RACES = 20


def add_ballast(settings: Settings) -> None:
    """Fill the write-ahead log, so that the next COMMIT folds it in before it returns.

    That COMMIT is durable and seen by others while it does so: time enough for a kill.
    """
    with closing(sqlite3.connect(settings.database.url.database or "")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS ballast (bytes)")
        connection.execute("INSERT INTO ballast VALUES (zeroblob(30000000))")
        connection.commit()


def killed_unanswered(
    settings: Settings,
    api: ReachProcess,
    email: str,
    path: str = "/v1/signups",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    """Sign up and kill the API as soon as its COMMIT is seen; whether it had not answered yet.

    It blocks on purpose: nothing else may come between seeing and killing.
    """
    body = json.dumps({"email": email, "name": "Ada"}).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {settings.host}\r\nConnection: close\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    file = settings.database.url.database or ""
    with closing(sqlite3.connect(file)) as watcher:
        version = watcher.execute("PRAGMA data_version").fetchone()
        with socket.create_connection((settings.host, settings.port), timeout=10) as caller:
            caller.sendall(head.encode() + body)
            deadline = time.monotonic() + PATIENT_SECONDS
            while watcher.execute("PRAGMA data_version").fetchone() == version:
                assert time.monotonic() < deadline, "the sign-up was never committed"
            os.kill(api.pid, signal.SIGKILL)
            try:
                answer = caller.recv(1)
            except ConnectionResetError:
                answer = b""
    assert api.wait() == KILLED
    return not answer
