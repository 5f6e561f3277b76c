"""What all routes share: their services, and the query that they are strict about.

``Services`` are made once, in ``app.py``, and reached from a request.
"""

import inspect
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Protocol

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from reach.auth.keys import KeyUses
from reach.auth.links import Links
from reach.auth.oidc.provider import Provider
from reach.auth.signing import Signer
from reach.db.database import Database
from reach.idempotency.keys import IdempotencyKeys
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.limits.limiter import Limiter
from reach.problems import Problem, Unprocessable
from reach.settings import Settings
from reach.web.returns import Returns
from reach.web.templates import Pages

#: As long as a slow telephone takes for a body of 64 KiB, and not as long as a caller likes.
BODY_SECONDS = 30.0


class Submit(Protocol):
    """Do what a public form asks for: send a link, say. When it returns, that is on disk."""

    async def __call__(self, form: Any, key: IdempotencyKey | None = None) -> StoredResponse:
        """Raise Unprocessable: KeyReused if ``key`` is another request's; SendAgain."""


class SignUp(Protocol):
    """Sign somebody up. When it returns, that is on disk."""

    async def __call__(
        self, form: Any, key: IdempotencyKey | None = None, evidence: Any = None
    ) -> StoredResponse:
        """Keep the ``evidence`` of their consent (``people.consent``). Raises as ``Submit``."""


class SpamProtection(Protocol):
    """What a public form needs so that it can be told from spam; ``people`` has the rules."""

    needs_proof: bool

    def stamp(self, now: float, *, is_again: bool = False) -> str:
        """Sign the time at which a form is shown."""

    def challenge(self, now: float) -> dict[str, Any]:
        """Make a proof of work to do. Raises NotFound if none is asked for."""


class TakesReports(Protocol):
    """Takes in what is reported of messages after they were sent: ``reach.reports.intake``."""

    async def take_in(self, report: Any, *, is_verified: bool = False) -> str:
        """Record a report, and say what became of it. Raises ServiceUnavailable."""


@dataclass(frozen=True, slots=True)
class Services:
    """The collaborators of every route of one process.

    ``require_domain`` raises Unprocessable for an address at a domain that cannot sign up here;
    ``templates`` names those that can be composed now. ``inbox`` signs what a browser keeps of a
    form (see ``pages.inbox``). ``refusals`` are whole answers to requests that get to no route;
    ``refused_page`` answers a form that was sent too often. ``mailbox`` is the development mailbox,
    which only its own pages know. ``session_uses`` notes when sessions at the console are used;
    ``provider`` is where operators sign in, if there is one. ``bounces`` are the email providers
    that report here (``reach.reports.providers``), by name; ``intake`` takes what they report.
    """

    settings: Settings
    database: Database
    limiter: Limiter
    key_uses: KeyUses
    session_uses: KeyUses
    links: Links
    idempotency: IdempotencyKeys
    spam_protection: SpamProtection
    pages: Pages
    returns: Returns
    inbox: Signer
    sign_up: SignUp
    request_link: Submit
    require_domain: Callable[[Any], None]
    templates: Callable[[], Collection[str]]
    refusals: Mapping[type[Problem], bytes]
    refused_page: Callable[[Request, Problem], Awaitable[Response]]
    mailbox: object | None = None
    provider: Provider | None = None
    bounces: Mapping[str, Any] = field(default_factory=dict)
    intake: TakesReports | None = None
    body_seconds: float = BODY_SECONDS


def services_of(request: Request) -> Services:
    """Give what the application of a request was made with."""
    # As ``state.services``, which is looked for elsewhere first, at four times the cost.
    services: Services = request.scope["app"].state["services"]
    return services


def fields_of(request: Request, name: str) -> list[str]:
    """List the values of all header fields of this name, in their order.

    As ``request.headers`` does, of which each look costs as much as five of these.
    """
    wanted = name.encode()
    return [value.decode("latin-1") for one, value in request.scope["headers"] if one == wanted]


class StrictRoute(APIRoute):
    """A route that refuses query parameters it does not know, and those given twice.

    A mistyped filter would be no filter, and of two values one would be passed over. It comes
    after the guards: who has no key learns nothing here. Every route below ``/v1`` is one.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **others: Any) -> None:
        """Take what APIRoute takes."""
        super().__init__(path, _strictly(endpoint), **others)


def _strictly(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Have ``endpoint`` called once its query is known to be sound.

    It takes the request beside what the endpoint takes: that costs nothing where a dependency,
    for every request, would cost more than all else that is done here.
    """
    signature = inspect.signature(endpoint)
    own = [name for name, one in signature.parameters.items() if one.annotation is Request]
    name = own[0] if own else "strict_request"

    @wraps(endpoint)
    async def checked(**values: Any) -> Any:
        request: Request = values[name] if own else values.pop(name)
        if request.scope["query_string"]:
            refuse_unknown_parameters(request)
        return await endpoint(**values)

    if not own:
        taken = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        parameters = [*signature.parameters.values(), taken]
        checked.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return checked


#: A parameter's name, as any of ours might be. What else is in its place is not repeated.
PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
MOST_FAULTS = 10


def refuse_unknown_parameters(request: Request) -> None:
    """Raise Unprocessable for query parameters that the route does not know, or that come twice.

    No value is repeated.
    """
    known = sorted(_query_parameters(request.scope["route"].dependant))
    says = f"Known are: {', '.join(known)}." if known else "This call takes none."
    given = Counter(name for name, _ in request.query_params.multi_items())
    errors = []
    for name, times in given.items():
        named = {"parameter": name} if PARAMETER.fullmatch(name) else {}
        if name not in known:
            errors.append({**named, "detail": f"There is no such parameter. {says}"})
        elif times > 1:
            errors.append({**named, "detail": "It may be given once."})
    if errors:
        raise Unprocessable(errors=errors[:MOST_FAULTS])


def _query_parameters(dependant: Dependant) -> set[str]:
    """Name the query parameters of a route, and of all that it depends on."""
    found = {field.alias for field in dependant.query_params}
    return found.union(*map(_query_parameters, dependant.dependencies))
