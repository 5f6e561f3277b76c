"""A dead API is taken out, and its death costs no request that could be sent to another one."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from reach.db.database import Database
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import messages_in, people_in
from tests.support.deploy.edges import DYNAMIC, Change, Edge, running_edge
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api, said

#: No limits: what is counted here is what gets lost.
UNLIMITED = [
    Change(DYNAMIC, "average: 60 # ADAPT", "average: 0"),
    Change(DYNAMIC, "average: 20 # ADAPT", "average: 0"),
]
CALLERS = 4


def url(port: int) -> str:
    """Name a server as the edge does."""
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_dead_server_is_taken_out_and_comes_back(behind: Settings, tmp_path: Path) -> None:
    """The edge asks /readyz: who does not answer is DOWN, and UP again once it does."""
    other = behind.model_copy(update={"port": free_port()})
    async with (
        running_api(behind) as first,
        running_api(other),
        running_edge(tmp_path, (behind.port, other.port)) as edge,
    ):

        def state() -> str:
            return edge.traefik.server_states()[url(behind.port)]

        assert set(edge.traefik.server_states().values()) == {"UP"}
        first.kill()
        await eventually(lambda: state() == "DOWN", every=0.1)
        assert edge.traefik.server_states()[url(other.port)] == "UP"
        async with edge.client(1) as http:
            answers = [await http.get("/") for _ in range(6)]
        first.start()
        await said(first, "api started", count=2)
        await eventually(lambda: state() == "UP", every=0.1)
    assert [answer.status_code for answer in answers] == [200] * 6


@dataclass
class Traffic:
    """Callers that sign people up and look at the page, each as fast as it is answered."""

    edge: Edge
    pages: Counter[int] = field(default_factory=Counter)
    #: Of each address signed up: the answer's status, and whether it was asked for after the kill.
    sign_ups: dict[str, tuple[int, bool]] = field(default_factory=dict)
    is_killed: bool = False
    is_over: bool = False

    async def look(self, http: httpx.AsyncClient) -> None:
        """Ask for the page until it is over."""
        while not self.is_over:
            self.pages[(await http.get("/")).status_code] += 1

    async def sign_up(self, http: httpx.AsyncClient, caller: int) -> None:
        """Sign somebody else up, until it is over."""
        number = 0
        while not self.is_over:
            email, is_late = f"ada{caller}-{number}@example.com", self.is_killed
            answer = await http.post("/v1/signups", json={"email": email, "name": "Ada"})
            self.sign_ups[email] = answer.status_code, is_late
            number += 1

    def has_done(self, count: int) -> bool:
        """Whether so many sign-ups were asked for after the kill, and as many before."""
        late = sum(is_late for _, is_late in self.sign_ups.values())
        return min(late if self.is_killed else count, len(self.sign_ups) - late) >= count


async def test_a_killed_server_costs_no_request_that_could_be_repeated(
    behind: Settings, tmp_path: Path
) -> None:
    """Every GET is answered, and every POST but those the dead server had already been given.

    Traefik does not repeat those, so nobody is signed up twice, and each has one email.
    """
    other = behind.model_copy(update={"port": free_port()})
    async with running_api(behind) as victim, running_api(other), opened(behind) as database:
        async with running_edge(tmp_path, (behind.port, other.port), UNLIMITED) as edge:
            traffic = Traffic(edge)
            async with edge.client(1) as http, asyncio.TaskGroup() as group:
                for caller in range(CALLERS):
                    group.create_task(traffic.look(http))
                    group.create_task(traffic.sign_up(http, caller))
                await eventually(lambda: traffic.has_done(50), seconds=30)
                victim.kill()
                traffic.is_killed = True
                await eventually(lambda: traffic.has_done(50), seconds=30)
                traffic.is_over = True
        assert set(traffic.pages) == {200}, traffic.pages
        await assert_nobody_is_lost_or_doubled(traffic, database)


async def assert_nobody_is_lost_or_doubled(traffic: Traffic, database: Database) -> None:
    """Compare what callers were told with what is stored."""
    failed = {email: told for email, told in traffic.sign_ups.items() if told[0] != 202}
    assert {status for status, _ in failed.values()} <= {502}
    assert len(failed) <= CALLERS, failed
    assert not any(is_late for _, is_late in failed.values()), "asked for after the kill"
    people = Counter(await people_in(database))
    told_so = traffic.sign_ups.keys() - failed.keys()
    assert told_so <= people.keys() <= traffic.sign_ups.keys()
    assert set(people.values()) == {1}
    promised = Counter(
        (message.recipient, message.template) for message in await messages_in(database)
    )
    assert promised == dict.fromkeys(((email, "welcome") for email in people), 1)
