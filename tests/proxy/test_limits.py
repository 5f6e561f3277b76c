"""Who is limited at the edge, who behind it, and that no header changes a client's address."""

import asyncio
from pathlib import Path

import httpx
import pytest

from reach.settings import Settings
from tests.support.deploy.edges import (
    address_of,
    behind_proxy,
    layer,
    running_edge,
    sign_up_limit,
    sign_ups,
)
from tests.support.http.clients import NO_CERTIFICATES, spoofs
from tests.support.processes.running import running_api
from tests.support.servers.echo import echo, seen

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_what_is_too_much_is_refused_by_the_edge(behind: Settings, tmp_path: Path) -> None:
    """The limit's 429 is Traefik's and says when to come again; others are let in meanwhile."""
    async with (
        running_api(behind),
        running_edge(tmp_path, (behind.port, behind.port), sign_up_limit(5)) as edge,
    ):
        assert await sign_ups(edge, 1, 12) == {("reach", 202): 5, ("edge", 429): 7}
        assert await sign_ups(edge, 2, 4) == {("reach", 202): 4}
        async with edge.client(1) as http:
            refused = await http.post("/v1/signups", json={})
            page = await http.get("/")
    assert (refused.status_code, layer(refused)) == (429, "edge")
    assert int(refused.headers["Retry-After"]) > 0
    assert not refused.headers.get("Content-Type", "").startswith("application/problem+json")
    assert (page.status_code, layer(page)) == (200, "reach"), "its limits are not those of sign-ups"


async def test_no_header_helps_at_the_edge(behind: Settings, tmp_path: Path) -> None:
    """Whatever they say they are, one client's requests count as one's."""
    async with (
        running_api(behind),
        running_edge(tmp_path, (behind.port, behind.port), sign_up_limit(5)) as edge,
    ):
        counted = await sign_ups(edge, 1, 40, *spoofs(40))
    assert counted == {("reach", 202): 5, ("edge", 429): 35}


async def test_no_header_helps_behind_the_edge(behind: Settings, tmp_path: Path) -> None:
    """Reach counts by the edge's word, so each client has a limit, and one only."""
    settings = behind.model_copy(update={"limit_signups": "3/hour"})
    async with (
        running_api(settings),
        running_edge(tmp_path, (settings.port, settings.port), sign_up_limit(100)) as edge,
    ):
        counted = await sign_ups(edge, 1, 40, *spoofs(40))
        others = await sign_ups(edge, 2, 4)
    assert counted == {("reach", 202): 3, ("reach", 429): 37}
    assert others == {("reach", 202): 3, ("reach", 429): 1}


async def test_what_arrives_is_the_edges_own_word(tmp_path: Path, database_url: str) -> None:
    """Behind the edge there is one X-Forwarded-For, with the client's true address, no alias."""
    del database_url
    async with echo() as port, running_edge(tmp_path, (port, port)) as edge, edge.client(7) as http:
        answers = [await http.get("/", headers=[*headers]) for headers in spoofs(32)]
    for answer in answers:
        headers = seen(answer)
        assert headers["x-forwarded-for"] == [address_of(7)]
        assert headers["x-real-ip"] == [address_of(7)]
        assert "forwarded" not in headers
        assert not [name for name in headers if not name.replace("-", "").isalnum()]


async def test_behind_a_proxy_its_word_counts(tmp_path: Path, database_url: str) -> None:
    """With one trusted proxy before it, the edge counts by what that one says, IPv6 by /64."""
    del database_url
    changes = [*behind_proxy(), *sign_up_limit(3)]

    async def admitted(http: httpx.AsyncClient, *forwarded: str) -> int:
        calls = [
            http.post("/v1/signups", json={}, headers={"X-Forwarded-For": word})
            for word in forwarded
        ]
        return sum(answer.status_code != 429 for answer in await asyncio.gather(*calls))

    async with echo() as port, running_edge(tmp_path, (port, port), changes) as edge:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{edge.port}",
            headers={"Host": edge.name},
            verify=NO_CERTIFICATES,
            trust_env=False,
        ) as http:
            one = [f"2001:db8:1:2::{number:x}" for number in range(1, 21)]
            spoofed = [f"198.51.100.{number}, 192.0.2.7" for number in range(1, 21)]
            assert await admitted(http, *one) == 3
            assert await admitted(http, "2001:db8:1:3::1", "192.0.2.1", "192.0.2.2") == 3
            assert await admitted(http, *spoofed) == 3
        async with edge.client(1) as stranger:  # not the proxy: all such count as one
            assert await admitted(stranger, *one, *spoofed) == 3
