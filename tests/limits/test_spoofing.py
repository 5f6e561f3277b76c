"""Hundreds of ways to claim another address: admitted is the limit, whatever they say."""

import http.client
import json
from collections import Counter
from collections.abc import Callable
from typing import Self

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from reach.settings import Settings
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA

LIMIT = 7
NAMES = (
    "X-Forwarded-For",
    "x-forwarded-for",
    "X_Forwarded_For",
    "Forwarded",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Via",
)
PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0xFF).filter(str.isprintable)
ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(["127.0.0.1", "::1", "::ffff:10.0.0.1"])
HOPS = st.one_of(
    ADDRESSES,
    st.tuples(ADDRESSES, st.integers(0, 65535)).map(lambda pair: f"[{pair[0]}]:{pair[1]}"),
    ADDRESSES.map(lambda address: f"for={address}"),
    st.text(PRINTABLE, max_size=40),
)
LINES = st.tuples(st.sampled_from(NAMES), st.lists(HOPS, max_size=5).map(", ".join))
MANY = how(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))


class Caller:
    """Somebody who signs up with any headers."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def sign_up(self, lines: list[tuple[str, str]]) -> None:
        """Do it once."""
        body = json.dumps(ADA).encode()
        self._http.putrequest("POST", "/v1/signups")
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        for name, value in [*headers, *lines]:
            self._http.putheader(name, value.encode("latin-1"))
        self._http.endheaders(body)
        answer = self._http.getresponse()
        answer.read()
        self.statuses[answer.status] += 1


@pytest.mark.parametrize("behind", ["nobody", "a proxy"])
def test_no_header_makes_a_new_client(
    make_settings: Callable[..., Settings], sqlite: str, behind: str
) -> None:
    """Straight from a stranger, or through a proxy that appends who they are."""
    proxies = "" if behind == "nobody" else "127.0.0.1, 10.0.0.0/8"
    appended = [("X-Forwarded-For", "203.0.113.9, 10.0.0.1")] if proxies else []
    settings = make_settings(
        database_url=sqlite,
        limit_signups=f"{LIMIT}/day",
        trusted_proxies=proxies,
        port=free_port(),
    )
    with api_process(settings), Caller(settings.port) as caller:

        @MANY
        @given(st.lists(LINES, max_size=4))
        def spoof(lines: list[tuple[str, str]]) -> None:
            caller.sign_up([*lines, *appended])

        spoof()
    assert caller.statuses.total() >= 400
    assert set(caller.statuses) == {202, 429}
    assert caller.statuses[202] == LIMIT


def test_a_customer_of_ipv6_is_one_client(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """They may come from 2^64 addresses; the neighbour's network is another client."""
    settings = make_settings(
        database_url=sqlite,
        limit_signups=f"{LIMIT}/day",
        trusted_proxies="127.0.0.1",
        port=free_port(),
    )
    with api_process(settings), Caller(settings.port) as caller:

        @MANY
        @given(st.ip_addresses(network="2001:db8:1:2::/64"))
        def rotate(address: object) -> None:
            caller.sign_up([("X-Forwarded-For", str(address))])

        rotate()
        assert caller.statuses[202] == LIMIT
        caller.sign_up([("X-Forwarded-For", "2001:db8:1:3::1")])
        assert caller.statuses[202] == LIMIT + 1
    assert set(caller.statuses) == {202, 429}
