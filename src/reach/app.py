"""The application: its services, routers, middleware and probes."""

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
from starlette.types import ASGIApp, Receive, Scope, Send

from reach.auth.keys import KeyUses
from reach.auth.links import Links
from reach.auth.oidc.provider import Provider
from reach.auth.signing import Signer
from reach.console import audit as audit_page
from reach.console import errors as console_errors
from reach.console import keys as key_pages
from reach.console import message as message_page
from reach.console import messages as messages_pages
from reach.console import oidc, overview, person, safety, sessions, sign_in, site
from reach.console import people as people_pages
from reach.console import previews as template_pages
from reach.console import suppressions as suppression_pages
from reach.console import webhooks as webhook_pages
from reach.db.database import Database
from reach.db.errors import NotMigrated
from reach.db.schema import is_current
from reach.idempotency.keys import IdempotencyKeys
from reach.limits.limiter import Limiter
from reach.mail.compose import Composer
from reach.mailbox import pages as mailbox_pages
from reach.mailbox import previews
from reach.mailbox.server import Mailbox
from reach.messages import routes as message_routes
from reach.messages.model import OF_MAKERS
from reach.pages import address as address_pages
from reach.pages import embed
from reach.pages import me as own_pages
from reach.pages import public as pages
from reach.pages import unsubscribe as unsubscribe_pages
from reach.people import export_route, me, messages, notices, operators, public, suppressions
from reach.people.antispam import AntiSpam
from reach.people.signup import SignUpService
from reach.problems import NotFound, Problem
from reach.reports import routes as report_routes
from reach.reports.intake import Intake
from reach.reports.providers.configured import configured
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.metrics_server import ending_if_stuck
from reach.web import audit, errors
from reach.web import keys as key_routes
from reach.web.direct import Direct, DirectRoute
from reach.web.guard import scopes_of
from reach.web.middleware import RequestRecord
from reach.web.openapi import ANY, DESCRIPTION, TAGS, finish
from reach.web.refusals import refusals
from reach.web.returns import Returns
from reach.web.routes import Services, StrictRoute, services_of
from reach.web.templates import Pages
from reach.webhooks import routes as webhook_routes

ROUTERS = (
    public.router,
    me.router,
    export_route.router,  # before the person of an id
    operators.people,
    operators.others,
    messages.router,
    message_routes.router,
    suppressions.router,
    report_routes.router,
    key_routes.router,
    audit.router,
    webhook_routes.router,
    pages.router,
    embed.router,
    own_pages.router,
    address_pages.router,
    unsubscribe_pages.router,
    mailbox_pages.router,
    previews.router,
    sign_in.router,
    overview.router,
    people_pages.router,
    person.router,
    messages_pages.router,
    message_page.router,
    suppression_pages.router,
    template_pages.router,
    key_pages.router,
    webhook_pages.router,
    audit_page.router,
    oidc.router,
    site.router,
)
#: FastAPI's own way would cost them more than all else.
DIRECT_ROUTES = (
    DirectRoute("GET", "/", pages.get_sign_up),
    DirectRoute("POST", "/", pages.post_sign_up),
    DirectRoute("POST", "/v1/signups", public.post_signup),
    DirectRoute("GET", "/v1/people/{id}", operators.read_person, but=("export",)),
)
OK = JSONResponse({"status": "ok"})


