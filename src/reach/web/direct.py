"""Routes that are answered directly: those that nearly all requests are for.

FastAPI has them as well. It writes the document, and answers what is rare: a query, or a request
while traces are on. What it does for each request, between the middleware and the endpoint, takes
longer than all that a sign-up needs.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reach.problems import Problem
from reach.telemetry import traces
from reach.web.errors import answer_problem

ID = "{id}"


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A route by its method, and its path, whose last part may be ``{id}``, ``but`` not these.

    ``answer`` answers as the route of FastAPI does, and raises the same problems.
    """

    method: str
    path: str
    answer: Callable[[Request], Awaitable[Response]]
    but: tuple[str, ...] = ()


class Direct:
    """Answers some routes; ``app`` answers all other requests."""

    def __init__(self, app: ASGIApp, routes: Iterable[DirectRoute]) -> None:
        """Take the routes, and who answers what none of them is for."""
        self._app = app
        self._whole: dict[tuple[str, str], DirectRoute] = {}
        #: By what is before the id.
        self._by_id: dict[tuple[str, str], DirectRoute] = {}
        for route in routes:
            of_all = self._by_id if route.path.endswith(ID) else self._whole
            of_all[route.method, route.path.removesuffix(ID)] = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        route = self._route(scope) if scope["type"] == "http" else None
        if route is None or scope["query_string"] or traces.process.tracer:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.answer(request)
        except Problem as problem:
            response = await answer_problem(request, problem)
        await response(scope, receive, send)

    def _route(self, scope: Scope) -> DirectRoute | None:
        method, path = scope["method"], scope["path"]
        route = self._whole.get((method, path))
        if route is None:
            before, slash, last = path.rpartition("/")
            route = self._by_id.get((method, before + slash)) if last else None
            if route is not None and last in route.but:
                return None
            if route is not None:
                scope["path_params"] = {"id": last}
        return route
