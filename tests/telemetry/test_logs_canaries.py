"""What a caller types is in no line of the log and in no metric: every route, and every fault."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from reach.app import create_app
from reach.auth import keys
from reach.db.connect import open_database
from reach.settings import Settings
from tests.support.canaries import found_in
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.people import token_of
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import Reach, change_services, running_worker
from tests.support.servers.mail import MailServer
from tests.support.servers.mail_session import Session

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
    #: With which credentials every kind of body is sent.
    thorough: tuple[int, int] = (0, GOOD)

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
                good = credentials[slice(*self.thorough)]
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
        asked = path.format(
            id=own, slug="canary", name="x.css", mail_id="canary", template="x", provider="x"
        )
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


pytestmark = pytest.mark.usefixtures("statements")

Told = Callable[[], str]
CANARY = {"email": "canary@example.com", "name": "Canary Grace", "description": "canary"}


def lines(text: str, message: str) -> list[dict[str, Any]]:
    """Find the lines of an event."""
    return [line for line in map(json.loads, text.splitlines()) if line["message"] == message]


async def visited(visitor: Visitor) -> Counter[int]:
    """Ask everything, and count what was answered."""
    return Counter([answer.status_code async for _, answer in visitor.visit()])


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_no_route_tells_who_called(reach: Reach, told: Told) -> None:
    """Any caller, with whatever in path, query, headers and body: each is a line, without it."""
    authorization = (await reach.key())["Authorization"]
    statuses = await visited(Visitor(reach, authorization.removeprefix("Bearer ")))
    assert {200, 201, 202, 400, 401, 404, 415, 422} <= set(statuses), statuses
    assert not statuses[500]
    requests = lines(told(), "request")
    assert len(requests) >= statuses.total()
    # The framework's own route of the document has no name.
    told_of = {line["url"]["path"] for line in requests if "url" in line} | {"/openapi.json"}
    assert {path for _, path in reach.routes} == told_of
    assert "INSERT INTO people" in told()  # it is the debug level
    assert found_in(told()) == []
    assert found_in(generate_latest().decode()) == []


async def test_no_fault_tells_who_called(
    reach: Reach, mail_server: MailServer, told: Told, tmp_path: Path
) -> None:
    """A refusal that quotes the address, a broken template, a crash, an unavailable database."""
    (tmp_path / "templates").mkdir()
    broken = tmp_path / "templates" / "changed.txt"
    broken.write_text("{{ name.canary.canary }}")
    mail_server.script["rcpt"] = quoting
    http, key = reach.http, await reach.key()
    settings = reach.settings.model_copy(update={"templates_dir": tmp_path / "templates"})
    async with running_worker(settings):
        person = (await http.post("/v1/people", json=CANARY, headers=key)).json()
        url = f"/v1/people/{person['id']}"
        await http.patch(url, json={"name": "Canary Ada"}, headers=key)

        async def failed() -> list[dict[str, Any]]:
            found = (await http.get(f"{url}/messages", headers=key)).json()["items"]
            return [item for item in found if item["state"] == "failed"]

        await eventually(lambda: failed_both(failed))
        # An operator is told what the log is not.
        assert any("canary@example.com" in str(item["last_error"]) for item in await failed())

    async def crash(*_: object) -> None:
        raise RuntimeError(f"cannot sign up {CANARY}")

    change_services(reach.app, sign_up=crash)
    assert (await http.post("/v1/signups", json=CANARY)).status_code == 500
    assert len(lines(told(), "not sent")) == 2
    assert len(lines(told(), "request crashed")) == 1
    assert found_in(told()) == []


def quoting(_: Session, argument: str) -> str:
    """Refuse a recipient as mail servers do: with its address."""
    return f"550 5.1.1 {argument} Grace Canary is unknown here"


async def failed_both(failed: Callable[[], Any]) -> bool:
    """Whether both messages are given up."""
    return len(await failed()) == 2


async def test_a_database_that_is_unavailable_tells_nothing(
    make_settings: Callable[..., Settings], database_url: str, told: Told
) -> None:
    """Drivers quote statements and values when they fail."""
    from tests.support.processes.reach import running_reach

    settings = make_settings(database_url=database_url, database_seconds=0.5)
    async with running_reach(settings) as reach:
        key = await reach.key()
        async with held(settings, "LOCK TABLE people"):
            for headers in ({}, key):
                path = "/v1/people" if headers else "/v1/signups"
                answer = await reach.http.post(path, json=CANARY, headers=headers)
                assert answer.status_code == 503
    failed = lines(told(), "request")
    assert [line["event"]["outcome"] for line in failed] == ["failure", "failure"]
    assert all(line["event"]["reason"] for line in failed)
    assert found_in(told()) == []


async def test_no_route_of_reach_up_tells_who_called(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """As a process of its own, with its mailbox: all that it writes but for its greeting."""
    settings = make_settings(database_url=sqlite, port=free_port(), log_level="debug")
    with ReachProcess("up", settings=settings) as process:
        process.wait_ready(settings.port)
        key = (settings.data_dir / "operator-key").read_text().strip()
        assert key in process.output
        async with described(settings) as reach:
            # What each does with each body is seen above; here, that it is a process's own output.
            statuses = await visited(Visitor(reach, key, thorough=(1, 2)))
            assert {200, 201, 202, 400, 401, 404, 415, 422} <= set(statuses), statuses
            assert not statuses[500]
            await eventually(lambda: len(lines(process.errors, "request")) >= statuses.total())
        assert process.stop() == 0
        assert "INSERT INTO people" in process.errors
        assert lines(process.errors, "worker stopped")
        assert found_in(process.errors) == []


@asynccontextmanager
async def described(settings: Settings) -> AsyncIterator[Reach]:
    """Describe a Reach that runs elsewhere: its routes, and a client of it."""
    database = open_database(settings)
    async with httpx.AsyncClient(
        base_url=settings.origin, verify=NO_CERTIFICATES, trust_env=False, timeout=20
    ) as http:
        yield Reach(settings, http, database, create_app(settings, database))
    await database.close()
