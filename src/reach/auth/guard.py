"""The 401 and the 403: who is calling, and may they."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPBearer

from reach.access.uses import KeyUses  # noqa: TC001 - as below
from reach.auth import keys
from reach.auth.keys import ApiKey
from reach.db.database import Database  # noqa: TC001 - FastAPI reads annotations
from reach.problems import Forbidden, Unauthorised
from reach.web import guard as limits

#: Declares the scheme in the OpenAPI document; the header is read by ``operator`` itself.
operator_key = HTTPBearer(
    scheme_name="operatorKey", description="`rk_…`, made by `reach keys create`", auto_error=False
)


async def operator(request: Request) -> ApiKey:
    """Find the operator who calls.

    Raises Unauthorised, the same for every reason; QuotaExceeded, before the database is asked.
    A request without a key is no wrong key: any page elsewhere can have its visitor's browser send
    such, and would use up what the visitor's whole network may fail.
    """
    text = bearer(request)
    if not text:
        raise Unauthorised
    await limits.may_try(request)
    if not keys.is_well_formed(text):
        await limits.failed_key(request)
        raise Unauthorised
    await limits.hit_api(request, text)
    database: Database = request.app.state.database
    key = await database.read(keys.find, text)
    if key is None:
        await limits.failed_key(request)
        raise Unauthorised
    uses: KeyUses = request.app.state.key_uses
    uses.note(key)
    request.state.is_operator = True
    return key


def bearer(request: Request) -> str:
    """The key or token of the ``Authorization`` header, empty if there is none.

    No page elsewhere can have a browser send one, unless ``REACH_CORS_ORIGINS`` names its site.
    """
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def is_operator(request: Request) -> bool:
    """Whether ``operator`` found one, who may be told what is the matter behind the door."""
    return getattr(request.state, "is_operator", False)


def needs(scope: str) -> Callable[[ApiKey], Awaitable[ApiKey]]:
    """Make the dependency that lets only keys with ``scope`` pass. Raises Forbidden."""
    if scope not in keys.SCOPES:
        raise ValueError(f"no scope is called {scope}")

    async def holder(key: Annotated[ApiKey, Depends(operator)]) -> ApiKey:
        if scope not in key.scopes:
            raise Forbidden(f"This call needs the scope {scope}.")
        return key

    holder.scope = scope  # type: ignore[attr-defined]  # for ``scopes_of``
    return holder


def scopes_of(dependencies: Iterable[Dependant]) -> Sequence[str]:
    """List the scopes that ``needs`` asks for among what a route depends on."""
    found = (getattr(one.call, "scope", None) for one in dependencies)
    return [scope for scope in found if scope is not None]
