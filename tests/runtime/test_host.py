"""For which host a request is: said once, or in its target."""

import json

import pytest

from tests.support.http import raw
from tests.support.http.clients import JSON, calling
from tests.support.processes.reach import Reach

HOSTS = [
    "localhost",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
    "[2001:db8::1]:443",
    "EXAMPLE.com",
    "example.com.",
    "example.com:",
    "under_score.example",
    "xn--bcher-kva.example",
    "a-b.example:1",
    "",
]
NO_HOSTS = [
    "a b",
    "a/b",
    "a\\b",
    "user@example.com",
    "a?b",
    "a#b",
    "a:b",
    "a:-1",
    "a:+1",
    "a:1:2",
    "::1",
    "[::1",
    "::1]",
    "[::1]x",
    "[]",
    "[not an address]",
    "<b>",
    'a"b',
    "a\tb",
    "b\xfccher.example",
    "http://example.com",
]


def asking(*hosts: str, target: str = "/seen", version: str = "1.1") -> bytes:
    """Write a request with so many Host lines."""
    first = f"GET {target} HTTP/{version}"
    return raw.head([first, *(f"Host: {host}" for host in hosts), "Accept: */*"])


async def ask(reach: Reach, request: bytes) -> raw.Answer:
    """Send one request on a connection of its own."""
    async with calling(reach.settings.port) as caller:
        caller.send(request)
        return await caller.answer()


def host_of(answer: raw.Answer) -> list[str]:
    """The hosts that the application saw."""
    assert answer.status == 200, answer
    return [value for name, value in json.loads(answer.body)["headers"] if name == "host"]


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_is_seen_as_it_is(served: Reach, host: str) -> None:
    """Names and addresses, with a port or without."""
    assert host_of(await ask(served, asking(host))) == [host]


@pytest.mark.parametrize("hosts", [[], *([host] for host in NO_HOSTS)])
async def test_what_is_no_host_is_a_400(served: Reach, hosts: list[str]) -> None:
    """None at all, and what could be read in two ways."""
    async with calling(served.settings.port) as caller:
        caller.send(asking(*hosts))
        assert (await caller.refusal()).status == 400


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("second", ["localhost", "other.example"])
async def test_two_hosts_are_a_400(served: Reach, second: str, version: str) -> None:
    """Even if both say the same (RFC 9112 §3.2)."""
    async with calling(served.settings.port) as caller:
        caller.send(asking("localhost", second, version=version))
        assert (await caller.refusal()).status == 400


async def test_http_1_0_needs_no_host(served: Reach) -> None:
    """Health checks of old proxies send none."""
    assert host_of(await ask(served, asking(version="1.0"))) == []


@pytest.mark.parametrize(
    ("target", "host", "query"),
    [
        ("http://other.example/seen?1", "other.example", "1"),
        ("HTTP://other.example:8000/seen", "other.example:8000", ""),
        ("https://other.example/seen", "other.example", ""),
        ("http://[::1]:8000/seen?a=b", "[::1]:8000", "a=b"),
    ],
)
async def test_a_whole_address_decides_the_host(
    served: Reach, target: str, host: str, query: str
) -> None:
    """Whatever Host says (RFC 9112 §3.2.2)."""
    answer = await ask(served, asking("localhost", target=target))
    assert host_of(answer) == [host]
    seen = json.loads(answer.body)
    assert (seen["path"], seen["query"]) == ("/seen", query)


async def test_a_whole_address_without_a_path_is_the_front_page(served: Reach) -> None:
    """``GET http://localhost HTTP/1.1``."""
    answer = await ask(served, asking("localhost", target="http://localhost"))
    assert (answer.status, answer.headers["content-type"][:9]) == (200, "text/html")


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["a b"]])
async def test_a_whole_address_is_no_excuse(served: Reach, hosts: list[str]) -> None:
    """Host is said once all the same."""
    answer = await ask(served, asking(*hosts, target="http://other.example/seen"))
    assert answer.status == 400


async def test_a_sign_up_by_a_whole_address(served: Reach) -> None:
    """As some proxies send it."""
    body = b'{"email": "absolute@example.com", "name": "Grace"}'
    lines = [
        "POST http://localhost/v1/signups HTTP/1.1",
        "Host: localhost",
        JSON,
        f"Content-Length: {len(body)}",
    ]
    assert (await ask(served, raw.head(lines) + body)).status == 202
