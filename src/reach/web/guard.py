"""The 401, 403 and 429 of ``/v1``: who is calling, may they, and do they call too often."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from reach.auth import keys
from reach.auth.keys import Operator, Scope
from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER
from reach.idempotency.stored import IdempotencyKey
from reach.limits.limiter import PolicyName
from reach.problems import Forbidden, NotFound, QuotaExceeded, Unauthorised
from reach.shapes import ID
from reach.web.errors import IS_OPERATOR
from reach.web.routes import Services, fields_of, services_of

T = TypeVar("T")

#: An id in a path: what is not one names nothing, so its reader answers 404 and not 422.
PathId = Annotated[str, Path(alias="id", json_schema_extra=ID.keywords)]


class KeyGuard(SecurityBase):
    """Asks for a key that has all of ``scopes``: what the dependencies below have in common."""

    def __init__(self, *scopes: Scope) -> None:
        """Name the scopes. Raises ValueError for one that there is not."""
        if unknown := set(scopes) - set(keys.SCOPES):
            raise ValueError(f"no scope is called {', '.join(unknown)}")
        self.scopes = scopes
        self.model = HTTPBearer(
            description="`rk_…`: `make run` prints one, `reach keys create` makes others"
        )
        self.scheme_name = "operatorKey"

    async def admit(self, request: Request, services: Services, key: Operator | None) -> Operator:
        """Let a key pass that was looked up. Raises Unauthorised; QuotaExceeded; Forbidden."""
        if key is None:
            await hit(services, "failed_keys", services.limiter.clients.of_request(request.scope))
            raise Unauthorised
        services.key_uses.note(key)
        request.scope[IS_OPERATOR] = True
        for scope in self.scopes:
            if scope not in key.scopes:
                raise Forbidden(f"This call needs the scope {scope}.")
        return key

    async def look_up(self, request: Request, services: Services, text: str) -> Operator:
        """Find whose key a text is that is worth it. Raises what ``admit`` raises."""
        key = await services.database.read_together(_find_keys, text)
        return await self.admit(request, services, key)


class OperatorKey(KeyGuard):
    """The dependency that lets operators pass whose key has all of ``scopes``."""

    async def __call__(self, request: Request) -> Operator:
        """Find the operator who calls.

        Raises Unauthorised, alike for every reason; QuotaExceeded, before the database is asked;
        Forbidden.
        """
        services = services_of(request)
        text = await key_shown(request, services)
        return await self.look_up(request, services, text)


class Found(KeyGuard, Generic[T]):
    """The dependency that finds what an operator asks for by the id in the path, if they may.

    The key and what is asked for are read in one transaction, which callers share. It gives what
    ``find_all`` finds by that id: None, if there is nothing. Raises what OperatorKey raises;
    ``missing`` for what is no id.
    """

    def __init__(
        self,
        scope: Scope,
        find_all: Callable[[Transaction, Collection[UUID]], Mapping[UUID, T]],
        missing: type[NotFound],
    ) -> None:
        """Take what finds it, and what to raise where it cannot be."""
        super().__init__(scope)
        self._find_all, self._missing = find_all, missing

    async def __call__(self, request: Request, id_: PathId) -> T | None:
        """Find it."""
        services = services_of(request)
        text = await key_shown(request, services)
        wanted = path_id(id_)
        key, found = await services.database.read_together(self._read_all, (text, wanted))
        await self.admit(request, services, key)
        if wanted is None:
            raise self._missing
        return found

    def _read_all(
        self, tx: Transaction, asked: Sequence[tuple[str, UUID | None]]
    ) -> Sequence[tuple[Operator | None, T | None]]:
        """Look each key up once, and then all that those may see who have one."""
        texts = [text for text, _ in asked]
        known = dict(zip(texts, _find_keys(tx, texts), strict=True))
        may_see = {
            text for text, key in known.items() if key and key.scopes.issuperset(self.scopes)
        }
        wanted = {id_ for text, id_ in asked if id_ and text in may_see}
        found = self._find_all(tx, wanted) if wanted else {}
        return [
            (known[text], found.get(id_) if id_ and text in may_see else None)
            for text, id_ in asked
        ]


def _find_keys(tx: Transaction, texts: Sequence[str]) -> Sequence[Operator | None]:
    """Find whose keys these are, each looked up once: many requests show the same."""
    known = {text: keys.find(tx, text) for text in set(texts)}
    return [known[text] for text in texts]


async def key_shown(request: Request, services: Services) -> str:
    """Give the key that a request shows, if it is worth a look into the database.

    A request without a key is no wrong key: any page elsewhere can have its visitor's browser send
    such, and would use up what the visitor's whole network may fail. Raises Unauthorised;
    QuotaExceeded.
    """
    text = bearer(request)
    if not text:
        raise Unauthorised
    await check_key(request, services, text)
    return text


async def operator_of(request: Request, text: str) -> Operator:
    """Find whose key it is that somebody typed. Raises Unauthorised; QuotaExceeded."""
    services = services_of(request)
    await check_key(request, services, text)
    return await KeyGuard().look_up(request, services, text)


async def check_key(request: Request, services: Services, text: str) -> None:
    """Check that a text is worth a look into the database. Raises Unauthorised; QuotaExceeded."""
    client = services.limiter.clients.of_request(request.scope)
    refusal = services.limiter.is_known_full("failed_keys", client)
    if refusal is None:
        if not keys.is_well_formed(text):
            await hit(services, "failed_keys", client)
            raise Unauthorised
        refusal = await services.limiter.hit("api", text)
    if refusal is not None:
        raise QuotaExceeded(refusal.violated, refusal.headers)


def bearer(request: Request) -> str:
    """The key or token of the ``Authorization`` header, empty if there is none.

    No page elsewhere can have a browser send one, unless ``REACH_CORS_ORIGINS`` names its site.
    """
    given = fields_of(request, "authorization")
    scheme, _, text = given[0].partition(" ") if given else ("", "", "")
    return text.strip() if scheme.lower() == "bearer" else ""


def path_id(text: str) -> UUID | None:
    """Read an id in a path; None if it is none: of what Python reads, only RFC 9562's text is."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def idempotency_key(
    request: Request, operator: Operator, data: Any = None
) -> IdempotencyKey | None:
    """Read an operator's ``Idempotency-Key``, if there is one. Raises BadRequest."""
    given = fields_of(request, HEADER)
    if not given:
        return None
    idempotency = services_of(request).idempotency
    return idempotency.of_operator(given, operator.id, request.scope["path"], data)


async def failed_link(request: Request) -> None:
    """Count a wrong link. Raises QuotaExceeded, in place of the caller's 401.

    Good ones are never refused for it: a signature of 128 bits is not found by trying, and a page
    elsewhere can have its visitors' browsers show as many wrong ones as it likes.
    """
    services = services_of(request)
    await hit(services, "failed_links", services.limiter.clients.of_request(request.scope))


async def hit(services: Services, policy: PolicyName, who: str) -> None:
    """Count a call of ``who`` (the text of a key, say). Raises QuotaExceeded."""
    refusal = await services.limiter.hit(policy, who)
    if refusal is not None:
        raise QuotaExceeded(refusal.violated, refusal.headers)


def scopes_of(dependencies: Iterable[Dependant]) -> Sequence[str]:
    """List the scopes that a key needs for a route with these dependencies."""
    calls: list[object] = [one.call for one in dependencies]
    guards = [call for call in calls if isinstance(call, KeyGuard)]
    return [scope for guard in guards for scope in guard.scopes]
