"""Whose request it is: nobody becomes somebody else by what they write into a header."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reach.limits.client import MOST_HOPS, NO_ADDRESS, Clients
from reach.settings.urls import parse_networks

PROXIES = parse_networks("10.0.0.0/8, 127.0.0.1, fd00::/8")


def client(peer: str | None, *lines: str) -> str:
    """Name the client behind PROXIES."""
    return Clients(PROXIES).of(peer, lines)


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        # Who is not a proxy speaks for itself.
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        # A proxy speaks for the last in its line; what is left of that is hearsay.
        ("10.1.2.3", ("198.51.100.1",), "198.51.100.1"),
        ("10.1.2.3", ("192.0.2.1, 198.51.100.1",), "198.51.100.1"),
        ("10.1.2.3", ("192.0.2.1", "198.51.100.1"), "198.51.100.1"),
        ("10.1.2.3", ("192.0.2.1, 198.51.100.1", "10.9.9.9, 127.0.0.1"), "198.51.100.1"),
        # A proxy that says nothing, or speaks for proxies only.
        ("10.1.2.3", (), "10.1.2.3"),
        ("10.1.2.3", ("10.0.0.1, 10.0.0.2",), "10.0.0.1"),
        # What is no address ends the walk at the proxy that said it.
        ("10.1.2.3", ("unknown",), "10.1.2.3"),
        ("10.1.2.3", ("",), "10.1.2.3"),
        ("10.1.2.3", ("198.51.100.1, unknown, 10.0.0.7",), "10.0.0.7"),
        ("10.1.2.3", ("198.51.100.1, ",), "10.1.2.3"),
        ("10.1.2.3", ("1.2.3",), "10.1.2.3"),
        ("10.1.2.3", ("01.2.3.4",), "10.1.2.3"),
        ("10.1.2.3", ("1.2.3.4:x",), "10.1.2.3"),
        ("10.1.2.3", ("1.2.3.4:",), "10.1.2.3"),
        ("10.1.2.3", ("[1.2.3.4]",), "10.1.2.3"),
        ("10.1.2.3", ("[2001:db8::1",), "10.1.2.3"),
        ("10.1.2.3", ("[2001:db8::1]x",), "10.1.2.3"),
        ("10.1.2.3", ("1" * 65,), "10.1.2.3"),
        ("10.1.2.3", (" " * 90 + "1.2.3.4",), "10.1.2.3"),
        # Ports, brackets and zones are not part of an address.
        ("10.1.2.3", ("198.51.100.1:4711",), "198.51.100.1"),
        ("10.1.2.3", ("[2001:db8::1]:4711",), "2001:db8::/64"),
        ("10.1.2.3", ("[2001:db8::1]",), "2001:db8::/64"),
        ("10.1.2.3", ("fe80::1%eth0",), "fe80::/64"),
        ("fe80::1%eth0", (), "fe80::/64"),
        # An IPv6 customer has a whole /64; an IPv4-mapped address is the IPv4, believed or not.
        ("2001:db8:1:2:ffff::1", (), "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", (), "203.0.113.9"),
        ("::ffff:10.1.2.3", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("fd00::1", ("2001:db8::9",), "2001:db8::/64"),
        # A Unix socket has no peer.
        (None, ("198.51.100.1",), NO_ADDRESS),
        ("", (), NO_ADDRESS),
    ],
)
def test_the_client_is_whom_a_believed_proxy_names(
    peer: str | None, lines: tuple[str, ...], expected: str
) -> None:
    """From the right to the first who is not believed."""
    assert client(peer, *lines) == expected


def test_a_long_line_is_not_read_to_its_end() -> None:
    """Proxies without end are no chain: the walk has one."""
    line = ", ".join(["198.51.100.1", *["10.0.0.1"] * MOST_HOPS])
    assert client("10.1.2.3", line) == "10.0.0.1"


def test_a_proxy_may_be_named_as_it_is_seen() -> None:
    """A socket for both families shows IPv4 as IPv4-mapped."""
    clients = Clients(parse_networks("::ffff:10.0.0.0/104, ::ffff:192.0.2.1"))
    for peer in ("10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1"):
        assert clients.of(peer, ["198.51.100.1"]) == "198.51.100.1"
    for stranger in ("11.1.2.3", "192.0.2.2"):
        assert clients.of(stranger, ["198.51.100.1"]) == stranger


@given(st.ip_addresses(), st.lists(st.text(max_size=200), max_size=5))
def test_who_is_not_believed_stays_who_they_are(
    peer: IPv4Address | IPv6Address, lines: list[str]
) -> None:
    """Whatever a stranger writes, there is one bucket for their address."""
    nobody = Clients(())
    assert nobody.of(str(peer), lines) == nobody.of(str(peer), [])


@given(st.text(max_size=200))
def test_what_stands_left_of_the_client_counts_for_nothing(written: str) -> None:
    """A caller may write a line of their own; the proxy appends who they are."""
    assert client("10.1.2.3", f"{written}, 198.51.100.1") == "198.51.100.1"
    assert client("10.1.2.3", written, "198.51.100.1") == "198.51.100.1"


@given(st.integers(0, 2**64 - 1))
def test_a_64_is_one_client(host: int) -> None:
    """However its customer rotates addresses."""
    address = IPv6Address((0x20010DB800010002 << 64) | host)
    assert client(str(address)) == client("10.0.0.1", f"[{address}]:1") == "2001:db8:1:2::/64"
