"""A server that shows what the edge makes of a request: it answers with what it got."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """Run it on a free port, and give the port. It is always ready."""
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def show(request: Request) -> dict[str, Any]:
        return {"headers": [(k.decode(), v.decode()) for k, v in request.headers.raw]}

    config = uvicorn.Config(app, port=0, log_config=None, proxy_headers=False)
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
