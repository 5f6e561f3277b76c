"""Everybody at once, at several processes, until they are told to stop: whatever fails is kept.

Nobody tries again: a request that is not answered as it should be is a failure.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from uuid import UUID

import httpx

from reach.settings import Settings
from tests.support.eventually import eventually
from tests.support.people.own import by_link, token_of
from tests.support.promises.running import client

PATIENCE_SECONDS = 30


class Load:
    """What was asked of every process, and what went wrong."""

    def __init__(self, key: dict[str, str], known: Sequence[UUID]) -> None:
        """Take an operator's key, and people to be changed: each is one task's alone."""
        self.failures: list[str] = []
        self.answered: Counter[tuple[int, str]] = Counter()
        #: Whose sign-up was accepted.
        self.accepted: list[str] = []
        self._key = key
        self._known = iter(known)
        self._numbers = count()

    @asynccontextmanager
    async def at(self, settings: Settings) -> AsyncIterator[None]:
        """Keep the API at ``settings.port`` busy; at the end, all are answered that asked."""
        going = asyncio.Event()
        going.set()
        async with client(settings) as http, asyncio.TaskGroup() as group:
            for visit in (self._sign_up, self._look, self._come_and_go):
                group.create_task(self._repeat(visit, http, settings, going))
            for change in (self._change, self._change_own):
                group.create_task(self._repeat(change, http, settings, going, next(self._known)))
            try:
                yield
            finally:
                going.clear()

    async def goes_on(self, *ports: int, rounds: int = 5) -> None:
        """Wait until each process has answered each kind of visitor some more."""
        before = self.answered.copy()

        def is_answered() -> bool:
            return bool(self.failures) or all(
                self.answered[port, visit] >= before[port, visit] + rounds
                for port in ports
                for visit in ("_sign_up", "_look", "_come_and_go", "_change", "_change_own")
            )

        await eventually(is_answered, PATIENCE_SECONDS, every=0.05)

    async def _repeat(
        self,
        visit: Callable[..., Awaitable[None]],
        http: httpx.AsyncClient,
        settings: Settings,
        going: asyncio.Event,
        *given: UUID,
    ) -> None:
        while going.is_set():
            try:
                await visit(http, settings, *given)
            except (httpx.HTTPError, AssertionError) as error:
                self.failures.append(f"{settings.port} {visit.__name__}: {error!r}")
            self.answered[settings.port, visit.__name__] += 1

    async def _sign_up(self, http: httpx.AsyncClient, settings: Settings) -> None:
        address = f"load{next(self._numbers)}-{settings.port}@example.com"
        body = {"email": address, "name": "Ada"}
        expect(await http.post("/v1/signups", json=body), 202)
        self.accepted.append(address)

    async def _look(self, http: httpx.AsyncClient, _: Settings) -> None:
        listed = expect(await http.get("/v1/people?limit=20", headers=self._key), 200)
        one = listed.json()["items"][-1]["id"]
        # It may have come and gone.
        expect(await http.get(f"/v1/people/{one}", headers=self._key), 200, 404)
        expect(await http.get("/v1/messages?limit=5&state=sent", headers=self._key), 200)
        expect(await http.get("/v1/stats", headers=self._key), 200)

    async def _come_and_go(self, http: httpx.AsyncClient, _: Settings) -> None:
        body = {"email": f"guest{next(self._numbers)}@example.com", "name": "G", "welcome": False}
        made = expect(await http.post("/v1/people", json=body, headers=self._key), 201)
        place = made.headers["Location"]
        expect(await http.delete(place, headers=self._key), 204)
        expect(await http.get(place, headers=self._key), 404)

    async def _change(self, http: httpx.AsyncClient, _: Settings, person: UUID) -> None:
        body = {"name": f"Name {next(self._numbers)}"}
        changed = await http.patch(f"/v1/people/{person}", json=body, headers=self._key)
        assert expect(changed, 200).json()["name"] == body["name"]

    async def _change_own(self, http: httpx.AsyncClient, settings: Settings, person: UUID) -> None:
        link = by_link(token_of(settings, person))
        body = {"description": f"{next(self._numbers)}"}
        expect(await http.patch("/v1/me", json=body, headers=link), 200)
        read = expect(await http.get("/v1/me", headers=link), 200)
        assert read.json()["description"] == body["description"]


def expect(answer: httpx.Response, *statuses: int) -> httpx.Response:
    """Raise AssertionError unless the status is one of these."""
    assert answer.status_code in statuses, f"{answer.status_code} {answer.text[:200]}"
    return answer
