"""People at work: an operator with a key, somebody with a link, what a form sends."""

import asyncio
import html
import re
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from altcha import Challenge, Payload, solve_challenge

from reach.auth.links import Link, Links, Scope
from reach.messages.filters import Filter, page
from reach.people import filters
from reach.people.antispam import FORM_SECONDS, AntiSpam
from reach.people.model import Person
from reach.settings import Settings
from tests.support.database.stored import messages_in
from tests.support.processes.reach import ADA, Reach

NOBODY = "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1"


async def operator(reach: Reach, *scopes: str) -> httpx.AsyncClient:
    """Give the client of ``reach`` a key with these scopes (all, if none is named)."""
    reach.http.headers.update(await reach.key(*scopes))
    return reach.http


async def add(http: httpx.AsyncClient, **fields: object) -> httpx.Response:
    """Add Ada, or somebody like her."""
    return await http.post("/v1/people", json={**ADA, **fields})


async def everybody(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """List people, the newest first."""
    answer = await http.get("/v1/people", params=params)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


async def owed(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """List messages, the newest first."""
    answer = await http.get("/v1/messages", params=params)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


async def templates(http: httpx.AsyncClient) -> list[str]:
    """The templates of all messages, the newest first."""
    return [message["template"] for message in await owed(http)]


#: The scopes of links by which each operation may be done.
OWN: dict[tuple[str, str], set[Scope]] = {
    ("GET", "/v1/me"): {"manage"},
    ("PATCH", "/v1/me"): {"manage"},
    ("DELETE", "/v1/me"): {"manage"},
    ("POST", "/v1/me/confirmation"): {"manage", "confirm"},
    ("DELETE", "/v1/me/links"): {"manage"},
    ("GET", "/v1/me/export"): {"manage"},
    ("POST", "/v1/me/email"): {"manage"},
    ("DELETE", "/v1/me/email"): {"manage", "address"},
    ("POST", "/v1/me/email/confirmation"): {"address"},
}


async def signed_up(reach: Reach, email: str = "ada@example.com", **fields: str) -> Person:
    """Sign somebody up as strangers do, and give their record."""
    body = {"email": email, "name": "Ada", **fields}
    assert (await reach.http.post("/v1/signups", json=body)).status_code == 202
    return await person_at(reach, email.lower())


async def person_at(reach: Reach, address: str | None = None) -> Person:
    """The newest person whose address begins so."""
    chosen_by = filters.Filter(prefix=address)
    (person,), _ = await reach.database.read(filters.page, chosen_by, limit=1, after=None)
    return person


def token_of(
    settings: Settings, person_id: UUID | str, scope: Scope = "manage", version: int = 0
) -> str:
    """Mint the token that an email of now would carry."""
    return Links(settings).mint(Link(UUID(str(person_id)), scope, version))


async def new_address_token(reach: Reach, person_id: UUID) -> str:
    """Mint the token of the newest email to an address that a record is to move to."""
    found = await messages_in(reach.database)
    theirs = [one for one in found if one.person_id == person_id]
    newest = [one for one in theirs if one.template == "confirm-address"][-1]
    return token_of(reach.settings, person_id, "address", newest.data["change"])


def by_link(token: str) -> dict[str, str]:
    """The header in which a token goes."""
    return {"Authorization": f"Bearer {token}".strip()}


async def at_work(reach: Reach, **fields: str) -> tuple[httpx.AsyncClient, Person]:
    """Sign Ada up, and give the client of ``reach`` her link."""
    person = await signed_up(reach, **fields)
    reach.http.headers.update(by_link(token_of(reach.settings, person.id)))
    return reach.http, person


async def say(reach: Reach, operation: tuple[str, str], token: str | None) -> httpx.Response:
    """Do an operation with this token, with a body that changes the record if it takes one."""
    method, path = operation
    headers = {} if token is None else by_link(token)
    json = {"PATCH": {"name": "Eve"}, "POST": {"email": "eve@example.org"}}.get(method)
    if operation in OWN and path not in ("/v1/me", "/v1/me/email"):
        json = None
    return await reach.http.request(method, path, json=json, headers=headers)


async def templates_in(reach: Reach) -> list[str]:
    """The templates of all messages, the newest first."""
    found, _ = await reach.database.read(page, Filter(), limit=200)
    return [message.template for message in found]


async def solved(reach: Reach) -> str:
    """Ask for a challenge and solve it."""
    answer = await reach.http.get("/v1/challenge")
    return await solution(answer.raise_for_status().json())


async def solution(challenge: dict[str, Any]) -> str:
    """Solve a challenge in a thread."""
    asked = Challenge.from_dict(challenge)
    found = await asyncio.to_thread(solve_challenge, asked)
    assert found is not None
    return Payload(asked, found).to_base64()


def opened_ago(settings: Settings, seconds: float) -> str:
    """The stamp of a form that was opened so long ago."""
    return AntiSpam(settings).stamp(time.time() - seconds)


def opened_too_long_ago(settings: Settings) -> str:
    """The stamp of an old form."""
    return opened_ago(settings, FORM_SECONDS + 60)


PROOF = re.compile(r'name="form" value="([^"]+)"')


@dataclass
class Holder:
    """A person of a running Reach, and their link."""

    reach: Reach
    person_id: UUID
    scope: Scope
    token: str = field(init=False)

    def __post_init__(self) -> None:
        links: Links = self.reach.app.state.services.links
        self.token = links.mint(Link(self.person_id, self.scope, 0))

    @property
    def cookie(self) -> dict[str, str]:
        """What the browser sends once the link was followed."""
        return {"Cookie": f"reach-{self.scope}={self.token}", "Accept": "text/html"}

    async def get(self, path: str) -> httpx.Response:
        """Look at a page."""
        return await self.reach.http.get(path, headers=self.cookie)

    async def proof(self) -> str:
        """Find what the forms of the page hold."""
        page = await self.get(f"/{self.scope}")
        assert page.status_code == 200, page.text
        (found,) = set(PROOF.findall(page.text))
        return html.unescape(found)

    async def post(self, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        """Press a button, as a browser does."""
        data = {"form": await self.proof(), **(form or {})}
        headers = {**self.cookie, "Origin": self.reach.settings.origin}
        return await self.reach.http.post(path, data=data, headers=headers)

    async def stored(self) -> dict[str, Any] | None:
        """What operators see of the person; None if there is nobody."""
        key = await self.reach.key()
        answer = await self.reach.http.get(f"/v1/people/{self.person_id}", headers=key)
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == httpx.codes.OK else None


async def holder(
    reach: Reach, scope: Scope = "manage", email: str = "ada@example.com", name: str = "Ada"
) -> Holder:
    """Sign somebody up and give them a link."""
    key = await reach.key()
    body = {"email": email, "name": name, "description": "I like tea"}
    answer = await reach.http.post("/v1/people", json=body, headers=key)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return Holder(reach, UUID(answer.json()["id"]), scope)
