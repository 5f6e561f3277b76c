"""Somebody who puts canaries wherever a request takes text."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from reach.auth import keys
from tests.support.people.own import token_of
from tests.support.reach import Reach

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PERSON = {"name": "Grace Canary", "description": "Her canary is called Ada."}
#: The names that scripts, the outer world and proxies know: nobody asks who reads them.
HEADERS = {
    "User-Agent": "canary/1.0 (canary@example.com)",
    "Referer": "https://example.org/?email=canary@example.com",
    "Origin": "https://canary.example.org",
    "X-Forwarded-For": "canary, 192.0.2.1",
    "X-Request-ID": "canary@example.com",
    "traceparent": "00-canary-canary-00",
    "Idempotency-Key": "canary-key",
    "If-Match": '"canary"',
    "Accept-Language": "canary",
    "X-Canary": "canary",
}
#: Of the credentials, so many are good.
GOOD = 3
#: No operator's key: nobody made it, though it has the shape.
WRONG_KEY = keys.generate()


@dataclass
class Visitor:
    """Asks at each of the routes of ``reach``, with every credential and every kind of body."""

    reach: Reach
    key: str

    async def visit(self) -> AsyncIterator[tuple[str, httpx.Response]]:
        """Ask everything; give each answer, with the route it is of."""
        # What takes them away comes last: there is something to see before.
        routes = sorted(self.reach.routes, key=lambda route: (route[0] == "DELETE", route[1]))
        for number in count():
            if number == len(routes):
                return
            method, path = routes[number]
            person = await self._add(number)
            credentials = self._credentials(str(person["id"]))
            bodies = self._bodies(number, str(person["id"]))
            calls = [(credential, bodies[0]) for credential in credentials]
            if method not in ("GET", "HEAD"):  # these read no body
                good = credentials[:GOOD]
                calls += [(credential, body) for credential in good for body in bodies[1:]]
            for credential, body in calls:
                yield path, await self._ask(method, path, person, credential, body)

    async def _add(self, number: int) -> dict[str, Any]:
        """Add a person, with a message that is theirs."""
        person = {**PERSON, "email": f"canary-{number}@example.com"}
        authorization = {"Authorization": f"Bearer {self.key}"}
        answer = await self.reach.http.post("/v1/people", json=person, headers=authorization)
        added: dict[str, Any] = answer.json()
        mine = await self.reach.http.get(
            f"/v1/people/{added['id']}/messages", headers=authorization
        )
        return added | {"message": mine.json()["items"][0]["id"]}

    def _credentials(self, person_id: str) -> list[dict[str, str]]:
        token = token_of(self.reach.settings, person_id)
        bearers = [self.key, token, WRONG_KEY, f"{token[:-8]}AAAAAAAA", "rk_canary@example.com"]
        cookies = f"reach-manage={token}; reach-confirm={token}; canary=1"
        return [
            {"Cookie": cookies, "Accept": "text/html"},
            *({"Authorization": f"Bearer {bearer}"} for bearer in bearers),
            {},
        ]

    def _bodies(self, number: int, person_id: str) -> list[tuple[dict[str, str], bytes]]:
        person = {**PERSON, "email": f"canary-body-{number}@example.com"}
        message = {"person_id": person_id, "template": "changed", "data": {"fields": ["name"]}}
        return [
            (JSON, json.dumps(person).encode()),
            (JSON, json.dumps(PERSON).encode()),
            (JSON, json.dumps(message).encode()),
            (JSON, b'{"canary@example.com": "canary'),
            (FORM, b"name=Grace+Canary&email=canary-form@example.com&canary=1"),
        ]

    async def _ask(
        self,
        method: str,
        path: str,
        person: dict[str, Any],
        credential: dict[str, str],
        body: tuple[dict[str, str], bytes],
    ) -> httpx.Response:
        own = person["message"] if "/messages/" in path else person["id"]
        asked = path.format(id=own, slug="canary", name="canary.css", mail_id="canary")
        token = token_of(self.reach.settings, person["id"])
        headers = {**HEADERS, **body[0], **credential}
        # What a link has, and what an operator asks for; but below /v1, where a parameter that is
        # not known is refused, not with what is well-formed.
        is_refused = path.startswith("/v1/") and not body[1].startswith((b'{"canary', b"name="))
        query = {"token": token, "q": "canary@example.com", "cursor": "canary"}
        query = {} if is_refused or not body[1] else query
        if not path.startswith("/v1/") or "Authorization" not in credential:
            headers.pop("Idempotency-Key")
        return await self.reach.http.request(
            method, asked, params=query, headers=headers, content=body[1]
        )
