"""Somebody at work on their own record: a client that brings a link."""

from uuid import UUID

import httpx

from reach.auth.links import Link, Links, Scope
from reach.messages.filters import Filter, page
from reach.people import queries
from reach.people.model import Person
from reach.settings import Settings
from tests.support.reach import Reach

#: The scopes of links by which each operation may be done.
OWN: dict[tuple[str, str], set[Scope]] = {
    ("GET", "/v1/me"): {"manage"},
    ("PATCH", "/v1/me"): {"manage"},
    ("DELETE", "/v1/me"): {"manage"},
    ("POST", "/v1/me/confirmation"): {"manage", "confirm"},
    ("DELETE", "/v1/me/links"): {"manage"},
    ("GET", "/v1/me/export"): {"manage"},
}


async def signed_up(reach: Reach, email: str = "ada@example.com", **fields: str) -> Person:
    """Sign somebody up as strangers do, and give their record."""
    body = {"email": email, "name": "Ada", **fields}
    assert (await reach.http.post("/v1/signups", json=body)).status_code == 202
    (person,) = await reach.database.read(queries.page, limit=1, prefix=email.lower())
    return person


def token_of(
    settings: Settings, person_id: UUID | str, scope: Scope = "manage", version: int = 0
) -> str:
    """Mint the token that an email of now would carry."""
    return Links(settings).mint(Link(UUID(str(person_id)), scope, version))


def by_link(token: str) -> dict[str, str]:
    """The header in which a token goes."""
    return {"Authorization": f"Bearer {token}".strip()}


async def at_work(reach: Reach, **fields: str) -> tuple[httpx.AsyncClient, Person]:
    """Sign Ada up, and give the client of ``reach`` her link."""
    person = await signed_up(reach, **fields)
    reach.http.headers.update(by_link(token_of(reach.settings, person.id)))
    return reach.http, person


async def say(reach: Reach, operation: tuple[str, str], token: str | None) -> httpx.Response:
    """Do an operation with this token, with a body that changes the name if it takes one."""
    method, path = operation
    headers = {} if token is None else by_link(token)
    json = {"name": "Eve"} if method == "PATCH" else None
    return await reach.http.request(method, path, json=json, headers=headers)


async def owed(reach: Reach) -> list[str]:
    """The templates of all messages, the newest first."""
    return [message.template for message in await reach.database.read(page, Filter(), limit=200)]
