"""What a caller types is in no line of the log and in no metric: every route, and every fault."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from reach.app import create_app
from reach.db.connect import open_database
from reach.settings import Settings
from tests.support.canaries import found_in
from tests.support.eventually import eventually
from tests.support.mail import MailServer
from tests.support.mail_session import Session
from tests.support.plain import NO_CERTIFICATES
from tests.support.ports import free_port
from tests.support.processes import ReachProcess
from tests.support.promises.locks import held
from tests.support.reach import Reach, change_services, running_worker
from tests.support.telemetry.visitor import Visitor

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
    from tests.support.reach import running_reach

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
            statuses = await visited(Visitor(reach, key))
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
