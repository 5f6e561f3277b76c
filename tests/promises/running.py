"""Processes of Reach beside an event loop that goes on meanwhile.

The test's mail server lives in that loop: a test that waits without it stalls the mail server.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from reach.settings import Settings
from tests.eventually import eventually
from tests.servers.processes import ReachProcess

START_SECONDS = 20


@asynccontextmanager
async def worker(settings: Settings, **changes: Any) -> AsyncIterator[ReachProcess]:
    """Run ``reach worker``; it works when this begins."""
    with ReachProcess("worker", settings=settings, **changes) as process:
        await said(process, "worker started")
        yield process


@asynccontextmanager
async def door(settings: Settings, command: str = "api") -> AsyncIterator[ReachProcess]:
    """Run ``reach api`` (or ``up``); it takes sign-ups when this begins."""
    with ReachProcess(command, settings=settings) as process:
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
        base_url=settings.origin, trust_env=False, timeout=20, limits=limits
    ) as http:
        yield http
