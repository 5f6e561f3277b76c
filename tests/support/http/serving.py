"""A Reach in this process that shows what it was asked, or waits before it answers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from reach.settings import Settings
from tests.support.processes.reach import Reach, running_reach
from tests.support.times import SHORT_TIMES, UNLIMITED

Serving = Callable[..., Awaitable[Reach]]


def show_what_is_seen(app: FastAPI) -> None:
    """Give the application a path that answers with what it got, and one that waits.

    The first reads the whole body before it looks at the headers. The second waits for
    ``app.state.gate``.
    """

    async def seen(request: Request) -> JSONResponse:
        body = await request.body()
        return JSONResponse(
            {
                "path": request.scope["path"],
                "query": request.scope["query_string"].decode("latin-1"),
                "headers": [
                    [name.decode("latin-1"), value.decode("latin-1")]
                    for name, value in request.scope["headers"]
                ],
                "body": body.decode("latin-1"),
                "client": request.scope["client"],
            }
        )

    async def waiting(request: Request) -> JSONResponse:
        app.state.waiting += 1
        await app.state.gate.wait()
        return await seen(request)

    for path, what in (("/seen", seen), ("/waiting", waiting)):
        app.add_api_route(path, what, methods=["GET", "POST"], include_in_schema=False)


def close_gate(reach: Reach) -> None:
    """Have those who ask for ``/waiting`` wait, and be counted, until ``app.state.gate`` is set."""
    reach.app.state.gate, reach.app.state.waiting = anyio.Event(), 0


@asynccontextmanager
async def serving_with(folder: Path, migrated: Path, **changes: Any) -> AsyncIterator[Reach]:
    """Serve in this process, from a folder of its own; ``changes`` are settings by name."""
    copy(migrated, folder / "reach.sqlite3")
    # A proxy's words are believed, so that it is told which of them arrive.
    given = {**SHORT_TIMES, **UNLIMITED, "trusted_proxies": "127.0.0.1", "data_dir": folder}
    async with running_reach(Settings(**{**given, **changes})) as reach:
        show_what_is_seen(reach.app)
        close_gate(reach)
        yield reach
