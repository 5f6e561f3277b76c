"""A server that shows what the edge makes of a request: it answers with what it got."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request


class Gate:
    """Where requests wait while it is shut; ``waiting`` says how many do."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        """Hold every caller from now on."""
        self._open.clear()

    def open(self) -> None:
        """Let all go."""
        self._open.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        self.waiting += 1
        await self._open.wait()
        self.waiting -= 1


@asynccontextmanager
async def echo(gate: Gate | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Run it on a free port, and give the port. It is always ready; requests pass the gate."""
    app = FastAPI(openapi_url=None)  # nor /docs: it has no path of its own

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def show(request: Request) -> dict[str, Any]:
        if gate is not None:
            await gate.passed()
        return {"headers": [(k.decode(), v.decode()) for k, v in request.headers.raw]}

    config = uvicorn.Config(app, host=host, port=0, log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    serving = asyncio.create_task(server.serve([socket]))
    try:
        yield int(socket.getsockname()[1])
    finally:  # cancelled, it would leave its connections open
        server.should_exit = True
        await serving


def seen(answer: httpx.Response) -> dict[str, list[str]]:
    """The headers that arrived, by name in lower case."""
    found: dict[str, list[str]] = {}
    for name, value in answer.raise_for_status().json()["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found
