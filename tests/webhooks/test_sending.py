"""Where webhooks may lead, and what is made of an answer: within bounds, and never a redirect."""

import socket
import time
from ipaddress import ip_address

import pytest

from reach.network.sockets import Address
from reach.settings.webhooks import Allowed
from reach.webhooks.sending import HEAD_BYTES, Answer, post, retry_after_seconds
from reach.webhooks.targets import Forbidden, Target, is_permitted, require_permitted
from tests.support.servers.receiver import HANG_UP, SILENT, Receiver

NOWHERE, LOOPBACK = Allowed(), Allowed.parse("127.0.0.0/8")

INSIDE = (
    *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "100.127.255.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.0.0.1"),
    *("::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::"),
    *("2001:0:a00:1::", "100::1"),
)
OUTSIDE = ("93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822")


@pytest.mark.parametrize("text", INSIDE)
def test_no_address_inside_the_network_is_permitted(text: str) -> None:
    """However it is written; unless its network is named."""
    address = ip_address(text)
    assert not is_permitted(address, "example.org", NOWHERE)
    assert is_permitted(address, "example.org", Allowed.parse(text))
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    outside = Address(socket.AF_INET, ("93.184.216.34", 443))
    target = Target(is_tls=True, host="example.org", port=443, path="/")
    with pytest.raises(Forbidden):  # one of several is enough
        require_permitted(target, [outside, Address(family, (text, 443))], NOWHERE)
    require_permitted(target, [outside], NOWHERE)


@pytest.mark.parametrize("text", OUTSIDE)
def test_public_addresses_are_permitted(text: str) -> None:
    """Also behind NAT64, whose addresses stand for public ones."""
    assert is_permitted(ip_address(text), "example.org", NOWHERE)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "ftp://example.org/", "https://", "example.org", "https:///x"),
        *("https://ada:secret@example.org/", "https://example.org/#x", "https://example.org/a b"),
        *(
            "https://example.org\\@10.0.0.1/",
            "https://exämple.org/",
            "https://example.org/\r\nX: y",
        ),
        *("https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1:8443/x", "https://2130706433/"),
        *("https://example.org:0/", "https://example.org:99999/", f"https://x.org/{'x' * 2000}"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    """When it is given, and in words that do not repeat it."""
    with pytest.raises(ValueError, match="It ") as refused:
        Target.parse(url, NOWHERE)
    assert "secret" not in str(refused.value)


def test_what_is_named_needs_no_tls() -> None:
    """A host or a network of one's own; the port and the query stay."""
    allowed = Allowed.parse("hooks.internal, .corp.example 10.0.0.0/8")
    for url in ("http://hooks.internal/a?b=c", "http://x.corp.example/", "http://10.1.1.1:81/"):
        assert not Target.parse(url, allowed).is_tls
    with pytest.raises(ValueError, match="https"):
        Target.parse("http://corp.example/", allowed)
    target = Target.parse("https://example.org:8443/a?b=c", NOWHERE)
    assert (target.authority, target.path) == ("example.org:8443", "/a?b=c")
    with pytest.raises(ValueError, match="networks and hosts"):
        Allowed.parse("10.0.0.0/99")


async def ask(receiver: Receiver, allowed: Allowed = LOOPBACK, seconds: float = 5) -> Answer:
    """Send it something."""
    target = Target.parse(receiver.url, LOOPBACK)
    return await post(target, allowed, {"webhook-id": "x"}, b"{}", whole_seconds=seconds)


async def test_a_name_that_leads_inside_is_not_connected_to(receiver: Receiver) -> None:
    """It is judged by what it resolves to; named, it is reached."""
    target = Target(is_tls=False, host="localhost", port=receiver.port, path="/")
    answer = await post(target, NOWHERE, {}, b"{}")
    assert (answer.result, receiver.connections) == ("forbidden", 0)
    answer = await post(target, Allowed.parse("localhost"), {"webhook-id": "x"}, b"{}")
    assert (answer.result, answer.status) == ("delivered", 204)
    assert receiver.heard[0].headers["host"] == f"localhost:{receiver.port}"


async def test_what_is_made_of_an_answer(receiver: Receiver) -> None:
    """2xx is success, a redirect is none and is not followed, 410 is the end."""
    receiver.headers = {"Location": receiver.url, "Retry-After": "120"}
    expected = {200: "delivered", 302: "refused", 307: "refused", 400: "refused", 410: "gone"}
    for status, result in expected.items():
        receiver.answer = lambda _, status=status: status  # type: ignore[misc]
        answer = await ask(receiver)
        assert (answer.result, answer.status, answer.pause_seconds) == (result, status, 0)
    assert len(receiver.heard) == receiver.connections == len(expected)
    receiver.answer = lambda _: 429
    answer = await ask(receiver)
    assert (answer.text, answer.pause_seconds) == ("not today", 120)
    assert retry_after_seconds("9" * 50) == 4 * 3600
    assert retry_after_seconds("Wed, 01 Jan 2020 00:00:00 GMT") == 0
    assert retry_after_seconds("soon") == 0


async def test_an_answer_is_bounded_in_time_and_size(receiver: Receiver) -> None:
    """Silence ends; of a head without end nothing is kept; no answer is none."""
    receiver.answer = lambda _: SILENT
    began = time.monotonic()
    answer = await ask(receiver, seconds=0.2)
    assert (answer.result, answer.status) == ("unreachable", None)
    assert time.monotonic() - began < 4
    receiver.answer = lambda _: HANG_UP
    assert (await ask(receiver)).result == "unreachable"
    receiver.answer = lambda _: 200
    receiver.headers = {"X-Long": "x" * (HEAD_BYTES - 49)}  # all that is read is a head
    assert (await ask(receiver)).result == "delivered"
    receiver.headers = {"X-Long": "x" * 10 * HEAD_BYTES}
    assert (await ask(receiver)).result == "unreachable"
