"""Reach in the test's own process: a real uvicorn on a real socket, and a real worker.

For what needs processes of their own (kills, freezes, two workers), see ``processes``.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import httpx
from fastapi import FastAPI
from starlette.routing import BaseRoute

from reach.app import create_app
from reach.auth import keys
from reach.db.connect import open_database
from reach.db.database import Database
from reach.delivery.worker import Worker
from reach.mail.dkim import DkimKey
from reach.mailbox.server import Mailbox
from reach.runtime.server import Server, listen
from reach.runtime.worker import make_worker
from reach.settings import Settings
from reach.web.routes import Services
from tests.support.http.clients import NO_CERTIFICATES


def change_services(app: FastAPI, **changes: Any) -> Services:
    """Have the routes of ``app`` use other services than they had; returns those."""
    had: Services = app.state.services
    app.state.services = replace(had, **changes)
    return had


#: What FastAPI makes of the routes, when the first request comes, depends on no settings, and takes
#: longer than most tests: it is made once for all the applications of this process.
BUILT: list[BaseRoute] = []


def share_routes(app: FastAPI) -> None:
    """Have ``app`` use the routes of the first application, which are those that it has too."""
    routes = app.router.routes
    assert len(BUILT) in (0, len(routes))
    BUILT.extend(routes if not BUILT else ())
    routes[:] = BUILT


ADA = {"email": "ada@example.com", "name": "Ada"}


@dataclass
class Reach:
    """A running Reach, its front (``http``), and its back (``database``)."""

    settings: Settings
    http: httpx.AsyncClient
    database: Database
    app: FastAPI

    async def key(self, *scopes: str) -> dict[str, str]:
        """Make an operator key with these scopes (all, if none is named); the header it goes in."""
        text = keys.generate()
        await self.database.write(keys.add, text, "test", scopes or keys.SCOPES)
        return {"Authorization": f"Bearer {text}"}

    @property
    def routes(self) -> set[tuple[str, str]]:
        """Every method and path that the application has, in its document or not."""
        found: set[tuple[str, str]] = set()
        waiting = list(self.app.routes)
        while waiting:
            route = waiting.pop()
            waiting += getattr(getattr(route, "original_router", route), "routes", None) or []
            methods = getattr(route, "methods", None)
            found |= {(method, getattr(route, "path", "")) for method in methods or ()}
        return found

    async def sign_up(self, email: str = "ada@example.com", name: str = "Ada") -> httpx.Response:
        """Sign up, by the API."""
        return await self.http.post("/v1/signups", json={"email": email, "name": name})


@asynccontextmanager
async def running_reach(
    settings: Settings, *, mailbox: Mailbox | None = None
) -> AsyncIterator[Reach]:
    """Serve the API and pages of ``settings`` on a free port, without a worker."""
    ready = anyio.Event()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.model_copy(update={"port": 0})))
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        database = open_database(settings)
        # Whatever the test comes to: a loop with open connections does not close.
        stack.push_async_callback(database.close)
        app = create_app(settings, database, mailbox)
        share_routes(app)
        server = Server(app, settings, ready.set)

        async def serve() -> None:
            # A test that fails cancels what stands beside it. The server ends as it should, all the
            # same: uvloop's loop waits forever for one that was cut off before it could close.
            with anyio.CancelScope(shield=True):
                await server.serve([listener])

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            try:
                await ready.wait()
                async with httpx.AsyncClient(
                    base_url=settings.origin, verify=NO_CERTIFICATES, trust_env=False, timeout=20
                ) as http:
                    yield Reach(settings, http, database, app)
            finally:
                server.stop()


@asynccontextmanager
async def running_worker(settings: Settings) -> AsyncIterator[Worker]:
    """Run a worker of ``settings`` (its ``smtp_url`` says where to) in this event loop."""
    database = open_database(settings)
    assert settings.smtp_servers
    worker = make_worker(settings, database, settings.smtp_servers, DkimKey.of(settings))
    stop = anyio.Event()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run, stop)
            try:
                yield worker
            finally:
                stop.set()
    finally:
        await database.close()


async def messages_of(reach: Reach, **wanted: str) -> Sequence[dict[str, object]]:
    """List messages as an operator sees them."""
    answer = await reach.http.get("/v1/messages", params=wanted, headers=await reach.key())
    items: Sequence[dict[str, object]] = answer.raise_for_status().json()["items"]
    return items
