"""The application: routers, middleware, problem handlers, probes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.routing import Match

from reach.access.signing import Signer
from reach.access.uses import KeyUses
from reach.auth.links import Links
from reach.db.database import Database
from reach.db.errors import NotMigrated
from reach.db.migrate import is_current
from reach.idempotency.keys import Onces
from reach.limits.limiter import Limiter
from reach.mail.compose import Composer
from reach.messages import routes as message_routes
from reach.messages.mailbox import Mailbox
from reach.pages import links as links_pages
from reach.pages import mailbox as mailbox_pages
from reach.pages import me as own_pages
from reach.pages import public
from reach.pages import public as pages
from reach.pages import switch as switch_pages
from reach.people import me as own
from reach.people import messages, operators
from reach.people import operators as stats
from reach.people import public as door
from reach.people.antispam import Robots
from reach.people.signup import Knocks
from reach.problems import MethodNotAllowed, NotFound, Problem, Unprocessable
from reach.runtime.refusals import refusals
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.heartbeat import ending_if_stuck
from reach.web import html as render
from reach.web import keys as key_routes
from reach.web.body import BODY_SECONDS, StrictRoute, in_plain_words
from reach.web.guard import Door, is_operator, scopes_of
from reach.web.middleware import Envelope, as_get
from reach.web.openapi import ANY, finish

ROUTERS = (
    door.router,
    own.router,
    operators.people,
    operators.promises,
    stats.router,
    messages.router,
    message_routes.router,
    key_routes.router,
    pages.router,
    public.router,
    links_pages.router,
    own_pages.router,
    switch_pages.router,
    mailbox_pages.router,
)
OK = JSONResponse({"status": "ok"})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Application(FastAPI):
    """FastAPI, whose document says what there is to be said."""

    def openapi(self) -> dict[str, Any]:
        """Write the OpenAPI document, once."""
        if self.openapi_schema is None:
            self.openapi_schema = finish(super().openapi(), self._scopes())
        return self.openapi_schema

    def _scopes(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """List the scopes that a key needs, by method and path."""
        return {
            (method.lower(), str(context.path_format)): scopes_of(context.dependant.dependencies)
            for context in iter_route_contexts(self.routes)
            if isinstance(context.original_route, StrictRoute)
            for method in context.methods or ()
        }


def create_app(
    settings: Settings,
    database: Database,
    mailbox: Mailbox | None = None,
    *,
    is_one_of_several: bool = False,
) -> FastAPI:
    """Put the application together.

    ``is_one_of_several`` processes, each of which is nothing else: it closes the database and ends
    the traces when it stops, and itself when it is stuck.
    """
    app = Application(
        title=settings.brand_name,
        version="1",
        lifespan=partial(_lifespan, is_one_of_several=is_one_of_several),
        docs_url=None,  # FastAPI's page loads its scripts from elsewhere: see pages.docs
        redoc_url=None,
        redirect_slashes=False,
        responses=ANY,
        generate_unique_id_function=lambda route: route.name,
        telemetry=telemetry(),
    )
    furnish(app, settings, database, mailbox)
    for router in ROUTERS:
        app.include_router(router)
    for path, probe in PROBES.items():
        app.add_api_route(path, probe, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_invalid_parameters)
    app.add_middleware(Door, answer_problem=answer_problem)
    app.add_middleware(Envelope, answer_problem=answer_problem, settings=settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, is_one_of_several: bool) -> AsyncIterator[None]:
    with ending_if_stuck() if is_one_of_several else nullcontext():
        yield
    await app.state.key_uses.close()
    await app.state.limiter.close()
    if is_one_of_several:
        await app.state.database.close()
        await anyio.to_thread.run_sync(traces.stop)


def telemetry() -> TelemetryConfig:
    """Have FastAPI trace requests, if traces are on: as we do it, and nothing else.

    Its logs quote what was typed; its own exporters, which a variable turns on, would hand
    everything over twice. Its spans of dependencies, endpoint and serialization would be three
    more for each request, and tell little that the route does not.
    """
    provider = traces.provider()
    return {
        "tracing": provider is not None,
        "tracer_provider": provider,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"] in PROBES,
    }


def furnish(app: FastAPI, settings: Settings, database: Database, mailbox: Mailbox | None) -> None:
    """Put in place what the routes use."""
    app.state.settings = settings
    app.state.database = database
    app.state.mailbox = mailbox
    app.state.refusals = refusals(settings)
    app.state.body_seconds = BODY_SECONDS
    app.state.key_uses = KeyUses(database)
    app.state.limiter = Limiter(settings, Signer(settings, "limits").sign)
    app.state.onces = Onces(settings)
    app.state.links = Links(settings)
    app.state.robots = Robots(settings)
    knocks = Knocks(
        settings,
        database,
        app.state.robots,
        signed_up=door.CHECK_YOUR_INBOX,
        asked=door.LINK_ON_ITS_WAY,
    )
    app.state.sign_up, app.state.request_link = knocks.sign_up, knocks.request_link
    composer = Composer(settings)
    app.state.templates = lambda: composer.templates


async def livez() -> Response:
    """The process answers. It depends on nothing: a restart would mend nothing else."""
    return OK


async def readyz(request: Request) -> Response:
    """The database answers, with a schema that this version can use, and takes writes."""
    database: Database = request.app.state.database
    if not await database.read(is_current):
        raise NotMigrated
    await database.require_writes()
    return OK


#: Asked every few seconds for ever, and never traced.
PROBES: Mapping[str, Callable[..., Any]] = {"/livez": livez, "/readyz": readyz}


async def answer_problem(request: Request, problem: Exception) -> Response:
    """RFC 9457; a page where the caller prefers one, but never below ``/v1``."""
    assert isinstance(problem, Problem)  # noqa: S101 - Starlette's signature is wider
    settings: Settings = request.app.state.settings
    in_json = f"{request.scope['path']}/".startswith("/v1/")
    request.scope[render.REASON] = problem.detail
    if not in_json and render.prefers_html(request):
        return render.problem_page(problem, brand_name=settings.brand_name)
    body: dict[str, Any] = {
        "type": problem.address(settings.origin),
        "title": problem.title,
        "status": problem.status,
    }
    detail = problem.detail if is_operator(request) else render.public_detail(problem)
    if detail:
        body["detail"] = detail
    return JSONResponse(
        body | problem.members,
        problem.status,
        {"Cache-Control": "no-store", **problem.headers},
        media_type="application/problem+json",
    )


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown path, a method that is not for it."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if mailbox_pages.is_hidden(request):
        return await answer_problem(request, NotFound())
    if error.status_code == MethodNotAllowed.status:
        allowed = {"Allow": ", ".join(allowed_methods(request))}
        return await answer_problem(request, MethodNotAllowed(headers=allowed))
    if error.status_code == NotFound.status:
        return await answer_problem(request, NotFound())
    problem = Problem()
    problem.status, problem.title = error.status_code, "The request was refused"  # type: ignore[misc]
    return await answer_problem(request, problem)


def allowed_methods(request: Request) -> list[str]:
    """List a path's methods: the framework lists only those of the first route that has it.

    What some route says by this very name, is no other's id.
    """
    routes, scope = request.app.router.routes, request.scope
    named = [one for one in iter_route_contexts(routes) if one.path_format == scope["path"]]
    own = {method for one in named for method in one.methods or ()}

    def is_taken(method: str) -> bool:
        asked = as_get({**scope, "method": method})
        if own:
            return asked["method"] in own
        return any(route.matches(asked)[0] is Match.FULL for route in routes)

    return [method for method in METHODS if is_taken(method)]


async def answer_invalid_parameters(request: Request, error: Exception) -> Response:
    """A query parameter that breaks a rule. What was sent is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    errors = [
        {"parameter": str(fault["loc"][-1]), "detail": in_plain_words(fault)}
        for fault in error.errors()
    ]
    return await answer_problem(request, Unprocessable(errors=errors))