class Application(FastAPI):
    """FastAPI, whose document says what there is to be said."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve: while traces are off, without what FastAPI has around the middleware for them."""
        if scope["type"] == "http" and self.middleware_stack is not None and not tracing():
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Leave out what would do again, around ``RequestRecord``, what that does: errors."""
        stack: Any = super().build_middleware_stack()
        while not (tracing() or isinstance(stack, RequestRecord)):
            stack = stack.app
        return stack  # type: ignore[no-any-return]

    def openapi(self) -> dict[str, Any]:
        """Write the OpenAPI document, once."""
        if self.openapi_schema is None:
            public_url = self.state.services.settings.public_url
            self.openapi_schema = finish(super().openapi(), self._scopes(), public_url)
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
        title=f"{settings.brand_name} API",
        description=DESCRIPTION,
        openapi_tags=[*TAGS],
        version="1",
        lifespan=partial(_lifespan, is_one_of_several=is_one_of_several),
        docs_url=None,  # FastAPI's page loads its scripts from elsewhere: see pages.public
        redoc_url=None,
        redirect_slashes=False,
        responses=ANY,
        generate_unique_id_function=lambda route: route.name,
        telemetry=telemetry(),
    )
    services = app.state.services = services_for(settings, database, mailbox)
    # First: FastAPI asks one router after the other whether a path is its own.
    for path, probe in PROBES.items():
        app.add_api_route(path, probe, methods=["GET", "HEAD"], include_in_schema=False)
    for router in ROUTERS:
        app.include_router(router)
    app.exception_handler(Problem)(answer_problem)
    app.exception_handler(HTTPException)(answer_http_exception)
    app.exception_handler(RequestValidationError)(answer_invalid_parameters)
    app.add_middleware(Direct, routes=DIRECT_ROUTES)
    app.add_middleware(RequestRecord, settings=settings, limiter=services.limiter)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, is_one_of_several: bool) -> AsyncIterator[None]:
    services: Services = app.state.services
    with ending_if_stuck() if is_one_of_several else nullcontext():
        if services.settings.notify_addresses:
            await notices.begin_early(services.database, services.settings)
        yield
    await services.key_uses.close()
    await services.session_uses.close()
    await services.limiter.close()
    if is_one_of_several:
        await services.database.close()
        await anyio.to_thread.run_sync(traces.stop)


def tracing() -> bool:
    """Whether traces are on."""
    return traces.process.tracer is not None


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
        "exclude": lambda scope: scope["path"] in UNTRACED,
    }


def services_for(settings: Settings, database: Database, mailbox: Mailbox | None) -> Services:
    """Make what the routes use. Raises BadSettings."""
    spam_protection = AntiSpam(settings)
    sign_ups = SignUpService(settings, database, spam_protection)
    composer = Composer(settings)
    return Services(
        settings=settings,
        database=database,
        limiter=Limiter(settings, Signer(settings, "limits").signature),
        key_uses=KeyUses(database),
        session_uses=KeyUses(database, sessions.touch),
        links=Links(settings),
        idempotency=IdempotencyKeys(settings),
        spam_protection=spam_protection,
        pages=Pages(settings, composer.catalogues),
        returns=Returns(settings),
        inbox=Signer(settings, "inbox"),
        sign_up=sign_ups.sign_up,
        request_link=sign_ups.request_link,
        require_domain=sign_ups.require_domain,
        templates=lambda: composer.templates - {*OF_MAKERS},
        refusals=refusals(settings),
        refused_page=embed.refused_page,
        mailbox=mailbox,
        provider=Provider.of(settings),
        bounces=configured(settings, database),
        intake=Intake(settings, database),
    )


async def livez() -> Response:
    """The process answers. It depends on nothing: a restart would mend nothing else."""
    return OK


async def readyz(request: Request) -> Response:
    """The database answers, with a schema that this version can use, and takes writes."""
    database = services_of(request).database
    if not await database.read(is_current):
        raise NotMigrated
    await database.require_writes()
    return OK


#: Asked every few seconds for ever, and never traced.
PROBES: Mapping[str, Callable[..., Any]] = {"/livez": livez, "/readyz": readyz}
#: And what has no end while somebody listens.
UNTRACED = (*PROBES, "/mailbox/events", "/console/events")


async def answer_problem(request: Request, problem: Problem) -> Response:
    """Answer a problem: within the console as it does."""
    ours = safety.is_ours(request) and not safety.is_hidden(request)
    answer = console_errors.answer_problem if ours else errors.answer_problem
    return await answer(request, problem)


async def answer_http_exception(request: Request, error: HTTPException) -> Response:
    """What the framework itself refuses; of a mailbox or console that is hidden, nothing shows."""
    if mailbox_pages.is_hidden(request) or safety.is_hidden(request):
        return await answer_problem(request, NotFound())
    return await answer_problem(request, errors.problem_of(request, error))


async def answer_invalid_parameters(request: Request, error: RequestValidationError) -> Response:
    """A query parameter that breaks a rule."""
    return await answer_problem(request, errors.invalid_parameters(error))
