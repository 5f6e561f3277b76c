"""Somebody with a link: what their browser would send, and what became of their record."""

import html
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from reach.auth.links import Link, Links, Scope
from tests.support.reach import Reach

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
