"""Reach at ``::``: it hears IPv6 and IPv4, and knows its callers by either."""

import socket
from collections.abc import Callable

import httpx
import pytest

from reach.runtime.server import listen
from reach.settings import Settings
from reach.telemetry import metrics_server
from tests.support.clock import wait_until
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA, running_reach

HERE = ["127.0.0.1", "[::1]"]
KEY = "a-key-that-is-long-enough-for-tests"


def status(url: str) -> int | None:
    """What is answered there; None if nobody does."""
    try:
        return httpx.get(url, verify=NO_CERTIFICATES, trust_env=False, timeout=5).status_code
    except httpx.TransportError:
        return None


def test_reach_serves_both_at_once(sqlite: str) -> None:
    """The API, its probes and its metrics; in one process and in several."""
    http, metrics = free_port(), free_port()
    environment = {
        "REACH_DATABASE_URL": sqlite,
        "REACH_HOST": "::",
        "REACH_PORT": str(http),
        "REACH_METRICS_HOST": "::",
        "REACH_METRICS_PORT": str(metrics),
        "REACH_SECRET_KEY": KEY,
        "REACH_PUBLIC_URL": "https://signup.example.org",
    }
    off = dict.fromkeys(
        ("REACH_LIMIT_SIGNUPS", "REACH_LIMIT_API", "REACH_LIMIT_FAILED_KEYS"), "off"
    )
    for count in ("1", "2"):
        environment |= {**off, "REACH_PROCESSES": count}
        with ReachProcess("api", environment=environment) as process:
            for host in HERE:
                for port, path in ((http, "/livez"), (http, "/readyz"), (metrics, "/metrics")):
                    url = f"http://{host}:{port}{path}"
                    wait_until(lambda url=url: status(url) == httpx.codes.OK, seconds=30)  # type: ignore[misc]
            assert process.stop() == 0


def test_what_listens_everywhere_hears_ipv4_whatever_the_system_says(
    make_settings: Callable[..., Settings],
) -> None:
    """``net.ipv6.bindv6only`` would shut it out; one address alone stays one address."""
    for host, wanted in (("::", 0), ("::1", None)):
        # A port that the system chooses at ::1 may be another test's at 127.0.0.1.
        port = free_port()
        with listen(make_settings(host=host, port=port)) as listener:
            if wanted is not None:
                option = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                assert option == wanted
            with socket.socket() as caller:
                assert (caller.connect_ex(("127.0.0.1", port)) == 0) == (host == "::")
    with socket.socket(socket.AF_INET6) as one:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        metrics_server.hear_both(one)
        assert one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0


@pytest.mark.parametrize("host", HERE)
async def test_a_trusted_proxy_is_believed_by_either(
    sqlite: str, make_settings: Callable[..., Settings], host: str
) -> None:
    """A caller of IPv4 comes as ``::ffff:127.0.0.1``: it is the proxy that was named."""
    settings = make_settings(
        database_url=sqlite,
        host="::",
        public_url="https://signup.example.org",
        trusted_proxies="127.0.0.1, ::1",
        limit_signups="1/minute",
    )
    async with running_reach(settings) as reach:
        url = f"http://{host}:{reach.settings.port}/v1/signups"
        for client, expected in (
            ("192.0.2.1", 202),
            ("::ffff:192.0.2.1", 429),
            ("2001:db8::1", 202),
            ("2001:db8::2", 429),
        ):
            headers = {"X-Forwarded-For": client}
            answer = await reach.http.post(url, json=ADA, headers=headers)
            assert answer.status_code == expected, client


@pytest.mark.parametrize("host", HERE)
async def test_whom_nobody_trusts_is_one_client_by_either(
    sqlite: str, make_settings: Callable[..., Settings], host: str
) -> None:
    """What they say of themselves changes nothing."""
    settings = make_settings(
        database_url=sqlite,
        host="::",
        public_url="https://signup.example.org",
        limit_signups="1/minute",
    )
    async with running_reach(settings) as reach:
        url = f"http://{host}:{reach.settings.port}/v1/signups"
        found = [
            (await reach.http.post(url, json=ADA, headers={"X-Forwarded-For": who})).status_code
            for who in ("192.0.2.1", "192.0.2.2")
        ]
        assert found == [202, 429]
